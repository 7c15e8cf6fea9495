"""What `secure-rag doctor` reads: why answers could be empty. Counts and names of files, never text."""

from __future__ import annotations

import json
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """One source: its documents by state, and how old its permissions are."""

    tenant: str
    name: str
    acl_as_of: Micros
    max_acl_age: Micros
    states: dict[str, int]
    default_label_documents: int
    """Live documents whose label is the taxonomy's default: mostly documents that carry none."""


def sources(connection: sa.Connection) -> list[SourceHealth]:
    """Every registered source."""
    s, d, a, x = t.source.c, t.document.c, t.acl_class.c, t.taxonomy.c
    heads = connection.execute(
        sa.select(s.id, t.tenant.c.name.label("tenant"), s.name, s.acl_as_of, s.max_acl_age)
        .join(t.tenant, t.tenant.c.id == s.tenant_id)
        .order_by(s.id)
    ).all()
    states: dict[int, dict[str, int]] = {}
    for source_id, state, count in connection.execute(
        sa.select(d.source_id, d.state, sa.func.count())
        .where(d.state != int(DocumentState.DELETED))
        .group_by(d.source_id, d.state)
    ).all():
        states.setdefault(source_id, {})[DocumentState(state).name.lower()] = count
    by_default: dict[int, int] = dict(
        connection.execute(
            sa.select(d.source_id, sa.func.count())
            .join(t.acl_class, a.id == d.class_id)
            .join(t.taxonomy, x.tenant_id == d.tenant_id)
            .where(d.state == int(DocumentState.LIVE), a.label == x.default_label)
            .group_by(d.source_id)
        ).all()
    )
    return [
        SourceHealth(
            r.tenant,
            r.name,
            Micros(r.acl_as_of),
            Micros(r.max_acl_age),
            states.get(r.id, {}),
            by_default.get(r.id, 0),
        )
        for r in heads
    ]


def unresolved_names(connection: sa.Connection) -> dict[str, int]:
    """Native names that the mapping does not know, as `allow NAME` or `deny NAME`, with numbers of documents."""
    d = t.document.c
    rows = connection.execute(
        sa.select(d.unresolved, sa.func.count())
        .where(d.unresolved != "[]", d.state != int(DocumentState.DELETED))
        .group_by(d.unresolved)
    ).all()
    found: dict[str, int] = {}
    for stored, count in rows:
        for name in json.loads(stored):
            found[name] = found.get(name, 0) + count
    return dict(sorted(found.items(), key=lambda x: (-x[1], x[0])))


def uncertain_groups(connection: sa.Connection) -> dict[str, int]:
    """Principals that are not known for certain, by tenant: denies that name them close their locks."""
    p = t.principal.c
    rows = connection.execute(
        sa.select(t.tenant.c.name, sa.func.count())
        .join(t.tenant, t.tenant.c.id == p.tenant_id)
        .where(sa.or_(p.complete == 0, p.state.in_(("deleted", "unknown"))))
        .group_by(t.tenant.c.name)
    ).all()
    return {str(name): count for name, count in rows}


def tenants_without_directory(connection: sa.Connection) -> list[str]:
    """Tenants whose directory was not imported since the home was made or restored."""
    rows = connection.execute(sa.select(t.tenant.c.name).where(t.tenant.c.directory_as_of == 0)).scalars()
    return list(rows)
