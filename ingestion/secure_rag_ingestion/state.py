"""In which state a document with known content belongs."""

from __future__ import annotations

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.findings import Verdict
from secure_rag.model.ids import DocumentKey


def settled_state(connection: sa.Connection, key: DocumentKey) -> DocumentState:
    """Quarantined while a finding of this version asks for it, unless a reviewer released exactly this content."""
    f, d = t.finding.c, t.document.c
    head = connection.execute(sa.select(d.version, d.content_sha256).where(d.id == key)).one()
    asked = connection.execute(
        sa.select(f.id)
        .where(f.document_id == key, f.version == head.version, f.verdict == Verdict.QUARANTINE.value)
        .limit(1)
    ).scalar()
    if asked is None or is_released(connection, key, head.content_sha256):
        return DocumentState.LIVE
    return DocumentState.QUARANTINED


def is_released(connection: sa.Connection, key: DocumentKey, content_sha256: str) -> bool:
    """Whether the last review of exactly this content released it."""
    q = t.quarantine_review.c
    action = connection.execute(
        sa.select(q.action)
        .where(q.document_id == key, q.content_sha256 == content_sha256)
        .order_by(q.id.desc())
        .limit(1)
    ).scalar()
    return action == "release"
