"""In which state a document with known content belongs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.findings import Verdict
from secure_rag.model.ids import DocumentKey

_AT_ONCE: Final = 500


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


def settled_states(
    connection: sa.Connection, keys: Sequence[DocumentKey]
) -> dict[DocumentKey, DocumentState]:
    """The same for many documents; only those with such a finding are looked at one by one."""
    f, d = t.finding.c, t.document.c
    states = dict.fromkeys(keys, DocumentState.LIVE)
    for first in range(0, len(keys), _AT_ONCE):
        asked = connection.execute(
            sa.select(f.document_id)
            .join(t.document, sa.and_(d.id == f.document_id, d.version == f.version))
            .where(f.document_id.in_(keys[first : first + _AT_ONCE]), f.verdict == Verdict.QUARANTINE.value)
            .distinct()
        ).scalars()
        states |= {DocumentKey(key): settled_state(connection, DocumentKey(key)) for key in asked.all()}
    return states


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
