"""What `secure-rag doctor` reads: why answers could be empty. Counts and names of files, never text."""

from __future__ import annotations

import json
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class UnresolvedName:
    """A native name that the mapping of a source does not know."""

    tenant: str
    source: str
    effect: str
    """`allow`: grants nothing. `deny`: closes the lock for everybody."""
    name: str
    documents: int


def unresolved_names(connection: sa.Connection) -> list[UnresolvedName]:
    """Native names that nobody mapped, those that close documents first, then by number of documents."""
    d, s = t.document.c, t.source.c
    rows = connection.execute(
        sa.select(t.tenant.c.name.label("tenant"), s.name.label("source"), d.unresolved, sa.func.count())
        .join(t.source, s.id == d.source_id)
        .join(t.tenant, t.tenant.c.id == d.tenant_id)
        .where(d.unresolved != "[]", d.state != int(DocumentState.DELETED))
        .group_by(t.tenant.c.name, s.name, d.unresolved)
    ).all()
    found: Counter[tuple[str, str, str]] = Counter()
    for tenant, source, stored, count in rows:
        for entry in json.loads(stored):
            found[tenant, source, entry] += count
    names: list[UnresolvedName] = []
    for (tenant, source, entry), count in found.items():
        effect, _, name = entry.partition(" ")
        names.append(UnresolvedName(tenant, source, effect, name, count))
    return sorted(names, key=lambda x: (x.effect != "deny", -x.documents, x.tenant, x.source, x.name))


def uncertain_principals(connection: sa.Connection) -> dict[str, list[str]]:
    """Principals that are not known for certain, by tenant: denies that name them close their locks."""
    p = t.principal.c
    rows = connection.execute(
        sa.select(t.tenant.c.name, p.name)
        .join(t.tenant, t.tenant.c.id == p.tenant_id)
        .where(sa.or_(p.complete == 0, p.state.in_(("deleted", "unknown"))))
        .order_by(t.tenant.c.name, p.name)
    ).all()
    found: dict[str, list[str]] = {}
    for tenant, name in rows:
        found.setdefault(tenant, []).append(name)
    return found


def tenants_without_directory(connection: sa.Connection) -> list[str]:
    """Tenants whose directory was not imported since the home was made or restored."""
    rows = connection.execute(sa.select(t.tenant.c.name).where(t.tenant.c.directory_as_of == 0)).scalars()
    return list(rows)
