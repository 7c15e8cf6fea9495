"""What the HTTP layer needs of a home. `wiring` builds it; tests build smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from secure_rag.model.decisions import Answer
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.auth.tokens import Authenticator
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


@dataclass(frozen=True, slots=True)
class ServedHome:
    """An open home.

    Attributes:
        retriever: the query flow.
        tokens: who calls.
        limiter: how often.
        ready: names of what keeps it from serving, none when it may; for the log only.
        close: called once, after the last answer has left.
    """

    retriever: Retriever
    tokens: Authenticator
    limiter: RateLimiter
    ready: Callable[[], list[str]]
    close: Callable[[], None]
