"""Whether a re-point changed who may read, or only how sensitive the document is."""

from __future__ import annotations

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import ClassKey
from secure_rag_ingestion.runs import Outcome


def permission_outcome(connection: sa.Connection, before: ClassKey | None, after: ClassKey) -> Outcome:
    """`LABEL_UPDATED` when the locks are the same ones, else `PERMISSION_UPDATED`."""
    c = t.acl_class.c
    locks = dict(connection.execute(sa.select(c.id, c.locks).where(c.id.in_([before or 0, after]))).all())
    same_locks = before is not None and before != after and locks.get(before) == locks.get(after)
    return Outcome.LABEL_UPDATED if same_locks else Outcome.PERMISSION_UPDATED
