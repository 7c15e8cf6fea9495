"""Whatever rows meet in whatever context, no two sides end up together, and nothing else is lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag.detection.trust_mixing import ContextSide, split
from secure_rag.model.decisions import ChunkRow, Notice
from secure_rag.model.labels import Trust
from tests.controls import control
from tests.unit.detection.rows import CONFIDENTIAL, GENERAL, PUBLIC, RESTRICTED, TAXONOMY, UNKNOWN, row

HIGH = {CONFIDENTIAL, RESTRICTED, UNKNOWN}


@st.composite
def answers(draw: st.DrawFn) -> list[ChunkRow]:
    """Up to eight rows of a few kinds: with all kinds in every answer, confidential rows would decide them all."""
    trusts = draw(st.sets(st.sampled_from(list(Trust)), min_size=1))
    labels = draw(st.sets(st.sampled_from([PUBLIC, GENERAL, CONFIDENTIAL, RESTRICTED, UNKNOWN]), min_size=1))
    return [
        row(
            key,
            trust=draw(st.sampled_from(sorted(trusts))),
            label=draw(st.sampled_from(sorted(labels))),
            contributor=draw(st.sampled_from(["user:a", "user:b", ""])),
            source=draw(st.sampled_from(["inbox", "deal-room"])),
        )
        for key in range(draw(st.integers(0, 8)))
    ]


SIDES = st.sampled_from([None, *ContextSide])


def is_external(r: ChunkRow) -> bool:
    return r.trust is Trust.EXTERNAL


def is_confidential(r: ChunkRow) -> bool:
    return r.label in HIGH


def one_author(first: ChunkRow, second: ChunkRow) -> bool:
    """Both sides at once, and surely of one hand."""
    both = all(is_external(r) and is_confidential(r) for r in (first, second))
    return both and first.contributor == second.contributor != ""


@control("detection:trust-mixing")
def test_no_answer_holds_both_sides() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=1500, deadline=None)
    @given(answers(), SIDES)
    def check(rows: list[ChunkRow], side: ContextSide | None) -> None:
        result = split(rows, TAXONOMY, side)
        for first in result.kept:
            for second in result.kept:
                if first is not second and is_external(first) and is_confidential(second):
                    assert one_author(first, second)
                    seen["one author"] += 1
        held = {
            None: (False, False),
            ContextSide.EXTERNAL: (True, False),
            ContextSide.CONFIDENTIAL: (False, True),
            ContextSide.BOTH: (True, True),
        }[side]
        assert not (held[0] and any(is_confidential(r) for r in result.kept))
        assert not (held[1] and any(is_external(r) for r in result.kept))
        seen["dropped" if result.dropped else "all kept"] += 1
        seen[f"side {result.side}"] += 1

    check()
    for outcome in ("one author", "dropped", "all kept", "side None", *(f"side {s}" for s in ContextSide)):
        assert seen[outcome] >= 15, (outcome, seen)


@control("detection:trust-mixing")
def test_order_stays_nothing_is_invented_and_notices_tell_of_what_was_dropped() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=1000, deadline=None)
    @given(answers(), SIDES)
    def check(rows: list[ChunkRow], side: ContextSide | None) -> None:
        result = split(rows, TAXONOMY, side)
        kept, dropped = list(result.kept), list(result.dropped)
        assert [r for r in rows if r in kept] == kept
        assert [r for r in rows if r in dropped] == dropped
        assert len(kept) + len(dropped) == len(rows)
        assert not any(not is_external(r) and not is_confidential(r) for r in dropped)
        assert bool(result.notices) == bool(dropped)
        if Notice.CONFIDENTIAL_WITHHELD in result.notices:
            assert side in {ContextSide.EXTERNAL, ContextSide.BOTH}
            assert any(is_confidential(r) for r in dropped)
        if Notice.EXTERNAL_WITHHELD in result.notices:
            assert any(is_external(r) for r in dropped)
        assert split(kept, TAXONOMY, side).kept == result.kept
        seen.update(result.notices)

    check()
    assert min(seen[notice] for notice in (Notice.EXTERNAL_WITHHELD, Notice.CONFIDENTIAL_WITHHELD)) >= 30


@control("detection:trust-mixing")
def test_a_conversation_never_gathers_both_sides() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None)
    @given(st.lists(answers(), min_size=2, max_size=5))
    def check(turns: list[list[ChunkRow]]) -> None:
        side: ContextSide | None = None
        given_so_far: list[tuple[int, ChunkRow]] = []
        for turn, rows in enumerate(turns):
            result = split(rows, TAXONOMY, side)
            side = result.side
            given_so_far += [(turn, r) for r in result.kept]
        for turn, first in given_so_far:
            for other_turn, second in given_so_far:
                if first is not second and is_external(first) and is_confidential(second):
                    assert turn == other_turn
                    assert one_author(first, second)
        external = any(is_external(r) for _, r in given_so_far)
        confidential = any(is_confidential(r) for _, r in given_so_far)
        expected = {
            (False, False): None,
            (True, False): ContextSide.EXTERNAL,
            (False, True): ContextSide.CONFIDENTIAL,
            (True, True): ContextSide.BOTH,
        }[external, confidential]
        assert side is expected
        seen[str(side)] += 1

    check()
    assert min(seen[str(s)] for s in ContextSide) >= 15


@control("detection:trust-mixing")
def test_an_outsider_cannot_erase_confidential_text_of_others() -> None:
    """Adding external rows to a fresh answer never removes a confidential row that is not external."""
    seen: Counter[str] = Counter()

    @settings(max_examples=500, deadline=None)
    @given(answers(), st.integers(0, 8), st.sampled_from([PUBLIC, RESTRICTED]))
    def check(rows: list[ChunkRow], place: int, label: str) -> None:
        before = split(rows, TAXONOMY, None).kept
        planted = row(99, trust=Trust.EXTERNAL, label=label, contributor="user:m")  # type: ignore[arg-type]  # NewType ids
        after = split([*rows[:place], planted, *rows[place:]], TAXONOMY, None).kept
        protected = [r for r in before if is_confidential(r) and not is_external(r)]
        assert all(r in after for r in protected)
        seen["protected" if protected else "none"] += 1

    check()
    assert seen["protected"] >= 100
