"""Seeded random companies, and how they are written into a control database by plain inserts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.interning import intern_class
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock
from tests.oracle import Bolt, Call, Company, Cut, Guard, Handover, Limits, Link, Who

MINUTE = 60_000_000
NOW = 1_000_000 * MINUTE
LABELS = tuple(f"{n:08x}-0000-4000-8000-000000000000" for n in range(1, 6))
UNKNOWN_LABEL = "ffffffff-0000-4000-8000-000000000000"
ROOMS = ("heron", "board", "merger")
READ = frozenset({"read"})
QA = frozenset({"qa"})


@dataclass
class World:
    """Companies with the classes that guard their documents and the calls to try."""

    companies: dict[str, Company]
    guards: list[Guard]
    calls: list[Call]


@dataclass
class Stored:
    """A world in a database, with the keys it got."""

    engine: sa.Engine
    tenants: dict[str, TenantKey] = field(default_factory=dict[str, TenantKey])
    principals: dict[tuple[str, str], PrincipalKey] = field(
        default_factory=dict[tuple[str, str], PrincipalKey]
    )
    sources: dict[tuple[str, str], SourceKey] = field(default_factory=dict[tuple[str, str], SourceKey])
    classes: list[ClassKey] = field(default_factory=list[ClassKey])


class Dice:
    """Random choices from one seed."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def chance(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def pick(self, items: Sequence[str]) -> str:
        return items[int(self._rng.integers(len(items)))]

    def some(self, items: Sequence[str], low: int, high: int) -> list[str]:
        size = min(len(items), int(self._rng.integers(low, high + 1)))
        return [items[int(i)] for i in self._rng.permutation(len(items))[:size]]

    def number(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, high))

    def end(self, share: float) -> int | None:
        """An end for a share of the cases: long ago, just now, or later; whole minutes."""
        return NOW + MINUTE * self.number(-3, 12) if self.chance(share) else None


