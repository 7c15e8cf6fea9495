from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secure_rag.detection.near_duplicates import NearDuplicates
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.findings import Verdict
from secure_rag.model.ids import ChunkKey
from secure_rag.model.labels import Trust
from tests.unit.detection.rows import row

CLAIM = (
    "The travel budget of the northern region was raised to nine hundred thousand euros in March, as the board had "
    "decided in its session of the second of February after a long debate about the costs of the spring campaign."
)
EDITED = CLAIM.replace("long debate", "short talk")
OTHER = "Sixteen weeks of parental leave are paid in full to every parent who has been with the company for a year."
MALLORY, TRENT = "user:mallory.quill", "user:trent.vale"


def dropped(*rows: ChunkRow) -> set[int]:
    return {int(key) for key in NearDuplicates().inspect("query", rows)}


def vectors(**angles: float) -> dict[ChunkKey, NDArray[np.float32]]:
    turned = {ChunkKey(int(k[1:])): np.radians(a) for k, a in angles.items()}
    return {k: np.array([np.cos(a), np.sin(a)], np.float32) for k, a in turned.items()}


def test_copies_of_one_outsider_collapse_to_the_best_ranked() -> None:
    rows = [
        row(n, t, Trust.EXTERNAL, contributor=MALLORY)
        for n, t in ((1, OTHER), (2, EDITED), (3, CLAIM), (4, CLAIM))
    ]
    found = NearDuplicates().inspect("query", rows)
    assert set(found) == {3, 4}
    assert {f.verdict for f in found.values()} == {Verdict.COLLAPSE}
    assert {f.detector for f in found.values()} == {"near_duplicates"}
    assert found[ChunkKey(3)].rule == "shingles"
    assert 0.6 <= found[ChunkKey(3)].score < 1.0


def test_trusted_rows_are_never_dropped() -> None:
    rows = [row(n, CLAIM, trust) for n, trust in enumerate([Trust.INTERNAL, Trust.VERIFIED, Trust.INTERNAL])]
    assert NearDuplicates().inspect("q", rows) == {}
    same = {ChunkKey(n): np.array([1, 0], np.float32) for n in range(3)}
    assert NearDuplicates().collapse(rows, same) == {}


def test_the_higher_trust_stays_though_it_ranks_below() -> None:
    rows = [
        row(1, EDITED, Trust.EXTERNAL, contributor=MALLORY),
        row(2, EDITED, Trust.PARTNER, contributor=TRENT),
        row(3, CLAIM, Trust.INTERNAL),
    ]
    assert set(NearDuplicates().inspect("q", rows)) == {1, 2}


def test_an_outsider_cannot_erase_another_outsider() -> None:
    rows = [
        row(1, EDITED, Trust.EXTERNAL, contributor=MALLORY),
        row(2, CLAIM, Trust.EXTERNAL, contributor=TRENT),
    ]
    assert NearDuplicates().inspect("q", rows) == {}
    assert NearDuplicates().collapse(rows, vectors(v1=0, v2=1)) == {}


def test_the_very_same_text_of_two_outsiders_counts_once() -> None:
    rows = [
        row(1, CLAIM, Trust.EXTERNAL, contributor=MALLORY),
        row(2, CLAIM.replace(" ", "\n ") + "\n", Trust.EXTERNAL, contributor=TRENT),
        row(3, CLAIM.replace(" in March,", ", in March"), Trust.EXTERNAL, contributor="user:gil.marsh"),
    ]
    assert set(NearDuplicates().inspect("q", rows)) == {2}


def test_a_source_without_contributors_is_one_contributor() -> None:
    def unknown(key: int, text: str, source: str) -> ChunkRow:
        return row(key, text, Trust.EXTERNAL, contributor="", source=source)

    inbox = [unknown(1, EDITED, "inbox"), unknown(2, CLAIM, "inbox")]
    assert dropped(*inbox) == {2}
    assert dropped(unknown(1, EDITED, "inbox"), unknown(2, CLAIM, "fax")) == set()


def test_reworded_copies_need_vectors() -> None:
    rows = [
        row(1, CLAIM, Trust.PARTNER, contributor=MALLORY),
        row(2, OTHER, Trust.PARTNER, contributor=MALLORY),
    ]
    assert NearDuplicates().collapse(rows) == {}
    found = NearDuplicates().collapse(rows, vectors(v1=0, v2=20))
    assert found[ChunkKey(2)].rule == "vectors"
    assert NearDuplicates().collapse(rows, vectors(v1=0, v2=40)) == {}
    assert NearDuplicates().collapse(rows, vectors(v1=0)) == {}


def test_what_was_dropped_drops_nothing() -> None:
    rows = [row(n, f"{n} {OTHER}" * n, Trust.EXTERNAL, contributor=MALLORY) for n in (1, 2, 3)]
    # 2 is near 1 and 3 is near 2, but 3 is not near 1.
    assert set(NearDuplicates(shingle=2).collapse(rows, vectors(v1=0, v2=25, v3=50))) == {2}


def test_different_texts_and_short_ones_stay() -> None:
    texts = [CLAIM, OTHER, "Yes.", "No.", "Yes it is", "", "。", "!"]
    rows = [row(n, t, Trust.EXTERNAL, contributor=MALLORY) for n, t in enumerate(texts)]
    assert NearDuplicates().inspect("q", rows) == {}


def test_ideographs_are_compared_one_by_one() -> None:
    long = "四半期報告書によると北部地域の出張予算は三月に九十万ユーロに引き上げられ取締役会で承認された"
    rows = [
        row(1, long, Trust.EXTERNAL, contributor=MALLORY),
        row(2, long + "。追記", Trust.EXTERNAL, contributor=MALLORY),
    ]
    assert set(NearDuplicates().inspect("q", rows)) == {2}
