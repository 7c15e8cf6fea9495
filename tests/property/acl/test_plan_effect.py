"""The effect of a change is the difference of two worlds, each decided by brute force by the independent oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from secure_rag.model.ids import DocumentKey, LabelId, Micros
from secure_rag.model.labels import Label, Taxonomy
from secure_rag.model.locks import NOT_INTERNED, AclClass
from secure_rag_acl.effect import Effect, Guarded, Part, effect, excess, gains_from_plain, gains_to_plain
from secure_rag_acl.population import read_population
from tests.controls import control
from tests.oracle import (
    Asking,
    Bolt,
    Company,
    Guard,
    Hop,
    Limits,
    Outcome,
    Who,
    doubtful,
    groups_of,
    judge,
)
from tests.worlds import (
    LABELS,
    MINUTE,
    NOW,
    Dice,
    Stored,
    acl_class,
    random_guard,
    random_world,
    store,
)

DOCUMENTS = 60
EVER = 2**62
ALL = frozenset({"heron", "board", "merger"})
WIDE = Limits(frozenset({"read"}), LABELS[-1], ALL, frozenset("*"), frozenset({"qa"}))
Triples = set[tuple[Part, str, int]]


def instants(guards: list[tuple[Guard | None, Guard | None]]) -> list[int]:
    """Now, and every end of an entry: between two of them nothing changes."""
    ends = {
        end
        for pair in guards
        for guard in pair
        if guard is not None
        for bolt in guard.locks
        for _, end in bolt.allow
        if end is not None and end > NOW
    }
    return [NOW, *sorted(ends)]


def asking_of(company: Company, who: Who) -> Asking:
    """Somebody with nothing in between; what passes on has its own part."""
    groups = groups_of(company, who.name, NOW) | ({"everyone"} if who.kind == "member" else set())
    top = max(company.labels, key=lambda x: company.labels[x])
    hop = Hop("nobody", frozenset(), (replace(WIDE, label=top),))
    return Asking(company, who, groups, (hop,), "qa", "read", doubtful(company, NOW))


def passing_of(company: Company, who: Who) -> Asking | None:
    """Everything opens for the subject: what is asked is what an application or agent stops."""
    live = [x for x in company.limits.get(who.name, []) if x.start <= NOW and (x.end is None or x.end > NOW)]
    if who.state != "active" or len(live) != 1:
        return None
    top = max(company.labels, key=lambda x: company.labels[x])
    anybody = Who("anybody", "member", clearance=top, compartments=ALL)
    hop = Hop(who.name, groups_of(company, who.name, NOW), (replace(live[0], end=None),))
    return Asking(company, anybody, frozenset({"anybody"}), (hop,), "qa", "read", frozenset())


def for_anybody(guard: Guard) -> Guard:
    """Opened by everybody. A deny of everyone is the readers' matter: it has nothing to do with who passes on."""
    locks = (
        Bolt((("anybody", None),), tuple(name for name in x.deny if name != "everyone"), x.unresolved)
        for x in guard.locks
    )
    return replace(guard, locks=tuple(locks))


def brute(
    before: Company, after: Company, pairs: list[tuple[Guard | None, Guard | None]]
) -> tuple[Triples, Triples]:
    """Gains and losses, reader by reader, document by document, instant by instant."""
    gains: Triples = set()
    losses: Triples = set()
    times = instants(pairs)
    for who in before.who.values():
        for part in (Part.READS, Part.PASSES):
            if part is Part.READS:
                if who.state != "active" or who.kind not in ("member", "guest", "service", "agent"):
                    continue
                old: Asking | None = asking_of(before, who)
                new: Asking | None = asking_of(after, who)
            else:
                old, new = passing_of(before, who), passing_of(after, who)
            if old is None or new is None:
                continue
            for number, (one, other) in enumerate(pairs, 1):
                if part is Part.PASSES:
                    one = None if one is None else for_anybody(one)
                    other = None if other is None else for_anybody(other)
                for now in times:
                    was = one is not None and judge(old, one, now) is Outcome.ALLOWED
                    will = other is not None and judge(new, other, now) is Outcome.ALLOWED
                    if will and not was:
                        gains.add((part, who.name, number))
                    if was and not will:
                        losses.add((part, who.name, number))
    return gains, losses


