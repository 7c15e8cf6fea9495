"""THE query flow. `RetrievalService._attempt` is the list of its steps.

Invariants
- Text leaves the database only through `authorize_chunks`.
- Everything in an answer was allowed by the policy engine in one fresh view, opened after all other checks; the
  instant of that view is the instant of the answer.
- The audit event is durable before the answer is returned. Any exception on the way returns nothing.
- Denied, unknown and empty look the same to the caller.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from secure_rag.errors import AuthenticationError, ModelError, NotFoundError, UnavailableError
from secure_rag.model.decisions import Answer, ChunkRow, Reason
from secure_rag.model.ids import ChunkKey
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.ports import AccessScope, Embedder, Hit, PolicyEngine, VectorStore
from secure_rag.retrieval.authorize import Authorized, authorize_chunks
from secure_rag.retrieval.candidates import Screen, Screened
from secure_rag.retrieval.conversation import Conversation, Conversations
from secure_rag.retrieval.record import Delivered, Recorder
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.scope import compile_scope, disagreements, trusted_part, within

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag.ports import Vector

ATTEMPTS: Final = 3
REFILL_ROUNDS: Final = 4
"""Searches of one attempt: ever deeper, and at last once more among what outsiders do not write."""
MAX_CANDIDATES: Final = 512


class OpensViews(Protocol):
    """Opens snapshots of the control database."""

    def open(self) -> AbstractContextManager[ReadView]:
        """A fresh snapshot."""
        ...


class _UnsettledError(Exception):
    """The world changed between the candidates and the final check."""


@dataclass(frozen=True, slots=True)
class _Call:
    """What one decision is about."""

    decision_id: str
    caller: CallerIdentity
    request: RetrievalRequest


@dataclass(frozen=True, slots=True)
class _Candidates:
    screened: Screened
    scores: dict[ChunkKey, float]
    withheld: dict[ChunkKey, Reason]
    complete: bool


@dataclass(frozen=True, slots=True)
class RetrievalService:
    """Answers retrievals. Blocking and thread-safe; one instance serves a process."""

    views: OpensViews
    engine: PolicyEngine
    store: VectorStore
    embedder: Embedder
    screen: Screen
    conversations: Conversations
    recorder: Recorder

    def retrieve(self, caller: CallerIdentity, request: RetrievalRequest) -> Answer:
        """Answer one request.

        Raises:
            AuthenticationError: the caller may not speak for this subject.
            StaleSourceError: permissions are older than the request accepts.
            UnavailableError: nothing could be decided or recorded safely now.
        """
        call = _Call(secrets.token_hex(16), caller, request)
        for _ in range(ATTEMPTS):
            try:
                return self._attempt(call)
            except _UnsettledError:
                continue
        raise UnavailableError("permissions kept changing during the query")

    def _attempt(self, call: _Call) -> Answer:
        decision_id, caller, request = call.decision_id, call.caller, call.request
        with self.views.open() as view:
            subject = self._subject(view, decision_id, caller, request.purpose)
            scope = compile_scope(view, self.engine, subject, request)
            if len(scope.classes) == 0:
                return self.recorder.empty(view, decision_id, caller, subject, request)
            vector = self._embed(view, subject, request)
            conversation = self.conversations.enter(subject, request.context_id, view.now)
            candidates = self._gather(view, call, subject, scope, vector, conversation)
        with self.views.open() as view:
            final, authorized = self._final_check(view, call, scope, subject, candidates)
            side = candidates.screened.side
            if not self.conversations.claim(conversation, side, view.now):
                raise _UnsettledError
            delivered = Delivered(
                replace(authorized, withheld=candidates.withheld),
                candidates.scores,
                candidates.screened.flags,
                candidates.screened.notices,
            )
            return self.recorder.answer(
                view, decision_id, caller, final, request, delivered, complete=candidates.complete
            )

    def _gather(
        self,
        view: ReadView,
        call: _Call,
        subject: Subject,
        scope: AccessScope,
        vector: Vector,
        conversation: Conversation,
    ) -> _Candidates:
        """Search, authorize and screen; look further down while checks left too few, within bounds."""
        first = 2 * call.request.k + 8
        deepest = MAX_CANDIDATES - first
        deeper = {min(deepest, first * 4**n) for n in range(REFILL_ROUNDS - 2)} | {deepest}
        found = _Candidates(Screened((), {}, (), conversation.side), {}, {}, complete=False)
        hits: Sequence[Hit] = ()
        for depth in sorted(deeper):
            hits = self.store.search(scope, vector, depth)
            found = self._screened(view, call, subject, scope, hits, conversation)
            if found.complete or len(hits) < depth:
                return replace(found, complete=True)
        # Copies by outsiders, which the checks drop, may fill any depth: what they do not write is looked for alone.
        trusted = trusted_part(view, scope)
        if len(trusted.classes):
            hits = _merged(hits, self.store.search(trusted, vector, first))
            found = self._screened(view, call, subject, scope, hits, conversation)
        return found

    def _screened(
        self,
        view: ReadView,
        call: _Call,
        subject: Subject,
        scope: AccessScope,
        hits: Sequence[Hit],
        conversation: Conversation,
    ) -> _Candidates:
        """What of some hits may be delivered together; complete when that is as much as was asked for."""
        request = call.request
        authorized = authorize_chunks(view, self.engine, subject, [hit.chunk for hit in hits])
        self._compare_paths(view, call, subject, scope, authorized)
        # Neither path alone is enough: what Casbin allows is kept only where the compiled path allows it too.
        rows = within(scope, authorized.rows)
        screened = self.screen.apply(
            view, subject.tenant, request.query, rows, request.k, subject.taxonomy, conversation.side
        )
        scores = {hit.chunk: hit.score for hit in hits}
        return _Candidates(screened, scores, authorized.withheld, len(screened.rows) == request.k)

    def _final_check(
        self,
        view: ReadView,
        call: _Call,
        searched: AccessScope,
        asked: Subject,
        candidates: _Candidates,
    ) -> tuple[Subject, Authorized]:
        """Read everything anew and let the policy engine decide every chunk of the whole answer."""
        rows = candidates.screened.rows
        subject = view.subject(searched.tenant, call.caller, call.request.purpose)
        authorized = authorize_chunks(view, self.engine, subject, [row.key for row in rows])
        same_rows = [_identity(row) for row in authorized.rows] == [_identity(row) for row in rows]
        scope = compile_scope(view, self.engine, subject, call.request)
        self._compare_paths(view, call, subject, scope, authorized)
        same_classes = np.array_equal(scope.classes, searched.classes)
        if not same_rows or not same_classes or subject.taxonomy != asked.taxonomy:
            # The checks looked at rows that are gone or changed, the search at other classes than are open now, or
            # the mixing rule at another threshold.
            raise _UnsettledError
        return subject, authorized

    def _compare_paths(
        self, view: ReadView, call: _Call, subject: Subject, scope: AccessScope, authorized: Authorized
    ) -> None:
        """Record an incident when the two paths differ in one view; the chunks are dropped, whichever denied."""
        disputed = disagreements(view, self.engine, subject, scope, authorized.verdicts)
        if disputed:
            purpose = call.request.purpose
            self.recorder.disagreement(view, call.decision_id, call.caller, subject, purpose, disputed)

    def chunk(self, caller: CallerIdentity, chunk_id: str, purpose: str = "qa") -> Answer:
        """One chunk by its identifier, authorized like a query.

        Raises:
            NotFoundError: there is no such chunk, or the caller may not read it: the same to the caller.
            UnavailableError: nothing could be decided or recorded safely now.
        """
        decision_id = secrets.token_hex(16)
        with self.views.open() as view:
            subject = self._subject(view, decision_id, caller, purpose)
            key = view.chunk_key(subject.tenant, chunk_id)
            authorized = authorize_chunks(view, self.engine, subject, [] if key is None else [key])
            delivered = Delivered(authorized, {}, {}, ())
            answer = self.recorder.fetched(view, decision_id, caller, subject, purpose, chunk_id, delivered)
        if not answer.results:
            raise NotFoundError("no such chunk")
        return answer

    def _subject(self, view: ReadView, decision_id: str, caller: CallerIdentity, purpose: str) -> Subject:
        tenant = view.tenant_key(caller.tenant)
        if tenant is None:
            raise AuthenticationError("unknown tenant")
        subject = view.subject(tenant, caller, purpose)
        if not subject.hops and (caller.delegation is not None or caller.caller.startswith("agent:")):
            # The delegation is unknown, ended, or made for somebody else; an agent has no rights of its users.
            self.recorder.refused(view, decision_id, caller)
            raise AuthenticationError("the caller may not speak for this subject")
        return subject

    def _embed(self, view: ReadView, subject: Subject, request: RetrievalRequest) -> Vector:
        stored = view.engine_id(subject.tenant)
        if stored is not None and stored != self.embedder.engine_id:
            raise ModelError(f"the index was made by {stored}, not by {self.embedder.engine_id}")
        return self.embedder.embed_query(request.query)


def _merged(some: Sequence[Hit], others: Sequence[Hit]) -> list[Hit]:
    """Hits of two searches, each once, in the order that a store gives."""
    found = {hit.chunk: hit for hit in (*others, *some)}
    return sorted(found.values(), key=lambda hit: (-hit.score, hit.chunk))


def _identity(row: ChunkRow) -> tuple[ChunkKey, int, int, str]:
    return row.key, row.version, row.class_key, row.content_sha256
