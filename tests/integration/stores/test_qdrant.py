from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from qdrant_client import QdrantClient, models

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.model.ids import ClassKey, DocumentKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores import qdrant_feed
from secure_rag.stores.qdrant import QdrantStore
from secure_rag.stores.qdrant_points import PointState, documents_filter, make_point, read_state, scope_filter
from secure_rag.testing.index_builder import ENGINE_ID, START, IndexBuilder, unit_vectors
from tests.controls import control

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]
DIMENSIONS = 8
QUERY = unit_vectors(np.random.default_rng(99), 1, DIMENSIONS)[0]
STATE = PointState(tenant=1, acl_class=2, document=3, version=4, modified_at=START)


class Company:
    """Twelve documents of two passages in two classes, and a collection that follows them."""

    def __init__(self, root: Path) -> None:
        self.random = np.random.default_rng(4)
        self.builder = IndexBuilder(root, dimensions=DIMENSIONS)
        self.tenant = self.builder.tenant()
        self.source = self.builder.source(self.tenant)
        self.classes: list[ClassKey] = [self.builder.acl_class(self.source) for _ in range(2)]
        with self.builder.transaction():
            self.documents: list[DocumentKey] = [self.add(i) for i in range(12)]
        self.client = QdrantClient(":memory:")
        self.store = self.open()

    def add(self, i: int) -> DocumentKey:
        vectors = unit_vectors(self.random, 2, DIMENSIONS)
        return self.builder.document(self.source, self.classes[i % 2], vectors, native_id=f"{i}.txt")

    def open(self, engine_id: str = ENGINE_ID, dimensions: int = DIMENSIONS) -> QdrantStore:
        return QdrantStore(self.client, "chunks", engine_id, dimensions)

    def sync(self) -> int:
        return self.store.sync(self.builder.engine)

    def found(self) -> list[Hit]:
        scope = AccessScope(self.tenant, np.array(self.classes, np.int64))
        return list(self.store.search(scope, QUERY, 1_000))

    def points(self) -> dict[Any, dict[str, Any]]:
        records, _ = self.client.scroll("chunks", limit=10_000)
        return {record.id: dict(record.payload or {}) for record in records}


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.store.close()
    made.builder.close()


def test_the_feed_is_applied_once_and_in_steps(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_feed, "_STEP_DOCUMENTS", 5)
    assert company.store.lag(company.builder.engine) == company.builder.seq()
    assert company.sync() == 12
    assert company.store.lag(company.builder.engine) == 0
    assert company.sync() == 0
    assert len(company.found()) == 24
    company.builder.repoint(company.documents[:7], company.classes[1])
    company.builder.delete(company.documents[:1])
    assert company.sync() == 7
    assert len(company.found()) == 22


def test_another_process_goes_on_where_the_mark_is(company: Company) -> None:
    company.sync()
    company.builder.delete(company.documents[:2])
    company.store = company.open()
    assert company.sync() == 2
    assert len(company.found()) == 20


