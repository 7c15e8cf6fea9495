"""Faults planted into the compiled path: each must make it disagree with Casbin in a small set of random worlds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest

from secure_rag.errors import PolicyError
from secure_rag.model.ids import ClassKey, Micros, TenantKey
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import MAX_HOPS, Subject
from secure_rag_acl import compiler
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.policy import EXPECTED_ROWS, PolicyRow
from tests.controls import control
from tests.support.decided import decided_world
from tests.worlds import MINUTE, NOW

SEEDS = range(100, 108)

# name -> replacements in the source of the compiler; every left side must occur, so that none rots silently.
MUTANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "any lock instead of all": (("np.logical_and.reduceat", "np.logical_or.reduceat"),),
    "no locks are open": ((" or not cls.locks", ""),),
    "deny counts only in the first lock": (
        (
            "np.logical_and.reduceat(self._mask(opened - closed)[locks], starts)",
            "np.logical_and.reduceat(self._mask(opened)[locks], starts) & ~self._mask(closed)[locks[starts]]",
        ),
        ("np.logical_or.reduceat(self._mask(closed)[locks], starts)", "self._mask(closed)[locks[starts]]"),
    ),
    "deny is ignored": (
        ("self._mask(opened - closed)", "self._mask(opened)"),
        ("allowed & ~denied", "allowed"),
    ),
    "unmapped deny is dropped": (("if lock.unresolved_deny:", "if False:"),),
    "uncertain deny is dropped": ((" | subject.uncertain", ""),),
    "deny of everyone is dropped": ((" | {subject.everyone}", ""),),
    "deny of the subject is dropped": (("denied = subject.closure | ", "denied = "),),
    "deny of hops is dropped": (("denied.union(*(hop.closure for hop in subject.hops))", "denied"),),
    "deny of the last hop only": (
        ("denied.union(*(hop.closure for hop in subject.hops))", "denied | subject.hops[-1].closure"),
    ),
    "only direct denies": (("denied = subject.closure | ", "denied = frozenset({subject.principal}) | "),),
    "hops lend their groups": (
        (
            "self._allow.keys() & subject.closure",
            "self._allow.keys() & subject.closure.union(*(hop.closure for hop in subject.hops))",
        ),
    ),
    "expiry is ignored": (("timed.ends.values > now", "timed.ends.values > 0"),),
    "expiry is inclusive": (("timed.ends.values > now", "timed.ends.values >= now"),),
    "ending entries never open": (("if live.any():", "if False:"),),
    "valid_until ignores ending entries": (("Micros(int(timed.ends.values[live].min()))", "until"),),
    "valid_until ignores hops": (("until = min(hop.expires for hop in subject.hops)", "until = NEVER"),),
    "valid_until is the last ending": (("timed.ends.values[live].min()", "timed.ends.values[live].max()"),),
    "revocation is ignored": ((" or subject.revoked", ""),),
    "revoked sources are ignored": (("        sources -= subject.revoked_sources\n", ""),),
    "tenant is ignored": (("subject.tenant != self._tenant or ", ""),),
    "foreign classes are taken in": (("cls.tenant != self._tenant or ", ""),),
    "compartments are ignored": (("if x <= shared", "if True"),),
    "one compartment is enough": (("if x <= shared", "if not x or x & shared"),),
    "compartments of hops are ignored": (
        (
            "subject.compartments.intersection(*(hop.compartments for hop in subject.hops))",
            "subject.compartments",
        ),
    ),
    "compartments of hops are added": (
        ("subject.compartments.intersection(", "subject.compartments.union("),
    ),
    "label is ignored": (("if taxonomy.rank_of_content(x) <= rank", "if True"),),
    "label must be exceeded": (("rank_of_content(x) <= rank", "rank_of_content(x) < rank"),),
    "the highest ceiling counts": (("rank = min(", "rank = max("),),
    "application's ceiling is ignored": (
        (
            "for hop in subject.hops for ceiling in hop.ceilings",
            "for hop in subject.hops[1:] for ceiling in hop.ceilings",
        ),
    ),
    "only the last hop's ceiling": (
        (
            "for hop in subject.hops for ceiling in hop.ceilings",
            "for hop in subject.hops[-1:] for ceiling in hop.ceilings",
        ),
    ),
    "only a hop's own ceiling": (
        (
            "for hop in subject.hops for ceiling in hop.ceilings",
            "for hop in subject.hops for ceiling in hop.ceilings[:1]",
        ),
    ),
    "hops without a ceiling pass": ((" and bool(hop.ceilings)", ""),),
    "sources of hops are added": (("frozenset[SourceKey].intersection(", "frozenset[SourceKey]().union("),),
    "no hop is needed": (("1 <= len(subject.hops)", "0 <= len(subject.hops)"),),
    "one hop too many": (("<= MAX_HOPS", "<= MAX_HOPS + 1"),),
    "only the last hop permits": (
        ("        for hop in subject.hops\n    )\n", "        for hop in subject.hops[-1:]\n    )\n"),
    ),
    "action of hops is ignored": (("action in hop.actions and ", ""),),
    "purpose is ignored": (("subject.purpose in hop.purposes and ", ""),),
    "expiry of hops is ignored": (("now < hop.expires and ", ""),),
    "expiry of hops is inclusive": (("now < hop.expires", "now <= hop.expires"),),
    "rows of other actions count": (
        ("            if row.action != action:\n                continue\n", ""),
    ),
    "high-water mark is ignored": (('high_water, side="right"', '2**62, side="right"'),),
    "high-water mark is exclusive": (('side="right"', 'side="left"'),),
}


@dataclass(frozen=True)
class Question:
    """One subject at one instant, and which classes Casbin lets it read."""

    subject: Subject
    action: str
    now: Micros
    classes: tuple[AclClass, ...]
    allowed: frozenset[ClassKey]
    high_water: ClassKey


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    """Random subjects, and each with a few things changed that a directory cannot produce."""
    engine = CasbinEngine()
    asked: list[Question] = []
    for seed in SEEDS:
        decided = decided_world(seed, tmp_path_factory.mktemp("worlds"))
        for number, (call, subject) in enumerate(zip(decided.world.calls, decided.subjects, strict=True)):
            for variant, action, now in _variants(subject, call.action, number):
                asked.append(_question(engine, variant, action, now, decided.classes))
    assert sum(bool(x.allowed) for x in asked) >= 0.15 * len(asked)
    return asked


def _variants(subject: Subject, action: str, number: int) -> Iterator[tuple[Subject, str, Micros]]:
    yield subject, action, Micros(NOW)
    yield subject, action, Micros(NOW + MINUTE * (1 + number % 9))
    changed = (
        replace(subject, hops=()),
        replace(subject, hops=(subject.hops * (MAX_HOPS + 1))[: MAX_HOPS + 1]),
        replace(subject, hops=tuple(replace(hop, ceilings=()) for hop in subject.hops)),
        replace(subject, hops=tuple(replace(hop, expires=Micros(NOW)) for hop in subject.hops)),
        replace(subject, hops=tuple(replace(hop, expires=Micros(NOW - 1)) for hop in subject.hops)),
        replace(subject, hops=tuple(replace(hop, expires=Micros(NOW + 7)) for hop in subject.hops)),
        replace(subject, purpose="training"),
        replace(subject, tenant=TenantKey(3 - subject.tenant)),
    )
    yield changed[number % len(changed)], action, Micros(NOW)
    yield (
        replace(subject, hops=tuple(replace(x, actions=frozenset({"write"})) for x in subject.hops)),
        "write",
        Micros(NOW),
    )


def _question(
    engine: CasbinEngine, subject: Subject, action: str, now: Micros, classes: Sequence[AclClass]
) -> Question:
    ordered = tuple(sorted(classes, key=lambda x: x.key))
    allowed = frozenset(x.key for x in ordered if engine.decide(subject, action, x, now).allowed)
    return Question(subject, action, now, ordered, allowed, ordered[2 * len(ordered) // 3].key)


def agrees(module: ModuleType, questions: Sequence[Question]) -> bool:
    """Whether a compiler gives what Casbin gives, for all classes and for a view of only some of them."""
    indexes: dict[tuple[int, int], compiler.CompiledClasses] = {}
    for question in questions:
        for tenant in sorted({x.tenant for x in question.classes}):
            known = indexes.get((id(question.classes[0]), tenant))
            if known is None:
                known = module.CompiledClasses(TenantKey(tenant), EXPECTED_ROWS)
                known.extend(x for x in question.classes if x.tenant == tenant)
                indexes[id(question.classes[0]), tenant] = known
            mine = {x.key for x in question.classes if x.tenant == tenant}
            for high_water in (question.classes[-1].key, question.high_water):
                scope = known.allowed(question.subject, question.action, question.now, high_water)
                if set(scope.classes.tolist()) != {x for x in question.allowed & mine if x <= high_water}:
                    return False
                if not _holds_until(known, question, scope.valid_until, high_water):
                    return False
    return True


def _holds_until(
    index: compiler.CompiledClasses, question: Question, until: Micros, high_water: ClassKey
) -> bool:
    """A scope may end early, but what it says must be so up to its last moment."""
    first = index.allowed(question.subject, question.action, question.now, high_water)
    last = index.allowed(question.subject, question.action, Micros(until - 1), high_water)
    return bool(first.classes.tolist() == last.classes.tolist())


def _mutate(replacements: Sequence[tuple[str, str]]) -> ModuleType:
    source = Path(compiler.__file__).read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in source, f"the compiler no longer holds: {old}"
        source = source.replace(old, new)
    module = ModuleType("mutated_compiler")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "mutated_compiler", "exec"), module.__dict__)  # noqa: S102 -- our own source, changed
    finally:
        del sys.modules[module.__name__]
    return module


def test_the_compiler_agrees_with_casbin_on_the_questions(questions: list[Question]) -> None:
    assert agrees(compiler, questions)
    assert takes_in_only_what_belongs(compiler, questions)


@control("acl:paths-agree", "acl:all-locks", "acl:tenant-isolation")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str, questions: list[Question]) -> None:
    mutant = _mutate(MUTANTS[name])
    try:
        unnoticed = agrees(mutant, questions) and takes_in_only_what_belongs(mutant, questions)
    except (ValueError, TypeError, IndexError):
        unnoticed = False  # it fails instead of answering
    assert not unnoticed


def takes_in_only_what_belongs(module: ModuleType, questions: Sequence[Question]) -> bool:
    """Whether an index refuses what must not be in it: no locks, another tenant, a key out of order."""
    good = next(x for x in questions if x.allowed).classes[0]
    without_locks = replace(good, key=ClassKey(10**9))
    object.__setattr__(without_locks, "locks", ())  # what no constructor and no table lets through
    for bad in (without_locks, replace(good, tenant=TenantKey(99)), replace(good, key=ClassKey(0))):
        index = module.CompiledClasses(good.tenant, EXPECTED_ROWS)
        try:
            index.extend([bad])
        except PolicyError:
            continue
        return False
    return True


def test_an_index_over_an_unknown_check_refuses() -> None:
    with pytest.raises(PolicyError, match="unknown check"):
        PolicyRow("read", "opened", "allow")
