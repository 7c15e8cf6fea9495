from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secure_rag.model.ids import ChunkKey, Micros, TenantKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores import exact
from secure_rag.stores.changes import Change
from secure_rag.stores.matrix import Snapshot, advance, empty_part, make_base
from secure_rag.stores.merge import Merge
from secure_rag.testing.index_builder import unit_vectors
from tests.controls import control

EXAMPLES = 150
DIMENSIONS = 384
SEEN: Counter[str] = Counter()


def _crowded(random: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Passages of which many are equal, and many differ by about as much as float32 arithmetic errs."""
    few = unit_vectors(random, max(1, rows // 8), DIMENSIONS)
    chosen = few[random.integers(0, len(few), rows)]
    noise = random.choice([0.0, 1e-7, 1e-6, 1e-5], size=(rows, 1))
    moved = chosen + (noise * unit_vectors(random, rows, DIMENSIONS)).astype(np.float32)
    unit: NDArray[np.float32] = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _changes(random: np.random.Generator, first_seq: int, documents: NDArray[np.int64]) -> list[Change]:
    made: list[Change] = []
    for i, document in enumerate(documents.tolist()):
        rows = int(random.integers(0, 6))
        made.append(
            Change(
                document=document,
                tenant=1 + document % 2,
                class_key=int(random.integers(1, 19)),
                first_chunk=10 * (first_seq + i),
                n_chunks=rows,
                modified_at=int(random.integers(100)),
                seq=first_seq + i,
                vectors=_crowded(random, rows).astype("<f4").tobytes() if rows else None,
            )
        )
    return made


def _truth(latest: dict[int, Change], scope: AccessScope, query: NDArray[np.float32]) -> list[Hit]:
    found: list[Hit] = []
    for change in latest.values():
        vectors = change.matrix(DIMENSIONS) if change.n_chunks else None
        after = scope.modified_after
        newer = after is None or change.modified_at > after
        if (
            vectors is None
            or change.tenant != scope.tenant
            or change.class_key not in scope.classes
            or not newer
        ):
            continue
        products = vectors.astype(np.float64) * query.astype(np.float64)
        scores = np.round(products.sum(axis=1), exact.DECIMALS).tolist()
        found += [Hit(ChunkKey(change.first_chunk + i), score) for i, score in enumerate(scores)]
    return sorted(found, key=lambda hit: (-hit.score, hit.chunk))


@control("store:nothing-lost", "store:scope-only")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), merges=st.integers(0, 2), steps=st.integers(1, 6))
def test_every_answer_equals_a_brute_force_however_the_rows_lie(seed: int, merges: int, steps: int) -> None:
    random = np.random.default_rng(seed)
    part = empty_part(DIMENSIONS)
    snapshot = Snapshot(make_base(part), part, 0, {1: True, 2: True})
    latest: dict[int, Change] = {}
    for step in range(steps):
        documents = np.unique(random.integers(1, 60, int(random.integers(1, 40))))
        changes = _changes(random, snapshot.seq + 1, documents)
        snapshot = advance(snapshot, changes, DIMENSIONS)
        latest.update({change.document: change for change in changes})
        if step < merges:
            merge = Merge(snapshot)
            while not merge.advance():
                pass
            snapshot = merge.result()
            SEEN["merges"] += 1
    for _ in range(4):
        classes = np.unique(random.integers(1, 20, int(random.integers(1, 15))))
        after = Micros(int(random.integers(100))) if random.random() < 0.3 else None
        scope = AccessScope(TenantKey(int(random.integers(1, 3))), classes, after)
        query = _crowded(random, 1)[0]
        truth = _truth(latest, scope, query)
        k = int(random.integers(1, 25))
        assert exact.search(snapshot, scope, query, k) == truth[:k]
        SEEN["hits"] += len(truth[:k])
        SEEN["cut"] += len(truth) > k
        SEEN["tied at the cut"] += len(truth) > k and truth[k - 1].score == truth[k].score
        SEEN["dead in base"] += len(snapshot.base.part.dead) > 0


def test_the_property_met_what_it_is_about() -> None:
    test_every_answer_equals_a_brute_force_however_the_rows_lie()
    assert SEEN["hits"] > 10 * EXAMPLES
    assert SEEN["cut"] > EXAMPLES
    assert SEEN["tied at the cut"] > EXAMPLES / 10
    assert SEEN["merges"] > EXAMPLES / 4
    assert SEEN["dead in base"] > EXAMPLES / 4