def triples(found: Effect, side: str) -> Triples:
    shares = found.gains if side == "gains" else found.losses
    return {
        (part, name, int(key))
        for (part, name), parts in shares.items()
        if part is not Part.NAMED and "delegated" not in name
        for share in parts
        for key in share.documents
    }


def guarded(stored: Stored, pairs: list[tuple[Guard | None, Guard | None]]) -> list[Guarded]:
    def cls(guard: Guard | None) -> AclClass | None:
        return None if guard is None else replace(acl_class(stored, guard), key=NOT_INTERNED)

    return [
        Guarded(DocumentKey(n), "hr", f"{n}.txt", cls(one), cls(other))
        for n, (one, other) in enumerate(pairs, 1)
    ]


def changed(dice: Dice, company: Company, guard: Guard) -> Guard | None:
    """The guard of a document after a change: another one, a lock less, an entry more or longer, a label."""
    way = dice.number(0, 10)
    bolt = guard.locks[0]
    if way < 3:
        return random_guard(dice, company)
    if way == 3:
        return None
    if way == 4 and len(guard.locks) > 1:
        return replace(guard, locks=guard.locks[1:])
    if way == 5:
        names = [name for name, who in company.who.items() if who.kind != "app"]
        more = (*bolt.allow, (dice.pick(names), dice.end(0.5)))
        return replace(guard, locks=(replace(bolt, allow=tuple(dict(more).items())), *guard.locks[1:]))
    if way == 6:
        longer = tuple((name, None if end is None else end + 5 * MINUTE) for name, end in bolt.allow)
        return replace(guard, locks=(replace(bolt, allow=longer), *guard.locks[1:]))
    if way == 7:
        return replace(guard, locks=(Bolt(bolt.allow), *guard.locks[1:]))
    if way == 8:
        return replace(guard, label=dice.pick(LABELS))
    return guard


def taxonomy(company: Company, version: int) -> Taxonomy:
    labels = [Label(LabelId(guid), f"label {rank}", rank) for guid, rank in company.labels.items()]
    return Taxonomy.of(labels, LabelId(LABELS[-1]), LabelId(LABELS[3]), version)


@control("acl:plan-exact")
@pytest.mark.parametrize("relabel", [False, True])
def test_a_plan_is_the_difference_of_two_brute_force_worlds(tmp_path: Path, relabel: bool) -> None:
    counted: Counter[str] = Counter()
    for seed in range(12):
        dice = Dice(1000 + seed)
        world = random_world(seed, users=14, groups=8, guards=DOCUMENTS, calls=2)
        company = world.companies["acme"]
        company.cuts.clear()
        stored = store(world, tmp_path / f"{relabel}-{seed}.db")
        before = [x for x in world.guards if x.tenant == "acme"]
        pairs: list[tuple[Guard | None, Guard | None]] = [
            (x, x if relabel and dice.chance(0.7) else changed(dice, company, x)) for x in before
        ]
        other = company
        if relabel:
            order = dice.some(LABELS, len(LABELS), len(LABELS))
            other = replace(company, labels={label: 10 * n for n, label in enumerate(order)})
        with stored.engine.connect() as connection, connection.begin():
            population = read_population(connection, stored.tenants["acme"], Micros(NOW))
        found = effect(
            guarded(stored, pairs), population, taxonomy(company, 1), taxonomy(other, 2), Micros(NOW)
        )
        gains, losses = brute(company, other, pairs)
        assert triples(found, "gains") == gains, seed
        assert triples(found, "losses") == losses, seed
        counted.update(f"gains {part}" for part, _, _ in gains)
        counted.update(f"losses {part}" for part, _, _ in losses)
        counted["later"] += sum(share.end < EVER for shares in found.gains.values() for share in shares)
        assert not list(excess(gains_from_plain(gains_to_plain(found.gains)), found.gains))
        stored.engine.dispose()
    assert min(counted[x] for x in ("gains reads", "losses reads")) >= 150, counted
    assert min(counted[x] for x in ("gains passes", "losses passes")) >= 20, counted
    assert relabel or counted["later"] >= 5, counted
