"""Changes of the world that a scenario makes, and their undoing."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from secure_rag_api.demo.scenarios import WorldChange

Undo = Callable[[sa.Connection, Micros], None]


def apply_change(connection: sa.Connection, tenant: str, change: WorldChange, now: Micros) -> Undo:
    """Make one change in the open transaction and return what undoes it in a later one.

    Raises:
        ConfigError: the scenario names a membership or grant that is not there.
    """
    if change.end_membership is not None:
        m = t.membership.c
        member = _principal(connection, tenant, change.end_membership.member)
        group = _principal(connection, tenant, change.end_membership.group)
        return _end(connection, t.membership, sa.and_(m.member_id == member, m.group_id == group), now)
    if change.expire_grant is not None:
        who = _principal(connection, tenant, change.expire_grant)
        return _end(connection, t.grant, t.grant.c.principal_id == who, now)
    raise ConfigError("a change without content")


def _end(connection: sa.Connection, table: sa.Table, where: sa.ColumnElement[bool], now: Micros) -> Undo:
    live = sa.and_(where, table.c.valid_from <= now, table.c.valid_to > now)
    rows = [dict(row) for row in connection.execute(sa.select(table).where(live)).mappings()]
    if not rows:
        raise ConfigError(f"nothing in {table.name} to end")
    connection.execute(sa.update(table).where(live).values(valid_to=now))

    def undo(later: sa.Connection, at: Micros) -> None:
        for row in rows:
            values = {name: value for name, value in row.items() if name != "id"}
            later.execute(sa.insert(table).values(values | {"valid_from": at}))

    return undo


def _principal(connection: sa.Connection, tenant: str, name: str) -> int:
    p = t.principal.c
    found = connection.execute(
        sa.select(p.id)
        .join(t.tenant, t.tenant.c.id == p.tenant_id)
        .where(t.tenant.c.name == tenant, p.name == name)
    ).scalar()
    if found is None:
        raise ConfigError(f"the scenario names an unknown principal: {name}")
    return int(found)
