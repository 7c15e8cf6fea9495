"""Whoever opens our locks of a Graph export may read at the source, and nobody is lost without a word."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from secure_rag_acl.formats import graph
from tests.controls import control
from tests.support.graph_source import ACL, FAMILIES, IDENTITIES, PEOPLE, PRINCIPALS, Case, disagreement

COUNTS: dict[str, Counter[str]] = {name: Counter() for name in FAMILIES}


def run(family: str, counts: Counter[str]) -> None:
    @settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(FAMILIES[family])
    def agree(case: Case) -> None:
        assert disagreement(graph.read, case, counts) is None

    agree()


@control("acl:graph-subset", "acl:allow-list", "acl:deny-overrides")
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_ours_is_within_the_source_and_equal_unless_it_says_narrower(family: str) -> None:
    counts = Counter[str]()
    run(family, counts)
    assert counts["cases"] >= 400
    assert counts["allowed"] >= 0.1 * counts["asked"], counts
    assert 0.02 * counts["cases"] <= counts["narrowed"] <= 0.6 * counts["cases"], counts
    if family == "external items":
        assert counts["denied"] >= 0.05 * counts["asked"], counts
    if family == "list items":
        assert 0.02 * counts["cases"] <= counts["withheld"] <= 0.3 * counts["cases"], counts


def test_the_company_tells_principals_apart() -> None:
    for covered in (
        *(x for _, x in IDENTITIES.values()),
        *(x for _, x in PRINCIPALS.values()),
        *ACL.values(),
    ):
        assert covered < set(PEOPLE)
