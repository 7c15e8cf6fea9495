"""Why a named document is not in an answer. For auditors and operators, never for callers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_rag.model.decisions import Reason
from secure_rag.model.subject import Subject
from secure_rag.ports import PolicyEngine
from secure_rag.retrieval.authorize import READ, is_stale

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView


def why_withheld(
    view: ReadView, engine: PolicyEngine, subject: Subject, source: str, native_id: str
) -> Reason:
    """The first thing that stands between a subject and a document; `ALLOWED` when nothing of the policy does."""
    status = view.document_status(subject.tenant, source, native_id)
    if status is None or status.class_key is None:
        return Reason.NOT_INDEXED
    if status.quarantined:
        return Reason.QUARANTINED
    if not status.live:
        return Reason.NOT_INDEXED
    cls = view.classes(subject.tenant, [status.class_key]).get(status.class_key)
    if cls is None:
        return Reason.TENANT
    decision = engine.decide(subject, READ, cls, view.now)
    if not decision.allowed:
        return decision.reason
    if status.document_id in subject.revoked_documents:
        return Reason.REVOKED
    return Reason.ACL_STALE if is_stale(status.acl_as_of, status.max_acl_age, view.now) else Reason.ALLOWED
