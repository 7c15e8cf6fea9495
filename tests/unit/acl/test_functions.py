"""The named functions, where values matter that a directory rarely produces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secure_rag.model.ids import Micros, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.locks import Lock
from secure_rag.model.subject import MAX_HOPS, Hop
from secure_rag_acl import functions as f
from secure_rag_acl.reasons import LockState, lock_state
from tests.controls import control
from tests.unit.acl.samples import (
    APP,
    CLASS,
    EVERYONE,
    GROUP,
    HIGH,
    HOP,
    LOCK,
    LOW,
    ME,
    NOW,
    OTHER,
    ROOM,
    SUBJECT,
)


@control("acl:tenant-isolation")
def test_tenants_are_compared_by_value() -> None:
    """Large numbers are other objects each time they are read."""
    subject = replace(SUBJECT, tenant=TenantKey(int("100000")))
    assert f.same_tenant(subject, replace(CLASS, tenant=TenantKey(int("100000"))))
    assert not f.same_tenant(subject, replace(CLASS, tenant=TenantKey(int("100001"))))
    assert not f.same_tenant(subject, replace(CLASS, tenant=TenantKey(int("99999"))))


@control("acl:delegation-narrows")
@pytest.mark.parametrize(
    ("hop", "permits"),
    [
        (HOP, True),
        (replace(HOP, expires=Micros(NOW + 1)), True),
        (replace(HOP, expires=NOW), False),
        (replace(HOP, expires=Micros(NOW - 1)), False),
        (replace(HOP, actions=frozenset({"write"})), False),
        (replace(HOP, purposes=frozenset({"audit"})), False),
        (replace(HOP, sources=frozenset({SourceKey(2)})), False),
        (replace(HOP, compartments=frozenset()), True),
        (replace(HOP, ceilings=(LOW,)), True),
        (replace(HOP, ceilings=(HIGH, LOW)), True),
        (replace(HOP, ceilings=()), False),
    ],
)
def test_a_hop_permits_what_it_says(hop: Hop, permits: bool) -> None:
    assert f.hop_allows(hop, SUBJECT, "read", CLASS, NOW) is permits
    assert f.hops_allow(replace(SUBJECT, hops=(hop,)), "read", CLASS, NOW) is permits
    assert f.hops_allow(replace(SUBJECT, hops=(HOP, hop)), "read", CLASS, NOW) is permits


@control("acl:delegation-narrows")
def test_every_ceiling_and_every_compartment_counts() -> None:
    high, room = replace(CLASS, label=HIGH), replace(CLASS, compartments=frozenset({ROOM}))
    assert f.hop_allows(HOP, SUBJECT, "read", high, NOW)
    assert not f.hop_allows(replace(HOP, ceilings=(HIGH, LOW)), SUBJECT, "read", high, NOW)
    assert not f.hop_allows(replace(HOP, ceilings=(LOW, HIGH)), SUBJECT, "read", high, NOW)
    assert f.hop_allows(HOP, SUBJECT, "read", room, NOW)
    assert not f.hop_allows(replace(HOP, compartments=frozenset()), SUBJECT, "read", room, NOW)


@control("acl:application-is-hop-zero")
@pytest.mark.parametrize("number", range(7))
def test_one_to_four_hops(number: int) -> None:
    assert f.hops_allow(replace(SUBJECT, hops=(HOP,) * number), "read", CLASS, NOW) is (
        1 <= number <= MAX_HOPS
    )


@pytest.mark.parametrize(
    ("lock", "state"),
    [
        (LOCK, LockState.OPEN),
        (Lock(frozenset({(GROUP, Micros(NOW + 1))})), LockState.OPEN),
        (Lock(frozenset({(GROUP, NOW)})), LockState.NOT_ON_LIST),
        (Lock(frozenset({(GROUP, Micros(NOW - 1))})), LockState.NOT_ON_LIST),
        (Lock(frozenset({(OTHER, NOW), (ME, Micros(NOW + 1))})), LockState.OPEN),
        (Lock(frozenset({(APP, Micros(NOW + 1))})), LockState.NOT_ON_LIST),
        (Lock(LOCK.allow, frozenset({ME})), LockState.DENIED),
        (Lock(LOCK.allow, frozenset({APP})), LockState.DENIED),
        (Lock(LOCK.allow, frozenset({EVERYONE})), LockState.DENIED),
        (Lock(LOCK.allow, frozenset({OTHER})), LockState.OPEN),
        (Lock(LOCK.allow, frozenset({PrincipalKey(99), OTHER})), LockState.UNRESOLVED),
        (Lock(LOCK.allow, unresolved_deny=True), LockState.UNRESOLVED),
    ],
)
def test_the_state_of_a_lock(lock: Lock, state: LockState) -> None:
    subject = replace(SUBJECT, uncertain=frozenset({PrincipalKey(99)}))
    assert lock_state(lock, subject, NOW) is state
    assert f.lock_opens(lock, subject, NOW) is (state is LockState.OPEN)
    assert f.lock_denied(lock, subject) is (state in (LockState.DENIED, LockState.UNRESOLVED))


@control("acl:empty-policy-denies")
def test_one_empty_argument_is_enough_for_a_no() -> None:
    for function in (f.same_tenant, f.dominates, f.need_to_know):
        assert function(SUBJECT, "") is False  # type: ignore[arg-type]  # what an empty request would pass
        assert function("", CLASS) is False  # type: ignore[arg-type]  # as above
    assert f.hops_allow(SUBJECT, "read", "", NOW) is False  # type: ignore[arg-type]  # as above
    assert f.hops_allow("", "read", CLASS, NOW) is False  # type: ignore[arg-type]  # as above
