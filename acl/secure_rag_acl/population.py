"""Everybody whom a change of permissions may concern: readers, what passes content on, and names on lists.

Read with few statements for the whole tenant, where `SubjectReader` reads one subject at a time. A property test
holds both against each other and against an independent oracle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import sqlalchemy as sa

from secure_rag.database import statements as q
from secure_rag.database import tables as t
from secure_rag.model.ids import (
    EVERYONE,
    Compartment,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    PrincipalKind,
    SourceKey,
    TenantKey,
)
from secure_rag_acl.reach import Reader

_READING = ("member", "guest", "service", "agent")
_PASSING = ("app", "agent")


@dataclass(frozen=True, slots=True)
class Somebody:
    """A principal as the directory has it."""

    key: PrincipalKey
    name: str
    kind: str
    state: str

    @property
    def active(self) -> bool:
        """Whether it may act at all."""
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class Population:
    """One tenant at one instant.

    Attributes:
        principals: every principal by key.
        readers: active people, services and agents for themselves, with their own rights; nothing in between.
        passing: applications and agents in between, and narrower delegations, by what to call them.
        groups: of each principal, itself and every group above it.
        uncertain: principals whose mention in a deny closes the lock.
        everyone: 0 when the tenant has none.
    """

    principals: Mapping[PrincipalKey, Somebody]
    readers: Mapping[str, Reader]
    passing: Mapping[str, Reader]
    groups: Groups
    uncertain: frozenset[PrincipalKey]
    everyone: PrincipalKey

    def entry(self, key: PrincipalKey) -> Reader:
        """Whoever is in the lists under this name alone, whatever the clearance."""
        return Reader(
            self.groups.closure(key), self.groups.closure(key) | self.uncertain | {self.everyone}, None, None
        )

    def members(self, key: PrincipalKey) -> frozenset[str]:
        """Readers whose closure holds a principal."""
        return frozenset(
            name for name, x in self.readers.items() if x.closure is not None and key in x.closure
        )


@dataclass(slots=True)
class Groups:
    """Closures, each computed once."""

    above: Mapping[PrincipalKey, tuple[PrincipalKey, ...]]
    _known: dict[PrincipalKey, frozenset[PrincipalKey]] = field(
        default_factory=dict[PrincipalKey, frozenset[PrincipalKey]]
    )

    def closure(self, key: PrincipalKey) -> frozenset[PrincipalKey]:
        """A principal and its groups, nested; cycles end."""
        found = self._known.get(key)
        if found is None:
            seen, waiting = {key}, [key]
            while waiting:
                new = [x for x in self.above.get(waiting.pop(), ()) if x not in seen]
                seen.update(new)
                waiting += new
            found = self._known[key] = frozenset(seen)
        return found


def read_population(
    connection: sa.Connection,
    tenant: TenantKey,
    now: Micros,
    unknown: Mapping[PrincipalId, PrincipalKey] = MappingProxyType({}),
) -> Population:
    """Everybody of a tenant.

    Args:
        connection: a snapshot.
        tenant: whose.
        now: the instant.
        unknown: names that the database does not have yet, with keys that no row has: nobody knows them for certain.
    """
    p = t.principal.c
    rows = connection.execute(sa.select(p.id, p.name, p.kind, p.state).where(p.tenant_id == tenant)).all()
    principals = {PrincipalKey(r.id): Somebody(PrincipalKey(r.id), r.name, r.kind, r.state) for r in rows}
    principals |= {key: Somebody(key, name, _kind(name), "unknown") for name, key in unknown.items()}
    everyone = next((x.key for x in principals.values() if x.name == EVERYONE), PrincipalKey(0))
    groups = Groups(_above(connection, tenant, now, principals))
    uncertain = frozenset(
        PrincipalKey(x) for x in connection.execute(q.UNCERTAIN, {"tenant": tenant, "now": now}).scalars()
    ).union(unknown.values())
    known = bool(connection.execute(q.DIRECTORY_AS_OF, {"tenant": tenant}).scalar())
    labels, rooms = _clearances(connection, tenant, now), _rooms(connection, tenant, now)
    readers = {
        x.name: _reader(x, groups, labels, rooms, uncertain, everyone)
        for x in principals.values()
        if known and x.active and x.kind in _READING
    }
    passing = _passing(connection, tenant, now, principals, groups)
    return Population(principals, readers, passing, groups, uncertain, everyone)


def _kind(name: PrincipalId) -> str:
    prefix = name.partition(":")[0]
    return PrincipalKind.MEMBER.value if prefix == "user" else prefix


def _above(
    connection: sa.Connection, tenant: TenantKey, now: Micros, principals: Mapping[PrincipalKey, Somebody]
) -> Mapping[PrincipalKey, tuple[PrincipalKey, ...]]:
    """Groups directly above each principal; nothing is reached through a group that is not active."""
    m = t.membership.c
    rows = connection.execute(
        sa.select(m.member_id, m.group_id).where(m.tenant_id == tenant, m.valid_from <= now, m.valid_to > now)
    ).all()
    above: dict[PrincipalKey, list[PrincipalKey]] = {}
    for member, group in rows:
        found = principals.get(PrincipalKey(group))
        if found is not None and found.active and found.kind == PrincipalKind.GROUP.value:
            above.setdefault(PrincipalKey(member), []).append(found.key)
    return {key: tuple(found) for key, found in above.items()}


def _clearances(connection: sa.Connection, tenant: TenantKey, now: Micros) -> Mapping[PrincipalKey, LabelId]:
    """Clearance of everybody who has exactly one: two that contradict each other are none."""
    c = t.clearance.c
    rows = connection.execute(
        sa.select(c.principal_id, c.label).where(c.tenant_id == tenant, c.valid_from <= now, c.valid_to > now)
    ).all()
    found: dict[PrincipalKey, list[LabelId]] = {}
    for principal, label in rows:
        found.setdefault(PrincipalKey(principal), []).append(LabelId(label))
    return {key: labels[0] for key, labels in found.items() if len(labels) == 1}


def _rooms(
    connection: sa.Connection, tenant: TenantKey, now: Micros
) -> Mapping[PrincipalKey, frozenset[Compartment]]:
    c = t.compartment_member.c
    rows = connection.execute(
        sa.select(c.principal_id, c.compartment).where(
            c.tenant_id == tenant, c.valid_from <= now, c.valid_to > now
        )
    ).all()
    found: dict[PrincipalKey, set[Compartment]] = {}
    for principal, room in rows:
        found.setdefault(PrincipalKey(principal), set()).add(Compartment(room))
    return {key: frozenset(rooms) for key, rooms in found.items()}


def _reader(
    who: Somebody,
    groups: Groups,
    labels: Mapping[PrincipalKey, LabelId],
    rooms: Mapping[PrincipalKey, frozenset[Compartment]],
    uncertain: frozenset[PrincipalKey],
    everyone: PrincipalKey,
) -> Reader:
    closure = groups.closure(who.key)
    if who.kind == PrincipalKind.MEMBER.value and everyone:
        closure |= {everyone}
    denied = closure | uncertain | {everyone}
    return Reader(closure, denied, (labels.get(who.key),), rooms.get(who.key, frozenset()))


def _passing(
    connection: sa.Connection,
    tenant: TenantKey,
    now: Micros,
    principals: Mapping[PrincipalKey, Somebody],
    groups: Groups,
) -> dict[str, Reader]:
    """Applications and agents with the one grant that holds; with none, or two, they pass on nothing."""
    g, s = t.grant.c, t.source.c
    sources = {
        str(name): SourceKey(key)
        for name, key in connection.execute(sa.select(s.name, s.id).where(s.tenant_id == tenant)).all()
    }
    rows = connection.execute(
        sa.select(t.grant).where(g.tenant_id == tenant, g.valid_from <= now, g.valid_to > now)
    ).all()
    grants: dict[PrincipalKey, list[Reader]] = {}
    for row in rows:
        key = PrincipalKey(row.principal_id)
        grants.setdefault(key, []).append(
            Reader(
                None,
                groups.closure(key),
                (LabelId(row.label),),
                frozenset(Compartment(x) for x in json.loads(row.compartments)),
                _named(sources, json.loads(row.sources)),
            )
        )
    found = {
        x.key: grants[x.key][0]
        for x in principals.values()
        if x.active and x.kind in _PASSING and len(grants.get(x.key, ())) == 1
    }
    named = {principals[key].name: reader for key, reader in found.items()}
    return named | _narrower(connection, tenant, now, principals, found, sources)


def _narrower(
    connection: sa.Connection,
    tenant: TenantKey,
    now: Micros,
    principals: Mapping[PrincipalKey, Somebody],
    granted: Mapping[PrincipalKey, Reader],
    sources: Mapping[str, SourceKey],
) -> dict[str, Reader]:
    """Delegations with a label of their own: another order of labels may let more through one of them."""
    d = t.delegation.c
    rows = connection.execute(
        sa.select(d.agent_id, d.label, d.sources, d.compartments)
        .where(d.tenant_id == tenant, d.valid_from <= now, d.valid_to > now, d.label.is_not(None))
        .distinct()
    ).all()
    found: dict[str, Reader] = {}
    for row in rows:
        own = granted.get(PrincipalKey(row.agent_id))
        if own is None or own.ceilings is None or own.compartments is None or own.sources is None:
            continue
        rooms = own.compartments
        if row.compartments is not None:
            rooms &= frozenset(Compartment(x) for x in json.loads(row.compartments))
        reachable = own.sources
        if row.sources is not None:
            reachable &= _named(sources, json.loads(row.sources))
        narrower = Reader(None, own.denied, (*own.ceilings, LabelId(row.label)), rooms, reachable)
        limits = json.dumps([row.label, sorted(reachable), sorted(rooms)]).encode("utf-8")
        # Named by its limits, so that it has the same name whenever it is looked at.
        mark = hashlib.sha256(limits).hexdigest()[:8]
        found[f"{principals[PrincipalKey(row.agent_id)].name} (delegated, {mark})"] = narrower
    return found


def _named(sources: Mapping[str, SourceKey], names: Iterable[str]) -> frozenset[SourceKey]:
    wanted = frozenset(names)
    return frozenset(key for name, key in sources.items() if "*" in wanted or name in wanted)
