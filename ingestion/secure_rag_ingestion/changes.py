"""What a run has to do for one item, decided from digests alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from secure_rag.database.documents import StoredDocument
from secure_rag.database.tables import DocumentState
from secure_rag_ingestion.runs import ReasonCode


class Work(StrEnum):
    """How much work a change needs."""

    NOTHING = "nothing"
    PERMISSIONS = "permissions"
    """Re-point: no parse, no embedding."""
    CONTENT = "content"


@dataclass(frozen=True, slots=True)
class Change:
    """Work with its reason."""

    work: Work
    reason: ReasonCode


def decide(
    stored: StoredDocument | None, content_sha256: str, permission_digest: bytes, pipeline_id: str
) -> Change:
    """Compare an item with what is stored of it."""
    if stored is None:
        return Change(Work.CONTENT, ReasonCode.NEW)
    if stored.content_sha256 != content_sha256:
        return Change(Work.CONTENT, ReasonCode.CONTENT_CHANGED if stored.version else ReasonCode.NEW)
    if stored.pipeline_id != pipeline_id:
        return Change(Work.CONTENT, ReasonCode.PIPELINE_CHANGED)
    if stored.permission_digest != permission_digest or stored.state is DocumentState.WITHHELD:
        # A withheld document whose content is known only lacked confirmed permissions.
        return Change(Work.PERMISSIONS, ReasonCode.PERMISSIONS_CHANGED)
    return Change(Work.NOTHING, ReasonCode.SAME)
