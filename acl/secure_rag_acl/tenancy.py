"""What every import needs: the tenant's row, and rows with validity that end and begin instead of being edited."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.interning import intern_principal
from secure_rag.model.ids import EVERYONE, NEVER, Micros, TenantKey

_AT_ONCE: Final = 500
_Key = TypeVar("_Key", bound=tuple[object, ...])


def ensure_tenant(connection: sa.Connection, name: str) -> TenantKey:
    """Key of a tenant; a new one gets its policy version, in a generation of its own, and `everyone`."""
    found = connection.execute(sa.select(t.tenant.c.id).where(t.tenant.c.name == name)).scalar()
    if found is None:
        found = connection.execute(
            sa.insert(t.tenant).values(name=name).returning(t.tenant.c.id)
        ).scalar_one()
    tenant = TenantKey(found)
    v = t.policy_version.c
    if connection.execute(sa.select(v.generation).where(v.tenant_id == tenant)).scalar() is None:
        # Before anything else of the tenant: a trigger would otherwise make the row, without a generation.
        connection.execute(
            sa.insert(t.policy_version).values(tenant_id=tenant, generation=secrets.token_hex(16), n=0)
        )
    intern_principal(connection, tenant, EVERYONE)
    return tenant


@dataclass(frozen=True, slots=True)
class Window:
    """Validity that a file asks for. `start` None means: since whenever it began, or now."""

    start: Micros | None = None
    end: Micros = NEVER


@dataclass(frozen=True, slots=True)
class Changed:
    """How many rows began and ended."""

    begun: int
    ended: int


def reconcile(
    connection: sa.Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    tenant: TenantKey,
    now: Micros,
    desired: Mapping[_Key, Window],
    may_end: Callable[[_Key], bool],
) -> Changed:
    """Make the valid rows of a table what is desired; unchanged rows are not touched.

    Args:
        connection: inside a write transaction.
        table: one with `tenant_id`, `valid_from` and `valid_to`.
        columns: those that make up a key.
        tenant: whose rows.
        now: when rows end and begin.
        desired: what shall hold; a window that is over counts as not desired.
        may_end: whether a row that is not desired ends. A row whose window changed always does.
    """
    c = table.c
    rows = connection.execute(
        sa.select(c.id, c.valid_from, c.valid_to, *(c[name] for name in columns)).where(
            c.tenant_id == tenant, c.valid_to > now, c.valid_to > c.valid_from
        )
    ).all()
    missing = {key: window for key, window in desired.items() if window.end > now}
    ending: list[int] = []
    for row in rows:
        key = cast("_Key", tuple(row[3:]))
        window = missing.get(key)
        if window is not None and _same(row.valid_from, row.valid_to, window, now):
            del missing[key]
        elif key in desired or may_end(key):
            ending.append(row.id)
    _end(connection, table, ending, now)
    begin = [
        {
            "tenant_id": tenant,
            "valid_from": max(now, window.start if window.start is not None else now),
            "valid_to": window.end,
            **dict(zip(columns, key, strict=True)),
        }
        for key, window in missing.items()
    ]
    if begin:
        connection.execute(sa.insert(table), begin)
    return Changed(len(begin), len(ending))


def _same(valid_from: int, valid_to: int, window: Window, now: Micros) -> bool:
    if valid_to != window.end:
        return False
    # What began before the first import was written as beginning with it: the past is not made up afterwards.
    began = valid_from <= now and (window.start is None or window.start <= now)
    return began or valid_from == window.start


def _end(connection: sa.Connection, table: sa.Table, keys: Iterable[int], now: Micros) -> None:
    """End rows now; one that has not begun yet never does."""
    c, ending = table.c, list(keys)
    for first in range(0, len(ending), _AT_ONCE):
        connection.execute(
            sa.update(table)
            .where(c.id.in_(ending[first : first + _AT_ONCE]))
            .values(valid_to=sa.case((c.valid_from > now, c.valid_from), else_=int(now)))
        )
