"""From checked rows to a recorded answer: audit first, then the answer exists."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from secure_rag.audit.events import PATHS_DISAGREE, query_fields
from secure_rag.model.decisions import Answer, ChunkRow, Decision, Notice, Retrieved
from secure_rag.model.ids import ChunkKey, ClassKey
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.ports import AuditSink, PolicyEngine
from secure_rag.retrieval.authorize import Authorized
from secure_rag.retrieval.request import RetrievalRequest

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

_log = structlog.get_logger(__name__)

Explainer = Callable[["ReadView", Subject, ChunkRow], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Delivered:
    """What an answer consists of, as the final view read it."""

    authorized: Authorized
    scores: Mapping[ChunkKey, float]
    flags: Mapping[ChunkKey, tuple[str, ...]]
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class Recorder:
    """Writes the audit event of every decision and builds what the caller gets."""

    audit: AuditSink
    engine: PolicyEngine
    explain: Explainer
    query_key: bytes
    token_key: bytes
    engine_id: str
    detection_digest: str
    keep_query_text: bool = False

    def answer(
        self,
        view: ReadView,
        decision_id: str,
        caller: CallerIdentity,
        subject: Subject,
        request: RetrievalRequest,
        delivered: Delivered,
        *,
        complete: bool,
    ) -> Answer:
        """Record, then return.

        Raises:
            UnavailableError: the event is not durable; the answer must not leave.
        """
        rows = delivered.authorized.rows
        results = tuple(self._result(view, subject, row, delivered, explain=request.explain) for row in rows)
        answer = Answer(
            decision_id=decision_id,
            policy_version=self._version_token(view, decision_id, subject),
            effective_label=self._effective_label(subject, rows),
            complete=complete,
            notices=delivered.notices,
            results=results,
        )
        event = self._event(view, caller, subject, request.purpose, delivered)
        event |= query_fields(self.query_key, request.query, keep_query_text=self.keep_query_text)
        event |= {"k": request.k, "complete": complete}
        event |= {"filter": self._filter(request), "context": request.context_id is not None}
        self.audit.record(caller.tenant, "retrieve", decision_id, event)
        return answer

    def empty(
        self,
        view: ReadView,
        decision_id: str,
        caller: CallerIdentity,
        subject: Subject,
        request: RetrievalRequest,
    ) -> Answer:
        """The answer of somebody who may read nothing; recorded like any other."""
        nothing = Delivered(Authorized((), {}, {}), {}, {}, ())
        return self.answer(view, decision_id, caller, subject, request, nothing, complete=True)

    def fetched(
        self,
        view: ReadView,
        decision_id: str,
        caller: CallerIdentity,
        subject: Subject,
        purpose: str,
        chunk_id: str,
        delivered: Delivered,
    ) -> Answer:
        """Record a fetch by identifier, whether it found something or not."""
        rows = delivered.authorized.rows
        event = self._event(view, caller, subject, purpose, delivered) | {"chunk": chunk_id}
        self.audit.record(caller.tenant, "fetch", decision_id, event)
        results = tuple(self._result(view, subject, row, delivered, explain=False) for row in rows)
        version = self._version_token(view, decision_id, subject)
        return Answer(decision_id, version, self._effective_label(subject, rows), True, (), results)

    def refused(self, view: ReadView, decision_id: str, caller: CallerIdentity) -> None:
        """Record that a caller tried to speak for a subject that it may not speak for."""
        event = {
            "caller": caller.caller,
            "subject": caller.subject,
            "delegation": caller.delegation,
            "at": view.now,
        }
        self.audit.record(caller.tenant, "refused", decision_id, event)

    def disagreement(
        self,
        view: ReadView,
        decision_id: str,
        caller: CallerIdentity,
        subject: Subject,
        purpose: str,
        disputed: Mapping[ClassKey, Decision],
    ) -> None:
        """Alarm: the compiled path and the policy engine decided differently in one view, so one of them is wrong.

        Raises:
            UnavailableError: the event is not durable; the answer must not leave.
        """
        reasons = {int(key): decision.reason.value for key, decision in sorted(disputed.items())}
        _log.critical(PATHS_DISAGREE, decision=decision_id, classes=reasons)
        event = self._who(view, caller, subject, purpose) | {
            "decision": decision_id,
            "classes": [[key, reason] for key, reason in reasons.items()],
        }
        # An event of its own, since one decision can meet several: each comparison is recorded.
        self.audit.record(caller.tenant, PATHS_DISAGREE, secrets.token_hex(16), event)

    # ---- parts

    def _event(
        self, view: ReadView, caller: CallerIdentity, subject: Subject, purpose: str, delivered: Delivered
    ) -> dict[str, object]:
        withheld = Counter(reason.value for reason in delivered.authorized.withheld.values())
        return self._who(view, caller, subject, purpose) | {
            "engine": self.engine_id,
            "detection": self.detection_digest,
            "results": [
                [
                    row.chunk_id,
                    row.document_id,
                    row.version,
                    row.class_key,
                    list(delivered.flags.get(row.key, ())),
                ]
                for row in delivered.authorized.rows
            ],
            "withheld": dict(sorted(withheld.items())),
            "notices": [x.value for x in delivered.notices],
        }

    def _who(
        self, view: ReadView, caller: CallerIdentity, subject: Subject, purpose: str
    ) -> dict[str, object]:
        """For whom, through whom and from which rows something was decided."""
        generation, n = view.policy_version(subject.tenant)
        return {
            "caller": caller.caller,
            "subject": caller.subject,
            "subject_key": subject.principal,
            "delegation": caller.delegation,
            "hops": [hop.principal for hop in subject.hops],
            "purpose": purpose,
            "view": view.now,
            "policy": [generation, n],
            "model": self.engine.model_digest,
        }

    def _result(
        self, view: ReadView, subject: Subject, row: ChunkRow, delivered: Delivered, *, explain: bool
    ) -> Retrieved:
        return Retrieved(
            chunk_id=row.chunk_id,
            document_id=row.document_id,
            source=row.source,
            title=row.title,
            headings=row.headings,
            text=row.text,
            score=delivered.scores.get(row.key),
            label=subject.taxonomy.name(row.label),
            trust=row.trust,
            acl_as_of=row.acl_as_of,
            flags=delivered.flags.get(row.key, ()),
            explanation=self.explain(view, subject, row) if explain else None,
        )

    def _effective_label(self, subject: Subject, rows: tuple[ChunkRow, ...]) -> str | None:
        if not rows:
            return None
        return subject.taxonomy.name(subject.taxonomy.highest(row.label for row in rows))

    def _version_token(self, view: ReadView, decision_id: str, subject: Subject) -> str:
        """Opaque per decision: a visible counter would tell of activity that the caller may not see."""
        generation, n = view.policy_version(subject.tenant)
        text = f"{decision_id}\0{generation}\0{n}"
        return hmac.digest(self.token_key, text.encode("utf-8"), hashlib.sha256).hex()[:32]

    @staticmethod
    def _filter(request: RetrievalRequest) -> dict[str, object]:
        chosen = request.filter
        return {
            "sources": sorted(chosen.sources),
            "label_max": chosen.label_max,
            "modified_after": chosen.modified_after,
        }
