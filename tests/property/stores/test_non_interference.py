from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secure_rag.model.ids import ClassKey, SourceKey, TenantKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import IndexBuilder, unit_vectors
from tests.controls import control

ROUNDS = 12
QUERIES = 8
DIMENSIONS = 384


@dataclass(frozen=True)
class Company:
    """Two tenants; classes that the asking subject may read lie between classes that it may not."""

    builder: IndexBuilder
    tenants: list[TenantKey]
    sources: list[SourceKey]
    classes: list[list[ClassKey]]

    def scope(self) -> AccessScope:
        return AccessScope(self.tenants[0], np.array(self.classes[0][1::2], np.int64))


def _company(root: Path) -> Company:
    builder = IndexBuilder(root, dimensions=DIMENSIONS)
    tenants = [builder.tenant(name) for name in ("acme", "globex")]
    sources = [builder.source(tenant) for tenant in tenants]
    classes = [[builder.acl_class(source) for _ in range(9)] for source in sources]
    return Company(builder, tenants, sources, classes)


def _near(random: np.random.Generator, vectors: NDArray[np.float32], noise: float) -> NDArray[np.float32]:
    moved = vectors + noise * unit_vectors(random, len(vectors), vectors.shape[1])
    unit: NDArray[np.float32] = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _answers(store: EmbeddedStore, scope: AccessScope, queries: NDArray[np.float32]) -> list[list[Hit]]:
    return [list(store.search(scope, query, k)) for query in queries for k in (1, 10, 1_000)]


@control("store:non-interference")
def test_documents_outside_a_scope_never_change_its_answers(tmp_path: Path) -> None:
    """Copies and near-copies of visible passages and of the queries, in invisible classes and another tenant."""
    random, seen = np.random.default_rng(17), Counter[str]()
    world = _company(tmp_path / "home")
    visible = unit_vectors(random, 240, DIMENSIONS)
    visible[200:] = _near(random, visible[:40], 1e-4)
    with world.builder.transaction():
        for i in range(0, 240, 4):
            cls = world.classes[0][1::2][i // 4 % 4]
            world.builder.document(world.sources[0], cls, visible[i : i + 4])
    queries = _near(random, visible[:QUERIES], 0.8)
    store = EmbeddedStore(world.builder.path, world.builder.engine_id, DIMENSIONS, merge_rows=60)
    alone = _answers(store, world.scope(), queries)
    hidden = [(0, world.classes[0][0::2]), (1, world.classes[1])]
    for round_ in range(ROUNDS):
        with world.builder.transaction():
            for _ in range(int(random.integers(1, 20))):
                tenant, classes = hidden[int(random.integers(2))]
                rows = random.integers(0, 240, int(random.integers(1, 9)))
                copies = _near(random, visible[rows], float(random.choice([0, 1e-7, 1e-3, 0.3])))
                copies[0] = queries[int(random.integers(QUERIES))]
                cls = classes[int(random.integers(len(classes)))]
                world.builder.document(world.sources[tenant], cls, copies)
                seen["hidden rows"] += len(copies)
        store.refresh()
        if round_ % 3 == 2:
            store.compact()
            seen["merges"] += 1
        assert _answers(store, world.scope(), queries) == alone
        fresh = EmbeddedStore(world.builder.path, world.builder.engine_id, DIMENSIONS)
        assert _answers(fresh, world.scope(), queries) == alone
        fresh.close()
        seen["comparisons"] += 2 * len(alone)
    # The copies would win if they counted: with the hidden classes in scope the best score is a perfect one.
    everything = AccessScope(world.tenants[0], np.array(world.classes[0], np.int64))
    seen["would win"] = sum(store.search(everything, query, 1)[0].score > 0.999 for query in queries)
    store.close()
    world.builder.close()
    assert sum(len(hits) for hits in alone) == QUERIES * (1 + 10 + 240)
    assert seen["comparisons"] >= 500
    assert seen["merges"] >= 3
    assert seen["hidden rows"] > 240
    assert seen["would win"] >= QUERIES / 2
