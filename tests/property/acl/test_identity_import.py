"""An import of SCIM or LDIF makes no membership up, and forgets none without saying that it may."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings

from secure_rag_acl import identity
from secure_rag_acl.formats import ldif, scim
from tests.controls import control
from tests.support.identity_world import World, disagreement, loader, worlds

COUNTS: Counter[str] = Counter()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(worlds())
def _agree(world: World) -> None:
    assert disagreement(loader(identity, scim, ldif), world, COUNTS) is None


@control("acl:identity-rules", "acl:never-widens")
def test_memberships_are_neither_made_up_nor_forgotten_without_a_word() -> None:
    _agree()
    assert COUNTS["worlds"] >= 400
    assert COUNTS["inside"] >= 0.1 * COUNTS["asked"], COUNTS
    assert 0.05 * COUNTS["asked"] <= COUNTS["doubtful"] <= 0.8 * COUNTS["asked"], COUNTS
    assert all(
        COUNTS[x] >= 5 for x in ("page missing", "range", "back link", "primary hidden", "size limit")
    ), COUNTS
