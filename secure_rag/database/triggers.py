"""Triggers that move the policy version, so that no code path can forget to.

Alembic's batch mode drops a table's triggers without a word; `missing_triggers` is a start-up check for that.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import event

from secure_rag.database.tables import AUTHORITY, meta

# ON CONFLICT rather than UPDATE: a missing version row must not lose the bump.
_BUMP = (
    "INSERT INTO policy_version(tenant_id, generation, n) VALUES ({tenant}, 'unset', 1) "
    "ON CONFLICT (tenant_id) DO UPDATE SET n = policy_version.n + 1"
)
# Adding a document changes nobody's rights; re-pointing, hiding, releasing or deleting one does.
_DOCUMENT_CHANGE = "OLD.class_id IS NOT NEW.class_id OR OLD.state IS NOT NEW.state"


def sqlite_triggers() -> Iterator[tuple[str, str]]:
    """Name and statement of every trigger on SQLite."""
    for table in AUTHORITY:
        for operation, rows in (("insert", ("NEW",)), ("delete", ("OLD",)), ("update", ("NEW", "OLD"))):
            name = f"bump_{table.name}_{operation}"
            body = "; ".join(_BUMP.format(tenant=f"{row}.tenant_id") for row in rows)
            yield name, f"CREATE TRIGGER {name} AFTER {operation.upper()} ON {table.name} BEGIN {body}; END"
    body = _BUMP.format(tenant="NEW.tenant_id")
    yield (
        "bump_document_update",
        f"CREATE TRIGGER bump_document_update AFTER UPDATE ON document WHEN {_DOCUMENT_CHANGE} BEGIN {body}; END",
    )
    for name, table_name in (("keep_class", "acl_class"), ("keep_lock", "acl_lock")):
        for operation in ("update", "delete"):
            yield (
                f"{name}_{operation}",
                f"CREATE TRIGGER {name}_{operation} BEFORE {operation.upper()} ON {table_name} "
                "BEGIN SELECT RAISE(ABORT, 'classes and locks are immutable'); END",
            )


def install_triggers(connection: sa.Connection) -> None:
    """Create or replace every trigger."""
    for name, statement in sqlite_triggers():
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        connection.exec_driver_sql(statement)


def missing_triggers(connection: sa.Connection) -> list[str]:
    """Names of triggers that are absent or differ from what they should be."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    have = {str(name): str(statement) for name, statement in rows}
    return [name for name, statement in sqlite_triggers() if have.get(name) != statement]


@event.listens_for(meta, "after_create")
def _after_create(_target: object, connection: sa.Connection, **_options: object) -> None:
    install_triggers(connection)
