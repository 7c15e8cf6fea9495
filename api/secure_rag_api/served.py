"""What the HTTP layer needs of a home. `wiring` builds it; tests build smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from secure_rag.model.decisions import Answer
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl.access_lists import DocumentsPage, ReadersPage
from secure_rag_acl.explain_account import Account
from secure_rag_api.auth.tokens import Authenticator
from secure_rag_api.explaining import Asker, ExplainRequest, ListRequest
from secure_rag_api.rate import RateLimiter


class Retriever(Protocol):
    """Decides and answers. Both methods block and are called from worker threads."""

    def retrieve(self, caller: CallerIdentity, request: RetrievalRequest) -> Answer:
        """Answer a query.

        Raises:
            SecureRagError: one of the errors that a caller handles; nothing may be returned then.
        """
        ...

    def chunk(self, caller: CallerIdentity, chunk_id: str, purpose: str = "qa") -> Answer:
        """Answer with one chunk, decided anew.

        Raises:
            NotFoundError: there is none, or the subject may not read it.
            SecureRagError: one of the other errors that a caller handles.
        """
        ...


class Explainer(Protocol):
    """Explains to who manages. Every method blocks and is called from worker threads.

    Each raises `NotFoundError` for what is not there and for what the asker may not be told, alike.
    """

    def explain(self, asker: Asker, asked: ExplainRequest) -> Account:
        """Why a document may be read, or not."""
        ...

    def who_can(self, asker: Asker, asked: ListRequest) -> ReadersPage:
        """Who may read a document."""
        ...

    def what_can(self, asker: Asker, asked: ListRequest) -> DocumentsPage:
        """What somebody may read."""
        ...


@dataclass(frozen=True, slots=True)
class ServedHome:
    """An open home.

    Attributes:
        retriever: the query flow.
        explainer: explanations and access lists.
        tokens: who calls.
        limiter: how often.
        ready: names of what keeps it from serving, none when it may; for the log only.
        close: called once, after the last answer has left.
    """

    retriever: Retriever
    explainer: Explainer
    tokens: Authenticator
    limiter: RateLimiter
    ready: Callable[[], list[str]]
    close: Callable[[], None]
