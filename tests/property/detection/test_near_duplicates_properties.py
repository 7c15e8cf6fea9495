from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secure_rag.detection.near_duplicates import NearDuplicates
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import ChunkKey
from secure_rag.model.labels import Trust
from tests.controls import control
from tests.unit.detection.rows import row

BASE = [
    *("the", "travel", "budget", "of", "the", "northern", "region", "was", "raised", "to"),
    *("nine", "hundred", "thousand", "euros", "in", "march", "by", "the", "board", "today"),
]
LOW = {Trust.PARTNER, Trust.EXTERNAL}


@st.composite
def candidates(draw: st.DrawFn) -> tuple[list[ChunkRow], dict[ChunkKey, NDArray[np.float32]]]:
    rows, vectors = [], {}
    for key in range(draw(st.integers(1, 9))):
        words = list(BASE)
        for place in draw(st.lists(st.integers(0, len(BASE) - 1), max_size=2)):
            words[place] = draw(st.sampled_from(["million", "April", "lowered"]))
        text = " ".join(words) if draw(st.booleans()) else f"another text {key} " * 5
        trust = draw(st.sampled_from(list(Trust)))
        rows.append(row(key, text, trust, contributor=draw(st.sampled_from(["user:a", "user:b"]))))
        if draw(st.booleans()):
            angle = draw(st.sampled_from([0.0, 0.3, 0.7, 1.2]))
            vectors[ChunkKey(key)] = np.array([np.cos(angle), np.sin(angle)], np.float32)
    return rows, vectors


@control("detection:near-duplicates")
def test_collapse_keeps_the_most_trusted_and_serves_no_author_against_another() -> None:
    seen: Counter[str] = Counter()
    detector = NearDuplicates()

    @settings(max_examples=1500, deadline=None)
    @given(candidates())
    def check(world: tuple[list[ChunkRow], dict[ChunkKey, NDArray[np.float32]]]) -> None:
        rows, vectors = world
        found = detector.collapse(rows, vectors)
        assert set(found) <= {r.key for r in rows}
        kept = [r for r in rows if r.key not in found]
        highest = max(r.trust.level for r in rows)
        assert any(r.trust.level == highest for r in kept)
        for position, dropped in enumerate(rows):
            if dropped.key not in found:
                continue
            assert dropped.trust in LOW
            stands_for_it = [
                k
                for k in kept
                if k.trust.level > dropped.trust.level
                or (
                    k.trust is dropped.trust
                    and rows.index(k) < position
                    and (k.contributor == dropped.contributor or k.text == dropped.text)
                )
            ]
            assert stands_for_it
            seen["for higher trust" if stands_for_it[0].trust != dropped.trust else "for better rank"] += 1
            seen[found[dropped.key].rule] += 1
        seen["nothing dropped" if not found else "dropped"] += 1
        assert detector.collapse(kept, vectors) == {}

    check()
    for outcome in ("for higher trust", "for better rank", "shingles", "vectors", "nothing dropped"):
        assert seen[outcome] >= 30, (outcome, seen)


@control("detection:near-duplicates")
def test_an_outsider_cannot_erase_texts_of_equal_or_higher_trust() -> None:
    """Adding rows of one external contributor never drops a row of somebody else, but for the very same words."""
    seen: Counter[str] = Counter()
    detector = NearDuplicates()

    @settings(max_examples=800, deadline=None)
    @given(candidates(), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 17)), min_size=1, max_size=4))
    def check(
        world: tuple[list[ChunkRow], dict[ChunkKey, NDArray[np.float32]]], copies: list[tuple[int, int]]
    ) -> None:
        rows, vectors = world
        before = set(detector.collapse(rows, vectors))
        attacked = list(rows)
        for number, (place, edited) in enumerate(copies):
            words = list(BASE)
            words[edited] = "zero"
            planted = row(100 + number, " ".join(words), Trust.EXTERNAL, contributor="user:mallory.quill")
            attacked.insert(place, planted)
            vectors[planted.key] = np.array([1, 0], np.float32)
        after = detector.collapse(attacked, vectors)
        assert {key for key in after if key < 100} <= before
        seen["planted dropped" if any(key >= 100 for key in after) else "planted kept"] += 1

    check()
    assert min(seen.values()) >= 30
    assert len(seen) == 2
