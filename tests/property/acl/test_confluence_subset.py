"""Whoever opens our locks of a Confluence export may read at the source, and nobody is lost without a word."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings

from secure_rag_acl.formats.confluence import read
from tests.controls import control
from tests.support.confluence_world import World, disagreement, worlds

COUNTS: Counter[str] = Counter()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(worlds())
def _agree(world: World) -> None:
    assert disagreement(read, world, COUNTS) is None
    COUNTS[world.fault] += 1


@control("acl:confluence-subset", "acl:all-locks")
def test_ours_is_within_the_source_and_equal_without_gaps() -> None:
    _agree()
    assert COUNTS["worlds"] >= 400
    assert COUNTS["allowed"] >= 0.1 * COUNTS["asked"], COUNTS
    assert COUNTS["restricted"] >= 0.05 * COUNTS["asked"], COUNTS
    assert COUNTS["none"] >= 0.2 * COUNTS["worlds"], COUNTS
    assert 0.02 * COUNTS["worlds"] <= COUNTS["narrowed"] <= 0.6 * COUNTS["worlds"], COUNTS
