"""The compiled path follows the policy rows: for any rows it gives what Casbin gives, and so does the shipped pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from secure_rag.model.subject import Hop, Subject
from secure_rag_acl.casbin_engine import CasbinEngine, build_enforcer
from secure_rag_acl.compiler import CompiledClasses
from secure_rag_acl.policy import EXPECTED_ROWS, PolicyRow, packaged_policy
from tests.controls import control
from tests.unit.acl.samples import HIGH, LOW, NOW, TAXONOMY

ROWS = [PolicyRow(*parts) for parts in product(("read", "list"), ("open", "denied"), ("allow", "deny"))]
PEOPLE = st.integers(1, 5).map(PrincipalKey)
MANY = st.frozensets(PEOPLE, max_size=3)
ROOMS = st.frozensets(st.sampled_from([Compartment("a"), Compartment("b")]), max_size=2)
LABELS = st.sampled_from([LOW, LOW, LOW, HIGH, HIGH, LabelId("00000000-0000-4000-8000-00000000000f")])
TIMES = st.sampled_from([Micros(NOW - 1), NOW, Micros(NOW + 1), NEVER, NEVER, NEVER])
SOURCES = st.integers(1, 2).map(SourceKey)


def locks() -> st.SearchStrategy[Lock]:
    entries = st.frozensets(st.tuples(PEOPLE, TIMES), min_size=1, max_size=4)
    deny = st.one_of(st.just(frozenset[PrincipalKey]()), st.frozensets(PEOPLE, max_size=1))
    return st.builds(Lock, entries, deny, st.sampled_from([False] * 9 + [True]))


def classes() -> st.SearchStrategy[AclClass]:
    return st.builds(
        AclClass,
        st.sampled_from([TenantKey(1)] * 4 + [TenantKey(2)]),
        st.lists(locks(), min_size=1, max_size=3).map(tuple),
        LABELS,
        st.one_of(st.just(frozenset[Compartment]()), ROOMS),
        st.just(Trust.INTERNAL),
        SOURCES,
    )


def hops() -> st.SearchStrategy[Hop]:
    return st.builds(
        Hop,
        PEOPLE,
        MANY,
        st.sampled_from([frozenset({"read"}), frozenset({"read", "list"}), frozenset[str]()]),
        st.lists(LABELS, min_size=0, max_size=2).map(tuple),
        st.one_of(st.just(frozenset({Compartment("a"), Compartment("b")})), ROOMS),
        st.frozensets(SOURCES, max_size=2),
        st.sampled_from([frozenset({"qa"}), frozenset({"qa", "audit"})]),
        TIMES,
    )


def subjects() -> st.SearchStrategy[Subject]:
    return st.builds(
        Subject,
        st.just(TenantKey(1)),
        PEOPLE,
        st.frozensets(PEOPLE, max_size=4),
        st.one_of(LABELS, st.none()),
        ROOMS,
        st.sampled_from(["qa", "qa", "audit"]),
        st.lists(hops(), max_size=5).map(tuple),
        st.just(TAXONOMY),
        st.just(PrincipalKey(5)),
        st.one_of(st.just(frozenset[PrincipalKey]()), st.frozensets(PEOPLE, max_size=1)),
    )


def generous(subject: Subject) -> Subject:
    """The same subject where nothing but the locks stands in the way."""
    hop = Hop(
        PrincipalKey(9),
        frozenset({PrincipalKey(9)}),
        frozenset({"read", "list"}),
        (HIGH,),
        frozenset({Compartment("a"), Compartment("b")}),
        frozenset({SourceKey(1), SourceKey(2)}),
        frozenset({"qa", "audit"}),
        NEVER,
    )
    rooms = frozenset({Compartment("a"), Compartment("b")})
    closure = subject.closure | {PrincipalKey(1), PrincipalKey(2), PrincipalKey(3)}
    hops = (hop,) * (1 + len(subject.hops) % 4)
    return replace(subject, closure=closure, clearance=HIGH, compartments=rooms, hops=hops)


COUNTS: Counter[str] = Counter()
ENGINE = CasbinEngine()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    st.lists(classes(), min_size=1, max_size=12),
    subjects(),
    st.lists(st.sampled_from(ROWS), unique=True, max_size=5),
    st.sampled_from(["read", "list"]),
)
def _agree(found: list[AclClass], subject: Subject, rows: list[PolicyRow], action: str) -> None:
    numbered = [replace(cls, key=ClassKey(n)) for n, cls in enumerate(found, 1)]
    mine = [cls for cls in numbered if cls.tenant == 1]
    for policy in (tuple(rows), EXPECTED_ROWS):
        index = CompiledClasses(TenantKey(1), policy)
        index.extend(mine)
        enforcer = _enforcer(policy)
        for asking in (subject, generous(subject)):
            compiled = set(index.allowed(asking, action, NOW, ClassKey(len(found))).classes.tolist())
            for cls in numbered:
                allowed = enforcer.enforce_ex(action, asking, cls, NOW)[0]
                assert (cls.key in compiled) is allowed
                COUNTS["all"] += 1
                COUNTS["allowed"] += allowed
                COUNTS["other rows allowed"] += allowed and policy is not EXPECTED_ROWS


_ENFORCERS: dict[tuple[PolicyRow, ...], Any] = {}


def _enforcer(rows: tuple[PolicyRow, ...]) -> Any:
    if rows not in _ENFORCERS:
        _ENFORCERS[rows] = build_enforcer(replace(packaged_policy(), rows=rows))
    return _ENFORCERS[rows]


@pytest.fixture(autouse=True)
def fresh_counts() -> Iterator[None]:
    COUNTS.clear()
    yield
    _ENFORCERS.clear()


@control("acl:paths-agree", "acl:empty-policy-denies")
def test_rows_mean_the_same_compiled() -> None:
    _agree()
    assert COUNTS["all"] >= 3_000
    assert COUNTS["allowed"] >= 0.03 * COUNTS["all"]
    assert COUNTS["other rows allowed"] >= 0.01 * COUNTS["all"]


@control("acl:paths-agree", "acl:cache-by-content")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(classes(), min_size=1, max_size=8), subjects())
def test_a_scope_holds_to_its_last_moment(found: list[AclClass], subject: Subject) -> None:
    index = CompiledClasses(TenantKey(1), EXPECTED_ROWS)
    index.extend(replace(cls, key=ClassKey(n), tenant=TenantKey(1)) for n, cls in enumerate(found, 1))
    asking = generous(subject)
    scope = index.allowed(asking, "read", NOW, ClassKey(len(found)))
    last = index.allowed(asking, "read", Micros(scope.valid_until - 1), ClassKey(len(found)))
    assert scope.valid_until > NOW
    assert last.classes.tolist() == scope.classes.tolist()


@control("acl:delegation-narrows")
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(classes(), min_size=1, max_size=8), subjects(), hops())
def test_a_further_hop_never_adds(found: list[AclClass], subject: Subject, hop: Hop) -> None:
    asking = generous(subject)
    asking = replace(asking, hops=asking.hops[:3])
    longer = replace(asking, hops=(*asking.hops, hop))
    for cls in found:
        if ENGINE.decide(longer, "read", cls, NOW).allowed:
            assert ENGINE.decide(asking, "read", cls, NOW).allowed
