"""Compiled set, Casbin and an oracle written from the text of the design agree on every decision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from secure_rag.database.views import ReadView, Views
from secure_rag.model.ids import ClassKey, Micros
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import Subject
from secure_rag_acl.casbin_engine import CasbinEngine
from tests.controls import control
from tests.oracle import Asking, Guard, Outcome, ask, half_open, judge, without_denies
from tests.support.decided import FrozenView, read_classes, read_subject
from tests.worlds import NOW, World, random_world, store

WORLDS = 14
BATCHES = 4
"""4 batches of 14 worlds of 1,944 decisions: 108,864."""


@control("acl:paths-agree", "acl:reasons")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_three_ways_to_decide_agree(batch: int, tmp_path: Path) -> None:
    engine = CasbinEngine()
    seen: Counter[str] = Counter()
    for seed in range(batch * WORLDS, (batch + 1) * WORLDS):
        _decide_world(engine, random_world(seed), tmp_path / f"{seed}.db", seen)
    total = seen["all"]
    assert total >= 100_000 / BATCHES
    # A green run without these outcomes would prove nothing.
    assert seen["allowed"] >= 0.05 * total
    assert seen["allowed through a chain"] >= 0.01 * total
    assert seen["a deny decided"] >= 0.01 * total
    assert seen["one of several locks decided"] >= 0.01 * total
    assert seen["an unresolved deny decided"] >= 0.005 * total
    for outcome in Outcome:
        assert seen[outcome.value] > 0, outcome


def _decide_world(engine: CasbinEngine, world: World, path: Path, seen: Counter[str]) -> None:
    stored = store(world, path)
    with Views(stored.engine, lambda: Micros(NOW)).open() as view:
        classes = read_classes(view, stored)
        for number, call in enumerate(world.calls):
            subject = read_subject(view, stored, call)
            asking = ask(world.companies[call.tenant], call, NOW)
            compiled = _compile(engine, view, subject, call.action)
            for guard, cls in zip(world.guards, classes, strict=True):
                expected = judge(asking, guard, NOW)
                decision = engine.decide(subject, call.action, cls, view.now)
                where = (path.stem, call, guard, expected, decision)
                assert decision.reason.value == expected.value, where
                assert decision.allowed is (expected is Outcome.ALLOWED), where
                assert (cls.key in compiled) is decision.allowed, where
                _count(seen, asking, guard, expected)
            if number % 4 == 0:
                _check_expiry(engine, subject, call.action, classes)
    stored.engine.dispose()


def _compile(engine: CasbinEngine, view: ReadView, subject: Subject, action: str) -> set[int]:
    scope = engine.compile(view, subject, action)
    assert engine.compile(view, subject, action) is scope
    keys = scope.classes.tolist()
    assert keys == sorted(set(keys))
    return set(keys)


def _check_expiry(engine: CasbinEngine, subject: Subject, action: str, classes: list[AclClass]) -> None:
    """A scope holds until just before `valid_until`; from then on it is compiled anew, and agrees again."""
    fresh = CasbinEngine()
    until = fresh.compile(FrozenView(classes, NOW), subject, action).valid_until  # type: ignore[arg-type]  # a part of a view
    for now in {NOW, min(int(until) - 1, NOW + 10**12), min(int(until), NOW + 10**12)}:
        scope = fresh.compile(FrozenView(classes, now), subject, action)  # type: ignore[arg-type]  # a part of a view
        expected = [x.key for x in classes if engine.decide(subject, action, x, Micros(now)).allowed]
        assert scope.classes.tolist() == sorted(expected)
        if now < until:
            assert scope.valid_until == until


def _count(seen: Counter[str], asking: Asking, guard: Guard, expected: Outcome) -> None:
    seen["all"] += 1
    seen[expected.value] += 1
    if expected is Outcome.ALLOWED and len(asking.hops) > 1:
        seen["allowed through a chain"] += 1
    denied = {Outcome.DENIED: "a deny decided", Outcome.UNRESOLVED: "an unresolved deny decided"}.get(
        expected
    )
    if denied is not None and judge(asking, without_denies(guard), NOW) is Outcome.ALLOWED:
        seen[denied] += 1
    if expected is Outcome.NOT_ON_LIST and half_open(asking, guard, NOW):
        seen["one of several locks decided"] += 1


def test_an_index_that_grew_in_steps_is_the_index_built_at_once(tmp_path: Path) -> None:
    world = random_world(1)
    stored = store(world, tmp_path / "w.db")
    with Views(stored.engine, lambda: Micros(NOW)).open() as view:
        classes = sorted(read_classes(view, stored), key=lambda x: x.key)
        grown, whole = CasbinEngine(), CasbinEngine()
        for call in world.calls:
            subject = read_subject(view, stored, call)
            mine = [x for x in classes if x.tenant == subject.tenant]
            for size in (len(mine) // 3, len(mine) // 2, len(mine)):
                scope = grown.compile(FrozenView(mine[:size], NOW), subject, call.action)  # type: ignore[arg-type]  # a part of a view
                once = whole.compile(FrozenView(mine, NOW), subject, call.action)  # type: ignore[arg-type]  # a part of a view
                high_water = mine[size - 1].key if size else ClassKey(0)
                assert scope.classes.tolist() == [x for x in once.classes.tolist() if x <= high_water]
    stored.engine.dispose()
