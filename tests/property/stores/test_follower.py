from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import ClassKey, DocumentKey, SourceKey, TenantKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import IndexBuilder, unit_vectors
from tests.controls import control

EXAMPLES = 40
DIMENSIONS = 24


@dataclass(frozen=True)
class Template:
    root: Path
    tenant: TenantKey
    source: SourceKey
    classes: list[ClassKey]
    documents: list[DocumentKey]
    seen: Counter[str] = field(default_factory=Counter[str])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    root = tmp_path_factory.mktemp("template") / "home"
    random = np.random.default_rng(11)
    builder = IndexBuilder(root, dimensions=DIMENSIONS)
    tenant = builder.tenant()
    source = builder.source(tenant)
    classes = [builder.acl_class(source) for _ in range(5)]
    with builder.transaction():
        documents = [
            builder.document(
                source, classes[i % 4], unit_vectors(random, 1 + i % 3, DIMENSIONS), native_id=f"{i}.txt"
            )
            for i in range(24)
        ]
    builder.close()
    found = Template(root, tenant, source, classes, documents)
    yield found
    for kind in ("add", "replace", "repoint", "delete", "quarantine", "release", "refresh", "compact"):
        assert found.seen[kind] >= EXAMPLES / 2, (kind, found.seen)
    assert found.seen["hits"] > 100 * EXAMPLES
    assert found.seen["examples"] >= EXAMPLES


_PICK = st.integers(0, 23)
_STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 4), st.integers(1, 4)),
    st.tuples(st.just("replace"), _PICK, st.integers(1, 4)),
    st.tuples(st.just("repoint"), _PICK, st.integers(0, 4)),
    st.tuples(st.just("delete"), _PICK, st.just(0)),
    st.tuples(st.just("quarantine"), _PICK, st.just(0)),
    st.tuples(st.just("release"), _PICK, st.just(0)),
    st.tuples(st.just("refresh"), st.just(0), st.just(0)),
    st.tuples(st.just("compact"), st.just(0), st.just(0)),
)


def _apply(
    world: Template, builder: IndexBuilder, store: EmbeddedStore, step: tuple[str, int, int], seed: int
) -> None:
    kind, first, second = step
    random = np.random.default_rng(seed)
    key = world.documents[first]
    match kind:
        case "add":
            builder.document(world.source, world.classes[first], unit_vectors(random, second, DIMENSIONS))
        case "replace":
            vectors = unit_vectors(random, second, DIMENSIONS)
            builder.document(world.source, world.classes[seed % 5], vectors, native_id=f"{first}.txt")
        case "repoint":
            builder.repoint([key], world.classes[second])
        case "delete":
            builder.delete([key])
        case "quarantine":
            builder.set_state([key], DocumentState.QUARANTINED)
        case "release":
            builder.set_state([key], DocumentState.LIVE)
        case "refresh":
            store.refresh()
        case _:
            store.compact()


def _answers(store: EmbeddedStore, world: Template) -> list[list[Hit]]:
    queries = unit_vectors(np.random.default_rng(3), 4, DIMENSIONS)
    scopes = [
        AccessScope(world.tenant, np.array(classes, np.int64))
        for classes in (world.classes, world.classes[:1], world.classes[1:3], world.classes[4:])
    ]
    return [list(store.search(scope, query, k)) for scope in scopes for query in queries for k in (3, 500)]


@control("store:nothing-lost", "store:crash-safe")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_STEP, min_size=15, max_size=40), merge_rows=st.sampled_from([0, 10, 20_000]))
def test_a_followed_store_equals_a_fresh_one(
    template: Template,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int]],
    merge_rows: int,
) -> None:
    root = tmp_path_factory.mktemp("follow") / "home"
    shutil.copytree(template.root, root)
    builder = IndexBuilder(root, dimensions=DIMENSIONS)
    store = EmbeddedStore(builder.path, builder.engine_id, DIMENSIONS, merge_rows=merge_rows)
    for seed, step in enumerate(steps):
        _apply(template, builder, store, step, seed)
        template.seen[step[0]] += 1
    store.refresh()
    followed = _answers(store, template)
    fresh = EmbeddedStore(builder.path, builder.engine_id, DIMENSIONS)
    assert followed == _answers(fresh, template)
    store.compact()
    assert followed == _answers(store, template)
    assert store.malformed_documents() == frozenset()
    template.seen["hits"] += sum(len(hits) for hits in followed)
    template.seen["examples"] += 1
    for opened in (store, fresh, builder):
        opened.close()
    shutil.rmtree(root)
