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


@dataclass(frozen=True, slots=True)
class Seen:
    """What decides the work for one item, as the source has it now."""

    content_sha256: str
    permission_digest: bytes
    contributor: str
    pipeline_id: str
    signature: str = ""
    """Of the item while it was read; decides nothing here."""


def decide(stored: StoredDocument | None, seen: Seen) -> Change:
    """Compare an item with what is stored of it."""
    if stored is None:
        return Change(Work.CONTENT, ReasonCode.NEW)
    if stored.content_sha256 != seen.content_sha256:
        return Change(Work.CONTENT, ReasonCode.CONTENT_CHANGED)
    if stored.pipeline_id != seen.pipeline_id:
        return Change(Work.CONTENT, ReasonCode.PIPELINE_CHANGED)
    if stored.permission_digest != seen.permission_digest:
        return Change(Work.PERMISSIONS, ReasonCode.PERMISSIONS_CHANGED)
    if stored.state is DocumentState.WITHHELD:
        # A withheld document whose content is known only lacked confirmed permissions.
        return Change(Work.PERMISSIONS, ReasonCode.CONFIRMED)
    if stored.contributor != seen.contributor:
        return Change(Work.PERMISSIONS, ReasonCode.CONTRIBUTOR_CHANGED)
    return Change(Work.NOTHING, ReasonCode.SAME)
