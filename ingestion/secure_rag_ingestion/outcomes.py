"""Whether a re-point changed who may read, or only how sensitive the document is."""

from __future__ import annotations

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import ClassKey
from secure_rag_ingestion.runs import Outcome


def permission_outcome(connection: sa.Connection, before: ClassKey | None, after: ClassKey) -> Outcome:
    """`LABEL_UPDATED` when only the label differs, `UNCHANGED` when the class is the same (its origins may have moved)."""
    if before == after:
        return Outcome.UNCHANGED
    c = t.acl_class.c
    locks = dict(connection.execute(sa.select(c.id, c.locks).where(c.id.in_([before or 0, after]))).all())
    same_locks = before is not None and locks.get(before) == locks.get(after)
    return Outcome.LABEL_UPDATED if same_locks else Outcome.PERMISSION_UPDATED