def random_world(seed: int, *, users: int = 24, groups: int = 12, guards: int = 60, calls: int = 24) -> World:
    """Two companies that share names, so that a mix-up of tenants shows."""
    dice = Dice(seed)
    world = World({}, [], [])
    for name in ("acme", "globex"):
        company = world.companies[name] = random_company(dice, name, users, groups)
        share = guards if name == "acme" else guards // 5
        world.guards += [random_guard(dice, company) for _ in range(share)]
        world.calls += [random_call(dice, company) for _ in range(calls if name == "acme" else calls // 8)]
    for company in world.companies.values():
        _add_cuts(company, dice)
    return world


def random_company(dice: Dice, name: str, users: int, groups: int) -> Company:
    company = Company(
        name, labels={label: 10 * n for n, label in enumerate(LABELS)}, sources=("hr", "wiki", "mail")
    )
    company.who["everyone"] = Who("everyone", "everyone")
    for n in range(users):
        kind = dice.pick(("member",) * 16 + ("guest", "service"))
        prefix = "service" if kind == "service" else "user"
        _add(company, dice, f"{prefix}:u{n}", kind)
    for n in range(2):
        _add(company, dice, f"app:a{n}", "app")
        company.limits[f"app:a{n}"] = [_limits(dice, company)]
    for n in range(4):
        _add(company, dice, f"agent:g{n}", "agent")
        company.limits[f"agent:g{n}"] = [_limits(dice, company)] * (2 if dice.chance(0.03) else 1)
    for n in range(groups):
        state = dice.pick(("active",) * 40 + ("deleted", "unknown"))
        company.who[f"group:{n}"] = Who(f"group:{n}", "group", state, complete=not dice.chance(0.03))
    _add_links(company, dice, groups)
    _add_handovers(company, dice)
    return company


def _add_cuts(company: Company, dice: Dice) -> None:
    """Revocations: of people and agents, of a group from a source, now and then of a source from everybody."""
    names = [name for name, who in company.who.items() if who.kind not in ("group", "everyone")]
    groups = [name for name, who in company.who.items() if who.kind == "group" and who.state == "active"]
    for name in dice.some(names, 0, 2):
        company.cuts.append(Cut(name, None, 0, dice.end(0.5)))
    for name in dice.some(names, 1, 3) + dice.some(groups, 0, 1):
        company.cuts.append(Cut(name, dice.pick(company.sources), 0, dice.end(0.3)))
    if dice.chance(0.1):
        company.cuts.append(
            Cut(dice.pick(("everyone", "")) or None, dice.pick(company.sources), 0, dice.end(0.3))
        )


def _add(company: Company, dice: Dice, name: str, kind: str) -> None:
    state = dice.pick(("active",) * 60 + ("disabled", "deleted", "unknown"))
    clearance = (
        None
        if dice.chance(0.04)
        else dice.pick((*LABELS[1:], *LABELS[3:] * 3, *LABELS[4:] * 4, UNKNOWN_LABEL))
    )
    rooms = frozenset(dice.some(ROOMS, 2 if dice.chance(0.8) else 0, 3))
    company.who[name] = Who(name, kind, state, clearance=clearance, compartments=rooms)


def _limits(dice: Dice, company: Company) -> Limits:
    return Limits(
        actions=READ if dice.chance(0.97) else frozenset({"write"}),
        label=dice.pick((*LABELS[2:], *LABELS[4:] * 6)),
        compartments=frozenset(dice.some(ROOMS, 2, 3)),
        sources=frozenset("*") if dice.chance(0.6) else frozenset(dice.some(company.sources, 2, 3)),
        purposes=QA if dice.chance(0.8) else frozenset({"qa", "audit"}),
        end=dice.end(0.05),
    )


def _add_links(company: Company, dice: Dice, groups: int) -> None:
    names = [f"group:{n}" for n in range(groups)]
    for who in list(company.who.values()):
        if who.kind in ("group", "everyone"):
            continue
        for group in dice.some(names, 0, 3):
            company.links.append(_link(dice, who.name, group))
    for child, name in enumerate(names):
        # Mostly a tree upwards; now and then back down, which makes a cycle that must not hang anybody.
        for parent in dice.some(names[child + 1 :], 0, 1) + (
            dice.some(names[:child], 1, 1) if dice.chance(0.05) else []
        ):
            company.links.append(_link(dice, name, parent))


def _link(dice: Dice, member: str, group: str) -> Link:
    start = NOW + MINUTE * dice.number(-2, 3) if dice.chance(0.06) else 0
    end = dice.end(0.08)
    return Link(member, group, min(start, end) if end is not None else start, end)


def _add_handovers(company: Company, dice: Dice) -> None:
    """Chains of one to four agents; the fourth is one too many, and some links do not fit together."""
    agents = [name for name, who in company.who.items() if who.kind == "agent"]
    people = [name for name, who in company.who.items() if who.kind in ("member", "guest")]
    for n in range(10):
        parent, giver, subject = None, dice.pick(("app:a0", "app:a1")), dice.pick(people)
        for depth, agent in enumerate(dice.some(agents, 1, 4 if dice.chance(0.2) else 3)):
            id_ = f"{company.name}-{n}-{depth}"
            company.handovers[id_] = Handover(
                id=id_,
                parent=parent,
                subject=subject if dice.chance(0.98) else dice.pick(people),
                created_by=giver if dice.chance(0.98) else dice.pick(agents),
                agent=agent,
                actions=READ if dice.chance(0.97) else frozenset[str](),
                label=dice.pick(LABELS[2:]) if dice.chance(0.3) else None,
                compartments=frozenset(dice.some(ROOMS, 1, 3)) if dice.chance(0.3) else None,
                sources=frozenset(dice.some(company.sources, 1, 3)) if dice.chance(0.3) else None,
                purposes=QA if dice.chance(0.3) else None,
                end=dice.end(0.05),
            )
            parent, giver = id_, agent


def random_guard(dice: Dice, company: Company) -> Guard:
    label = UNKNOWN_LABEL if dice.chance(0.03) else dice.pick((*LABELS[:2] * 3, *LABELS))
    rooms = frozenset(dice.some(ROOMS, 1, 2)) if dice.chance(0.2) else frozenset[str]()
    n_locks = 1 if dice.chance(0.4) else dice.number(2, 6)
    locks = tuple(random_bolt(dice, company, wide=n_locks > 1) for _ in range(n_locks))
    return Guard(company.name, locks, label, rooms, dice.pick(company.sources))


def random_bolt(dice: Dice, company: Company, *, wide: bool) -> Bolt:
    groups = [name for name, who in company.who.items() if who.kind == "group"]
    others = [name for name, who in company.who.items() if who.kind not in ("group", "everyone")]
    named = dice.some(groups, 1, 4) + (dice.some(others, 1, 3) if dice.chance(0.5) else [])
    if dice.chance(0.6 if wide else 0.35):
        named.append("everyone")
    if dice.chance(0.02):
        named = []
    deny: list[str] = []
    if dice.chance(0.3):
        deny = dice.some(groups, 1, 2) if dice.chance(0.5) else dice.some(others, 1, 4)
    if dice.chance(0.01):
        deny.append("everyone")
    return Bolt(tuple((x, dice.end(0.12)) for x in named), tuple(deny), unresolved=dice.chance(0.015))


def random_call(dice: Dice, company: Company) -> Call:
    names = [name for name, who in company.who.items() if who.kind != "everyone"]
    people = [name for name, who in company.who.items() if who.kind in ("member", "guest", "service")]
    agents = [name for name, who in company.who.items() if who.kind == "agent"]
    purpose = "qa" if dice.chance(0.95) else "audit"
    action = "read" if dice.chance(0.98) else "write"
    way = dice.number(0, 100)
    if way < 45:
        return Call(company.name, dice.pick(("app:a0", "app:a1")), dice.pick(people), None, purpose, action)
    if way < 85:
        handover = company.handovers[dice.pick(tuple(company.handovers))]
        caller = handover.agent if dice.chance(0.95) else dice.pick(names)
        return Call(company.name, caller, None, handover.id, purpose, action)
    if way < 92:
        agent = dice.pick(agents)
        return Call(company.name, agent if dice.chance(0.6) else "app:a0", agent, None, purpose, action)
    if way < 96:
        return Call(
            company.name,
            dice.pick(names),
            dice.pick((*names, "user:nobody", "everyone")),
            None,
            purpose,
            action,
        )
    return Call(company.name, dice.pick(agents), dice.pick(people), None, purpose, action)


# ---- into a database


def store(world: World, path: Path) -> Stored:
    """Write a world into a new control database."""
    engine = open_engine(path)
    stored = Stored(engine)
    with write(engine) as connection:
        t.meta.create_all(connection)
        # Small integers are one object in Python: with large keys a comparison by identity would show.
        for table in (t.principal, t.delegation):
            connection.exec_driver_sql(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, 100000)", (table.name,)
            )
        for company in world.companies.values():
            store_company(connection, stored, company)
        stored.classes = [intern_class(connection, acl_class(stored, guard)) for guard in world.guards]
    return stored


def store_company(connection: sa.Connection, stored: Stored, company: Company) -> None:
    tenant = TenantKey(_insert(connection, t.tenant, name=company.name, directory_as_of=1))
    stored.tenants[company.name] = tenant
    connection.execute(
        sa.insert(t.policy_version).values(tenant_id=tenant, generation=secrets.token_hex(8), n=0)
    )
    connection.execute(
        sa.insert(t.taxonomy).values(
            tenant_id=tenant, default_label=LABELS[-1], mix_threshold=LABELS[3], version=1
        )
    )
    for guid, priority in company.labels.items():
        _insert(connection, t.label, tenant_id=tenant, guid=guid, name=f"label {priority}", priority=priority)
    for name in company.sources:
        source = {
            "name": name,
            "kind": "filesystem",
            "trust": "internal",
            "max_acl_age": NEVER,
            "manifest": "{}",
        }
        stored.sources[company.name, name] = SourceKey(
            _insert(connection, t.source, tenant_id=tenant, **source)
        )
    for who in company.who.values():
        _store_principal(connection, stored, tenant, company.name, who)
    key = {name: stored.principals[company.name, name] for name in company.who}
    for link in company.links:
        ends = {"valid_from": link.start, "valid_to": _end(link.end)}
        _insert(
            connection,
            t.membership,
            tenant_id=tenant,
            member_id=key[link.member],
            group_id=key[link.group],
            **ends,
        )
    for name, grants in company.limits.items():
        for limits in grants:
            row = {x: _json(getattr(limits, x)) for x in ("actions", "compartments", "sources", "purposes")}
            ends = {"valid_from": limits.start, "valid_to": _end(limits.end)}
            _insert(
                connection,
                t.grant,
                tenant_id=tenant,
                principal_id=key[name],
                label=limits.label,
                **row,
                **ends,
            )
    for number, cut in enumerate(company.cuts):
        _insert(
            connection,
            t.revocation,
            tenant_id=tenant,
            public_id=f"{company.name}-{number}",
            principal_id=None if cut.name is None else key[cut.name],
            source_id=None if cut.source is None else stored.sources[company.name, cut.source],
            revoked_by="user:officer",
            reason="",
            valid_from=cut.start,
            valid_to=_end(cut.end),
        )
    ids: dict[str, int] = {}
    for handover in company.handovers.values():
        parent = None if handover.parent is None else ids[handover.parent]
        ids[handover.id] = _store_handover(connection, tenant, key, handover, parent)


def _store_principal(
    connection: sa.Connection, stored: Stored, tenant: TenantKey, company: str, who: Who
) -> None:
    key = _insert(
        connection,
        t.principal,
        tenant_id=tenant,
        name=who.name,
        kind=who.kind,
        state=who.state,
        complete=int(who.complete),
    )
    stored.principals[company, who.name] = PrincipalKey(key)
    if who.clearance is not None:
        _insert(
            connection, t.clearance, tenant_id=tenant, principal_id=key, label=who.clearance, valid_from=0
        )
    for room in who.compartments:
        _insert(
            connection,
            t.compartment_member,
            tenant_id=tenant,
            principal_id=key,
            compartment=room,
            valid_from=0,
        )


def _store_handover(
    connection: sa.Connection,
    tenant: TenantKey,
    key: dict[str, PrincipalKey],
    handover: Handover,
    parent: int | None,
) -> int:
    limits = {x: getattr(handover, x) for x in ("actions", "compartments", "sources", "purposes")}
    return _insert(
        connection,
        t.delegation,
        tenant_id=tenant,
        public_id=handover.id,
        parent_id=parent,
        subject_id=key[handover.subject],
        created_by=key[handover.created_by],
        agent_id=key[handover.agent],
        label=handover.label,
        valid_from=handover.start,
        valid_to=_end(handover.end),
        **{name: None if value is None else _json(value) for name, value in limits.items()},
    )


def acl_class(stored: Stored, guard: Guard) -> AclClass:
    """A guard in the product's words."""
    company = guard.tenant
    locks = tuple(
        Lock.of(
            [(stored.principals[company, name], Micros(_end(end))) for name, end in bolt.allow],
            [stored.principals[company, name] for name in bolt.deny],
            unresolved_deny=bolt.unresolved,
        )
        for bolt in guard.locks
    )
    return AclClass(
        tenant=stored.tenants[company],
        locks=locks,
        label=LabelId(guard.label),
        compartments=frozenset(Compartment(x) for x in guard.compartments),
        trust=Trust.INTERNAL,
        source=stored.sources[company, guard.source],
    )


def _insert(connection: sa.Connection, table: sa.Table, **values: object) -> int:
    return int(connection.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one())


def _end(end: int | None) -> int:
    return NEVER if end is None else end


def _json(names: frozenset[str]) -> str:
    return json.dumps(sorted(names))
