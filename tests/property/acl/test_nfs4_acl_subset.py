"""Who opens our locks may read at the source: against RFC 7530, evaluated once more over plain values."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_acl.formats import nfs4_acl
from tests.controls import control
from tests.support import nfs4_worlds
from tests.support.native_readers import count_differences

SEEN: Counter[str] = Counter()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def _subset(rng: random.Random) -> None:
    count_differences(nfs4_worlds, nfs4_acl.read, rng, SEEN)


@control("acl:nfs4-subset")
def test_readers_are_a_subset_and_equal_where_nothing_was_narrowed() -> None:
    SEEN.clear()
    _subset()
    assert SEEN["allowed"] >= 0.10 * SEEN["all"], SEEN
    assert SEEN["denied by an entry"] >= 0.05 * SEEN["all"], SEEN
    assert SEEN["allowed with few names mapped"] >= 0.02 * SEEN["all"], SEEN
    assert SEEN["narrowed"] <= 0.05 * SEEN["all"], SEEN
