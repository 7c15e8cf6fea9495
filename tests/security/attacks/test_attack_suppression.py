"""An outsider who writes much must not erase what others wrote."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from secure_rag.detection.near_duplicates import NearDuplicates
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import ChunkKey, ClassKey, LabelId, Micros
from secure_rag.model.labels import Trust
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.service import MAX_CANDIDATES
from secure_rag.testing.static_embedder import HashingEmbedder
from tests.controls import control
from tests.support.filled_home import DIMENSIONS
from tests.support.planted import plant
from tests.support.small_home import ANN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS, NOW

K = 10
FLOOD = [f"{REQUEST} {REQUEST} {REQUEST} {n}" for n in range(MAX_CANDIDATES + 40)]


@control("retrieval:bounded-refill", "detection:near-duplicates")
@pytest.mark.parametrize("label", [LABELS[0], LABELS[3]])
def test_one_document_of_many_like_passages_leaves_the_rest_of_an_answer(tmp_path: Path, label: str) -> None:
    """Its passages collapse into one, wherever the search stops; the other places go to what it did not write."""
    with small_home(tmp_path / "home", documents=40) as (filled, opened):
        plant(filled, FLOOD, per_document=len(FLOOD))
        plant(filled, [f"{REQUEST} word{n} other{n} term{n}" for n in range(K)], name="truth",
              trust=Trust.INTERNAL, label=label)  # fmt: skip
        opened.retrieval.store.refresh()  # type: ignore[attr-defined]  # the embedded store of a small home
        answer = opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=K))
        assert len(answer.results) == K
        assert sum(x.trust is Trust.INTERNAL for x in answer.results) >= K - 1


@control("retrieval:context-bound", "retrieval:bounded-refill")
def test_a_confidential_conversation_cannot_be_emptied_from_outside(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=40) as (filled, opened):
        plant(filled, ["budgeta budgetb budgetc plan"], name="plan", trust=Trust.INTERNAL, label=LABELS[3])
        opened.retrieval.store.refresh()  # type: ignore[attr-defined]  # the embedded store of a small home
        first = opened.retrieval.retrieve(
            ANN, RetrievalRequest("budgeta budgetb budgetc plan", k=1, context_id="c")
        )
        assert first.effective_label == "label 30"
        for n in range(4):
            part = [f"{text} letter{n} of{i}" for i, text in enumerate(FLOOD[::4])]
            plant(filled, part, name=f"flood{n}", contributor=f"user:o{n}", per_document=20)
        opened.retrieval.store.refresh()  # type: ignore[attr-defined]  # the embedded store of a small home
        answer = opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=K, context_id="c"))
        assert len(answer.results) == K
        assert {x.trust for x in answer.results} == {Trust.INTERNAL}


def test_a_long_document_is_not_held_in_memory_once_for_each_of_its_passages(tmp_path: Path) -> None:
    passages = 4_000
    blob = passages * DIMENSIONS * 4
    with small_home(tmp_path / "home") as (filled, opened):
        plant(filled, [f"{REQUEST} {n}" for n in range(passages)], per_document=passages)
        store = opened.retrieval.store
        store.refresh()  # type: ignore[attr-defined]  # the embedded store of a small home
        opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=100))
        tracemalloc.start()
        opened.retrieval.retrieve(ANN, RetrievalRequest(REQUEST, k=100))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 * blob, f"{peak / blob:.0f} times the vectors of the document"


def row(key: int, text: str, contributor: str) -> ChunkRow:
    return ChunkRow(
        ChunkKey(key), f"c{key}", f"d{key}", ClassKey(1), 1, "mail", "Title", (), text, "0", LabelId(LABELS[0]),
        Trust.EXTERNAL, contributor, Micros(NOW), f"n{key}", Micros(NOW),
    )  # fmt: skip


@control("detection:near-duplicates")
@pytest.mark.parametrize(
    ("lie", "truth"),
    [
        ("result", "-result"),
        ("orders up to <= 500", "orders up to >= 500"),
        ("a fee of $500", "a fee of €500"),
        ("a discount of 5%", "a discount of 5"),
        ("a rate of 1,500", "a rate of 1.500"),
        ("10² boxes", "102 boxes"),
    ],
)
def test_a_changed_sign_in_a_copy_erases_nobody_elses_text(lie: str, truth: str) -> None:
    sentence = (
        "We confirm to all buyers of the northern plant that this year holds {} for every single order."
    )
    rows = [row(1, sentence.format(lie), "user:otis"), row(2, sentence.format(truth), "user:gil")]
    embedder = HashingEmbedder(DIMENSIONS)
    vectors = {x.key: embedder.embed_document(x.text) for x in rows}
    assert not NearDuplicates().collapse(rows, vectors)
    copies = [rows[1], row(3, "  ".join(rows[1].text.split()), "user:otis")]
    assert list(NearDuplicates().collapse(copies)) == [ChunkKey(3)]
