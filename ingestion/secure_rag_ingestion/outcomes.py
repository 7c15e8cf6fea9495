"""What a re-point changed: who may read, only how sensitive the document is, or only where that is written."""

from __future__ import annotations

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import ClassKey
from secure_rag_ingestion.runs import Outcome, ReasonCode


def permission_outcome(
    connection: sa.Connection, before: ClassKey | None, after: ClassKey, reason: ReasonCode
) -> tuple[Outcome, ReasonCode]:
    """Outcome of a re-point with its reason.

    `LABEL_UPDATED` when only the label differs. `UNCHANGED` when the class is the same: then its origins may have
    moved, or the contributor changed.
    """
    if before == after:
        moved = reason is ReasonCode.PERMISSIONS_CHANGED
        return Outcome.UNCHANGED, ReasonCode.SAME if moved else reason
    c = t.acl_class.c
    rows = connection.execute(
        sa.select(c.locks, c.compartments, c.trust, c.label).where(c.id.in_([before or 0, after]))
    ).all()
    others = {(row.locks, row.compartments, row.trust) for row in rows}
    if before is not None and len(others) == 1:
        return Outcome.LABEL_UPDATED, ReasonCode.LABEL_CHANGED
    return Outcome.PERMISSION_UPDATED, ReasonCode.PERMISSIONS_CHANGED
