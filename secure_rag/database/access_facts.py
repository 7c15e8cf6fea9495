"""Who is connected with whom, and what holds: bulk reads for explanations and access lists, never for decisions.

Everything is as of the instant of the view: memberships, clearances, compartments, grants, delegations, revocations
and the class of a document have a history; principals, groups and sources do not.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Container, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.model.ids import ClassKey, LabelId, Micros, PrincipalKey, PrincipalKind, SourceKey, TenantKey

_AT_ONCE: Final = 500
_ACTING: Final = ("member", "guest", "service", "agent")
"""Who a call can be for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """An active principal that a call can be for, with what it holds by itself. Two clearances are none."""

    key: PrincipalKey
    name: str
    kind: str
    clearance: LabelId | None
    compartments: frozenset[str]


@dataclass(frozen=True, slots=True)
class HeldRevocation:
    """A revocation that holds. `principal` None is everybody; neither source nor document is everything."""

    id: str
    principal: PrincipalKey | None
    source: SourceKey | None
    document: str | None


@dataclass(frozen=True, slots=True)
class HeldDelegation:
    """A delegation that holds: which agent may act for whom."""

    id: str
    parent: str | None
    subject: PrincipalKey
    agent: PrincipalKey
    created_by: PrincipalKey


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A live document without title and text."""

    document_id: str
    source: SourceKey
    native_id: str
    class_key: ClassKey
    acl_as_of: Micros


def links_above(
    view: ReadView, tenant: TenantKey, members: Iterable[PrincipalKey]
) -> list[tuple[PrincipalKey, PrincipalKey]]:
    """(member, group) of memberships through which something is reached, in order of the keys."""
    m, group = t.membership.c, t.principal.alias("grp")
    found: list[tuple[PrincipalKey, PrincipalKey]] = []
    for part in _parts(sorted(set(members))):
        rows = view._connection.execute(
            sa.select(m.member_id, m.group_id)
            .join(group, group.c.id == m.group_id)
            .where(
                m.tenant_id == tenant, m.member_id.in_(part), _live(t.membership, view.now), _reaches(group)
            )
        ).all()
        found += [(PrincipalKey(member), PrincipalKey(key)) for member, key in rows]
    return sorted(found)


def members_below(view: ReadView, tenant: TenantKey, roots: Iterable[PrincipalKey]) -> set[PrincipalKey]:
    """Everybody who has one of these in its closure, themselves among them; not through `everyone`."""
    found: set[PrincipalKey] = set()
    for part in _parts(sorted(set(roots))):
        rows = view._connection.execute(_below(), {"tenant": tenant, "now": view.now, "keys": part})
        found.update(PrincipalKey(key) for _, key in rows)
    return found


def members_by_root(
    view: ReadView, tenant: TenantKey, roots: Iterable[PrincipalKey]
) -> dict[PrincipalKey, set[PrincipalKey]]:
    """The same for each of them."""
    found: dict[PrincipalKey, set[PrincipalKey]] = {}
    for part in _parts(sorted(set(roots))):
        rows = view._connection.execute(_below(), {"tenant": tenant, "now": view.now, "keys": part})
        for root, key in rows:
            found.setdefault(PrincipalKey(root), set()).add(PrincipalKey(key))
    return found


def standings(view: ReadView, tenant: TenantKey) -> dict[PrincipalKey, Standing]:
    """Every active person, service and agent of a tenant."""
    p, c, r = t.principal.c, t.clearance.c, t.compartment_member.c
    labels: dict[int, set[str]] = {}
    twice: set[int] = set()
    for key, label in view._connection.execute(
        sa.select(c.principal_id, c.label).where(c.tenant_id == tenant, _live(t.clearance, view.now))
    ):
        if key in labels:
            twice.add(key)
        labels.setdefault(key, set()).add(label)
    rooms: dict[int, set[str]] = {}
    for key, room in view._connection.execute(
        sa.select(r.principal_id, r.compartment).where(
            r.tenant_id == tenant, _live(t.compartment_member, view.now)
        )
    ):
        rooms.setdefault(key, set()).add(room)
    rows = view._connection.execute(
        sa.select(p.id, p.name, p.kind).where(p.tenant_id == tenant, p.state == "active", p.kind.in_(_ACTING))
    )
    return {
        PrincipalKey(key): Standing(
            PrincipalKey(key),
            name,
            kind,
            None if key in twice or key not in labels else LabelId(next(iter(labels[key]))),
            frozenset(rooms.get(key, ())),
        )
        for key, name, kind in rows
    }


def active_callers(view: ReadView, tenant: TenantKey, kind: PrincipalKind) -> list[str]:
    """Names of the active applications or agents of a tenant, sorted."""
    p = t.principal.c
    statement = sa.select(p.name).where(p.tenant_id == tenant, p.kind == kind.value, p.state == "active")
    return list(view._connection.execute(statement.order_by(p.name)).scalars())


def held_revocations(view: ReadView, tenant: TenantKey) -> list[HeldRevocation]:
    """Revocations that hold, oldest first."""
    r, d = t.revocation.c, t.document.c
    rows = view._connection.execute(
        sa.select(r.public_id, r.principal_id, r.source_id, d.public_id.label("document"))
        .outerjoin(t.document, d.id == r.document_id)
        .where(r.tenant_id == tenant, _live(t.revocation, view.now))
        .order_by(r.id)
    ).all()
    return [
        HeldRevocation(
            row.public_id,
            None if row.principal_id is None else PrincipalKey(row.principal_id),
            None if row.source_id is None else SourceKey(row.source_id),
            row.document,
        )
        for row in rows
    ]


def held_delegations(view: ReadView, tenant: TenantKey) -> list[HeldDelegation]:
    """Delegations that hold, oldest first; whether their chain does is another question."""
    d, parent = t.delegation.c, t.delegation.alias("parent")
    rows = view._connection.execute(
        sa.select(d.public_id, parent.c.public_id.label("parent"), d.subject_id, d.agent_id, d.created_by)
        .outerjoin(parent, parent.c.id == d.parent_id)
        .where(d.tenant_id == tenant, _live(t.delegation, view.now))
        .order_by(d.id)
    ).all()
    return [
        HeldDelegation(
            row.public_id,
            row.parent,
            PrincipalKey(row.subject_id),
            PrincipalKey(row.agent_id),
            PrincipalKey(row.created_by),
        )
        for row in rows
    ]


def class_at(view: ReadView, tenant: TenantKey, document_id: str) -> ClassKey | None:
    """The class that guarded a document at the instant of the view; None when none did."""
    h, d = t.document_class.c, t.document.c
    found = view._connection.execute(
        sa.select(h.class_id)
        .join(t.document, d.id == h.document_id)
        .where(d.tenant_id == tenant, d.public_id == document_id, _live(t.document_class, view.now))
        .order_by(h.id.desc())
    ).first()
    return None if found is None else ClassKey(found.class_id)


def live_documents(
    view: ReadView, tenant: TenantKey, sources: Collection[SourceKey], classes: Container[ClassKey]
) -> Generator[ListedDocument]:
    """Live documents of some sources that some classes guard, in no certain order."""
    d, s = t.document.c, t.source.c
    as_of = sa.case((d.acl_as_of > s.acl_as_of, d.acl_as_of), else_=s.acl_as_of)
    statement = (
        sa.select(d.public_id, d.source_id, d.native_id, d.class_id, as_of)
        .join(t.source, s.id == d.source_id)
        .where(d.tenant_id == tenant, d.state == int(DocumentState.LIVE))
        .where(d.source_id.in_(sorted(sources)))
    )
    for public_id, source, native_id, cls, at in view._connection.execute(statement):
        if cls in classes:
            yield ListedDocument(public_id, SourceKey(source), native_id, ClassKey(cls), Micros(at))


@functools.cache
def _below() -> sa.Executable:
    """(root, member) of everybody below some principals. UNION (not ALL) ends cycles."""
    m, p, group = t.membership.c, t.principal.c, t.principal.alias("grp")
    tenant: sa.BindParameter[Any] = sa.bindparam("tenant")
    now: sa.BindParameter[Any] = sa.bindparam("now")
    start = sa.select(p.id.label("root"), p.id.label("id")).where(
        p.tenant_id == tenant, p.id.in_(sa.bindparam("keys", expanding=True))
    )
    down = start.cte("down", recursive=True)
    # `+ 0`: the index of the groups answers, not that of the whole tenant.
    member = (
        sa.select(down.c.root, m.member_id)
        .join(down, m.group_id == down.c.id)
        .join(group, group.c.id == down.c.id)
        .where(m.tenant_id + 0 == tenant, m.valid_from <= now, now < m.valid_to, _reaches(group))
    )
    reached = down.union(member)
    return sa.select(reached.c.root, reached.c.id)


def _reaches(group: sa.FromClause) -> sa.ColumnElement[bool]:
    """Nothing is reached through a deleted or unknown group, or through what is no group."""
    return sa.and_(group.c.state == "active", group.c.kind == PrincipalKind.GROUP.value)


def _live(table: sa.Table, now: Micros) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.valid_from <= now, now < table.c.valid_to)


def _parts(items: Sequence[PrincipalKey]) -> Generator[Sequence[PrincipalKey]]:
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]
