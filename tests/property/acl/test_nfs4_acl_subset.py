"""Who opens our locks may read at the source: against RFC 7530, evaluated once more over plain values."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_acl.formats import nfs4_acl
from tests.controls import control
from tests.support import nfs4_worlds
from tests.support.native_readers import may_read

SEEN: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def _subset(rng: random.Random) -> None:
    things = nfs4_worlds.world(rng)
    mapped = {x for x in sorted(set().union(*(p.names() for p in nfs4_worlds.PEOPLE))) if rng.random() < 0.8}
    for person, theirs, ours, found in nfs4_worlds.differences(nfs4_acl.read, things):
        assert theirs or not ours, (person, found)
        assert found.narrowed or ours is theirs, (person, found)
        SEEN["all"] += 1
        SEEN["allowed"] += ours
        SEEN["narrowed"] += ours is not theirs
        denied = any(x.principal.name in person.names() for lock in found.locks for x in lock.deny)
        SEEN["denied by an entry"] += denied
        # What the data owner has not mapped grants nothing, and closes where it is denied.
        unmapped_deny = any(x.principal.name not in mapped for lock in found.locks for x in lock.deny)
        if not unmapped_deny and may_read(found, person.names() & mapped, 0):
            assert theirs, (person, mapped, found)
            SEEN["allowed with few names mapped"] += 1


@control("acl:nfs4-subset")
def test_readers_are_a_subset_and_equal_where_nothing_was_narrowed() -> None:
    SEEN.clear()
    _subset()
    assert SEEN["allowed"] >= 0.10 * SEEN["all"], SEEN
    assert SEEN["denied by an entry"] >= 0.05 * SEEN["all"], SEEN
    assert SEEN["allowed with few names mapped"] >= 0.02 * SEEN["all"], SEEN
    assert SEEN["narrowed"] <= 0.05 * SEEN["all"], SEEN