@control("store:crash-safe")
def test_a_step_may_be_repeated_from_any_point(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies before each single write of a step in turn; the next one ends in the same state."""
    company.sync()
    company.builder.repoint(company.documents[:3], company.classes[1])
    company.builder.delete(company.documents[3:5])
    company.builder.set_state(company.documents[5:6], DocumentState.QUARANTINED)
    company.add(6)
    company.add(20)
    monkeypatch.setattr(qdrant_feed, "_UPSERT", 1)
    write, deaths = company.client.batch_update_points, 0
    for survived in range(20):
        left = [survived]

        def dying(*arguments: Any, left: list[int] = left, **options: Any) -> Any:
            if not left[0]:
                raise ConnectionError("gone")
            left[0] -= 1
            return write(*arguments, **options)

        monkeypatch.setattr(company.client, "batch_update_points", dying)
        try:
            company.sync()
            break
        except StoreError:
            deaths += 1
    monkeypatch.setattr(company.client, "batch_update_points", write)
    assert deaths >= 4
    assert company.store.reconcile(company.builder.engine).clean
    assert len(company.found()) == 2 * (12 + 1 - 2 - 1)


@control("store:reconciled")
def test_every_difference_is_found_repaired_and_reported(company: Company) -> None:
    company.sync()
    engine, before = company.builder.engine, company.points()
    assert company.store.reconcile(engine).clean
    chunks = sorted(before)
    changes: dict[str, Any] = {
        "acl_class": company.classes[0] + company.classes[1] - before[chunks[0]]["acl_class"],
        "version": 7,
        "tenant": "2",
        "document": 1,
        "modified_at": START + 1,
        "live": 0,
    }
    for chunk, (field, value) in zip(chunks[::2], changes.items(), strict=False):
        company.client.set_payload("chunks", {field: value}, points=[chunk])
    company.client.set_payload("chunks", {"text": "words"}, points=[chunks[13]])
    company.client.delete("chunks", [chunks[15], chunks[16]])
    stray = make_point(10_000, QUERY, STATE, DIMENSIONS)
    company.client.upsert("chunks", [stray])
    wrong = tuple(chunks[: 2 * len(changes) : 2])
    report = company.store.reconcile(engine)
    assert report.points == 23
    assert report.missing == (chunks[15], chunks[16])
    assert report.extra == (10_000,)
    assert sorted(report.wrong) == sorted((*wrong, chunks[13]))
    assert company.points() == before
    assert company.store.reconcile(engine).clean


@control("store:reconciled")
def test_a_database_that_went_back_is_compared_whole(company: Company) -> None:
    company.sync()
    company.builder.delete(company.documents[:3])
    company.sync()
    with company.builder.transaction() as connection:
        for table in reversed(t.meta.sorted_tables):
            if table is t.document or "document_id" in table.c:
                connection.execute(sa.delete(table))
    assert company.sync() == 0
    assert company.points() == {}
    assert company.store.lag(company.builder.engine) == 0


@control("store:no-text-outside", "store:must-only")
def test_points_hold_exactly_the_known_fields(company: Company) -> None:
    company.sync()
    for payload in company.points().values():
        state = read_state(payload)
        assert state is not None
        assert payload == state.payload()
        assert {type(x) for x in payload.values()} == {int, str}
        assert [k for k, v in payload.items() if type(v) is str] == ["tenant"]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {k: v for k, v in STATE.payload().items() if k != "live"},
        {**STATE.payload(), "live": True},
        {**STATE.payload(), "live": 0},
        {**STATE.payload(), "acl_class": True},
        {**STATE.payload(), "acl_class": 2.0},
        {**STATE.payload(), "acl_class": [2]},
        {**STATE.payload(), "acl_class": None},
        {**STATE.payload(), "tenant": 1},
        {**STATE.payload(), "tenant": "one"},
        {**STATE.payload(), "more": 1},
    ],
)
@control("store:must-only")
def test_a_payload_of_another_form_is_no_state(payload: dict[str, object] | None) -> None:
    assert read_state(STATE.payload()) == STATE
    assert read_state(payload) is None


@control("store:bad-vectors")
@pytest.mark.parametrize(
    ("chunk", "vector", "state"),
    [
        (0, QUERY, STATE),
        (True, QUERY, STATE),
        (1, QUERY * 0, STATE),
        (1, QUERY * 2, STATE),
        (1, QUERY * np.float32(np.nan), STATE),
        (1, QUERY[:-1], STATE),
        (1, QUERY, PointState(True, 2, 3, 4, START)),
        (1, QUERY, PointState(1, True, 3, 4, START)),
        (1, QUERY, PointState(1, 2, 3, 4.0, START)),  # type: ignore[arg-type]  # what the check is for
        (1, QUERY, PointState(np.int64(1), 2, 3, 4, START)),  # type: ignore[arg-type]  # what the check is for
    ],
)
def test_a_point_of_another_form_is_not_written(chunk: int, vector: Any, state: PointState) -> None:
    assert make_point(1, QUERY, STATE, DIMENSIONS).id == 1
    with pytest.raises(StoreError):
        make_point(chunk, vector, state, DIMENSIONS)


@control("store:must-only", "store:empty-scope")
def test_filters_are_must_only_and_never_empty(company: Company) -> None:
    scope = AccessScope(company.tenant, np.array(company.classes, np.int64), START)
    compiled = scope_filter(scope, scope.classes)
    assert compiled.should is None
    assert compiled.must_not is None
    assert compiled.min_should is None
    assert isinstance(compiled.must, list)
    assert [getattr(x, "key", None) for x in compiled.must] == ["tenant", "acl_class", "live", "modified_at"]
    with pytest.raises(StoreError):
        scope_filter(scope, scope.classes[:0])
    with pytest.raises(StoreError):
        documents_filter([])


def test_long_lists_of_classes_are_asked_in_parts(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    company.sync()
    whole = company.found()
    monkeypatch.setattr("secure_rag.stores.qdrant.MAX_CLASSES_PER_FILTER", 1)
    assert company.found() == whole
    assert len(whole) == 24


@control("store:scope-only")
def test_a_hit_that_the_filter_should_have_held_back_is_dropped(
    company: Company, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that ignores filters, as the pure-Python client once did for fused queries, still leaks nothing."""
    company.sync()
    query_points = company.client.query_points

    def unfiltered(*arguments: Any, **options: Any) -> Any:
        return query_points(*arguments, **{**options, "query_filter": None})

    monkeypatch.setattr(company.client, "query_points", unfiltered)
    scope = AccessScope(company.tenant, np.array(company.classes[:1], np.int64))
    allowed = {chunk for key in company.documents[::2] for chunk in company.builder.chunks(key)}
    assert {hit.chunk for hit in company.store.search(scope, QUERY, 1_000)} == allowed
    assert "dropped" in caplog.text


@control("store:one-engine")
def test_a_collection_of_another_engine_or_program_is_refused(company: Company) -> None:
    for engine_id, dimensions in (("another engine", DIMENSIONS), (ENGINE_ID, DIMENSIONS + 1)):
        with pytest.raises(StoreError, match="another embedding engine"):
            company.open(engine_id, dimensions)
    vectors = models.VectorParams(size=DIMENSIONS, distance=models.Distance.DOT)
    company.client.create_collection("foreign", vectors_config=vectors)
    company.client.upsert("foreign", [models.PointStruct(id=1, vector=QUERY.tolist(), payload={})])
    with pytest.raises(StoreError, match="not made by"):
        QdrantStore(company.client, "foreign", ENGINE_ID, DIMENSIONS)


def test_a_collection_that_is_gone_is_not_ready_and_raises_our_error(company: Company) -> None:
    assert company.store.ready()
    company.client.delete_collection("chunks")
    assert not company.store.ready()
    for use in (company.found, company.sync, lambda: company.store.reconcile(company.builder.engine)):
        with pytest.raises(StoreError):
            use()


@control("store:bad-vectors")
def test_a_damaged_document_is_left_out_and_named(company: Company) -> None:
    v = t.document_vectors.c
    with company.builder.transaction() as connection:
        connection.execute(sa.delete(t.document_vectors).where(v.document_id == company.documents[0]))
    assert company.sync() == 12
    assert company.store.malformed_documents() == {company.documents[0]}
    assert len(company.found()) == 22
    company.add(0)
    company.sync()
    assert company.store.malformed_documents() == frozenset()
    assert len(company.found()) == 24
