from __future__ import annotations

from itertools import product

import pytest

from secure_rag.detection.trust_mixing import ContextSide, MixResult, join_sides, split
from secure_rag.model.decisions import ChunkRow, Notice
from secure_rag.model.labels import Label, Taxonomy, Trust
from tests.unit.detection.rows import CONFIDENTIAL, GENERAL, PUBLIC, RESTRICTED, TAXONOMY, UNKNOWN, row

EXTERNAL_SIDE, CONFIDENTIAL_SIDE, BOTH = ContextSide.EXTERNAL, ContextSide.CONFIDENTIAL, ContextSide.BOTH
GONE, HELD = (Notice.EXTERNAL_WITHHELD,), (Notice.CONFIDENTIAL_WITHHELD,)


def neutral(key: int) -> ChunkRow:
    return row(key)


def external(key: int) -> ChunkRow:
    return row(key, trust=Trust.EXTERNAL, label=PUBLIC, contributor="user:mallory.quill")


def secret(key: int) -> ChunkRow:
    return row(key, label=CONFIDENTIAL)


def both(key: int, contributor: str = "user:mallory.quill") -> ChunkRow:
    return row(key, trust=Trust.EXTERNAL, label=RESTRICTED, contributor=contributor, source="deal-room")


def keys(result: MixResult) -> tuple[list[int], list[int]]:
    return [int(r.key) for r in result.kept], [int(r.key) for r in result.dropped]


@pytest.mark.parametrize("side", [None, *ContextSide])
def test_neutral_rows_always_pass_and_change_nothing(side: ContextSide | None) -> None:
    result = split([neutral(1), neutral(2)], TAXONOMY, side)
    assert (keys(result), result.notices, result.side) == (([1, 2], []), (), side)


def test_alone_either_side_passes_and_marks_the_context() -> None:
    assert split([external(1), neutral(2)], TAXONOMY, None).side is EXTERNAL_SIDE
    assert split([secret(1), neutral(2)], TAXONOMY, None).side is CONFIDENTIAL_SIDE
    assert split([], TAXONOMY, None) == MixResult((), (), (), None)


def test_within_an_answer_the_external_side_is_dropped_however_it_ranks() -> None:
    result = split([external(1), external(2), neutral(3), secret(4)], TAXONOMY, None)
    assert (keys(result), result.notices, result.side) == (([3, 4], [1, 2]), GONE, CONFIDENTIAL_SIDE)


def test_after_external_content_confidential_is_withheld() -> None:
    result = split([secret(1), neutral(2), external(3)], TAXONOMY, EXTERNAL_SIDE)
    assert (keys(result), result.notices, result.side) == (([2, 3], [1]), HELD, EXTERNAL_SIDE)


def test_after_confidential_content_external_is_withheld() -> None:
    result = split([external(1), neutral(2)], TAXONOMY, CONFIDENTIAL_SIDE)
    assert (keys(result), result.notices, result.side) == (([2], [1]), GONE, CONFIDENTIAL_SIDE)


def test_a_context_keeps_its_side_when_only_neutral_rows_follow() -> None:
    assert split([secret(1), neutral(2)], TAXONOMY, EXTERNAL_SIDE).side is EXTERNAL_SIDE


@pytest.mark.parametrize("trust", [Trust.VERIFIED, Trust.INTERNAL, Trust.PARTNER])
def test_only_external_trust_is_external(trust: Trust) -> None:
    result = split([row(1, trust=trust), secret(2)], TAXONOMY, None)
    assert keys(result) == ([1, 2], [])


@pytest.mark.parametrize(
    ("label", "withheld"),
    [(PUBLIC, False), (GENERAL, False), (CONFIDENTIAL, True), (RESTRICTED, True), (UNKNOWN, True)],
)
def test_the_threshold_counts_itself_and_unknown_labels(label: str, withheld: bool) -> None:
    result = split([row(1, label=label), external(2)], TAXONOMY, None)  # type: ignore[arg-type]  # NewType ids
    assert (result.notices == GONE) is withheld


def test_an_unknown_threshold_makes_everything_confidential() -> None:
    broken = Taxonomy({GENERAL: Label(GENERAL, "General", 1)}, GENERAL, UNKNOWN, 1)
    assert keys(split([neutral(1), external(2)], broken, None)) == ([1], [2])


def test_external_and_confidential_at_once_passes_alone_and_taints_both_ways() -> None:
    first = split([both(1), neutral(2)], TAXONOMY, None)
    assert (keys(first), first.notices, first.side) == (([1, 2], []), (), BOTH)
    result = split([external(3), secret(4), both(5), neutral(6)], TAXONOMY, first.side)
    assert (keys(result), result.side) == (([6], [3, 4, 5]), BOTH)
    assert result.notices == (*GONE, *HELD)


def test_beside_confidential_rows_it_counts_as_external() -> None:
    result = split([both(1), secret(2), external(3)], TAXONOMY, None)
    assert (keys(result), result.notices, result.side) == (([2], [1, 3]), GONE, CONFIDENTIAL_SIDE)


def test_beside_external_rows_it_counts_as_confidential() -> None:
    result = split([external(1), both(2)], TAXONOMY, None)
    assert (keys(result), result.notices, result.side) == (([2], [1]), GONE, BOTH)


def test_two_outsiders_confidential_documents_are_never_together() -> None:
    rows = [both(1), both(2, "user:trent.vale"), both(3)]
    result = split(rows, TAXONOMY, None)
    assert (keys(result), result.notices) == (([1, 3], [2]), GONE)


@pytest.mark.parametrize("unknown", ["", "unknown:deal-room"])
def test_documents_of_unknown_origin_may_be_of_two_people(unknown: str) -> None:
    assert keys(split([both(1, unknown), both(2, unknown)], TAXONOMY, None)) == ([1], [2])


@pytest.mark.parametrize(
    ("side", "notices"), [(EXTERNAL_SIDE, HELD), (CONFIDENTIAL_SIDE, GONE), (BOTH, GONE)]
)
def test_it_needs_a_fresh_context(side: ContextSide, notices: tuple[Notice, ...]) -> None:
    result = split([both(1)], TAXONOMY, side)
    assert (keys(result), result.notices, result.side) == (([], [1]), notices, side)


def test_joining_answers_that_were_decided_at_once_never_weakens() -> None:
    options = [None, *ContextSide]
    for one, two in product(options, options):
        joined = join_sides(one, two)
        assert joined is join_sides(two, one)
        assert joined is (one or two if one is None or two is None or one is two else BOTH)
