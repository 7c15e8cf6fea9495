from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import StoreError
from secure_rag.model.ids import ClassKey, DocumentKey, SourceKey, TenantKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import ENGINE_ID, IndexBuilder, unit_vectors
from tests.controls import control

DIMENSIONS = 16
QUERY = unit_vectors(np.random.default_rng(99), 1, DIMENSIONS)[0]
PATIENCE_S = 30


class Company:
    """One tenant, two classes, twenty documents."""

    def __init__(self, root: Path) -> None:
        self.random = np.random.default_rng(4)
        self.builder = IndexBuilder(root, dimensions=DIMENSIONS)
        self.tenant: TenantKey = self.builder.tenant()
        self.source: SourceKey = self.builder.source(self.tenant)
        self.classes: list[ClassKey] = [self.builder.acl_class(self.source) for _ in range(2)]
        self.documents: list[DocumentKey] = self.add(20)

    def add(self, count: int, rows: int = 2) -> list[DocumentKey]:
        with self.builder.transaction():
            return [
                self.builder.document(
                    self.source, self.classes[0], unit_vectors(self.random, rows, DIMENSIONS)
                )
                for _ in range(count)
            ]

    def open(self, merge_rows: int = 20_000) -> EmbeddedStore:
        return EmbeddedStore(self.builder.path, ENGINE_ID, DIMENSIONS, merge_rows=merge_rows)

    def found(self, store: EmbeddedStore, *classes: ClassKey) -> list[Hit]:
        scope = AccessScope(self.tenant, np.array(classes or self.classes, np.int64))
        return list(store.search(scope, QUERY, 10_000))


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.builder.close()


@pytest.fixture
def store(company: Company) -> Iterator[EmbeddedStore]:
    with contextlib.closing(company.open()) as opened:
        yield opened


def test_a_change_is_found_as_soon_as_it_was_waited_for(company: Company, store: EmbeddedStore) -> None:
    assert len(company.found(store)) == 40
    company.add(3)
    assert store.wait_for(company.builder.seq(), PATIENCE_S)
    assert len(company.found(store)) == 46
    assert not store.wait_for(company.builder.seq() + 1, timeout=0)


def test_a_change_by_another_process_is_found(company: Company, store: EmbeddedStore) -> None:
    script = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], timeout=30)\n"
        "c.execute('UPDATE document SET class_id = ?, seq = seq + 1000', (int(sys.argv[2]),))\n"
        "c.commit()\n"
    )
    target = str(company.classes[1])
    subprocess.run([sys.executable, "-c", script, company.builder.path, target], check=True)
    assert store.wait_for(company.builder.seq(), PATIENCE_S)
    assert company.found(store, company.classes[0]) == []
    assert len(company.found(store, company.classes[1])) == 40


def test_more_changes_than_one_step_are_applied_whole(company: Company, store: EmbeddedStore) -> None:
    company.add(450)
    store.refresh()
    assert len(company.found(store)) == 940
    company.builder.repoint(company.documents, company.classes[1])
    company.add(1, rows=25_000)
    store.refresh()
    assert len(company.found(store, company.classes[1])) == 40
    assert len(company.found(store)) == 10_000
    assert store.memory_bytes() >= 25_940 * DIMENSIONS * 4


def test_answers_stay_whole_while_a_merge_runs(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost or doubled at any moment of a merge, and what comes during one is in after it."""
    monkeypatch.setattr("secure_rag.stores.merge._SLICE_DOCUMENTS", 1)
    with contextlib.closing(company.open(merge_rows=30)) as store:
        before = len(company.found(store))
        for round_ in range(1, 40):
            company.add(5)
            seq = company.builder.seq()
            least, sizes = before + 10 * (round_ - 1), set[int]()
            until = time.monotonic() + PATIENCE_S
            while not store.wait_for(seq, timeout=0):
                sizes.add(len(company.found(store)))
                assert time.monotonic() < until
            assert sizes <= {least, least + 10}
            assert len(company.found(store)) == least + 10
        with contextlib.closing(company.open()) as fresh:
            assert company.found(store) == company.found(fresh)


def test_searches_of_several_threads_agree(company: Company, store: EmbeddedStore) -> None:
    wanted, answers = company.found(store), list[list[Hit]]()
    threads = [threading.Thread(target=lambda: answers.append(company.found(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [wanted] * 8


@control("store:follower-fails-closed")
def test_a_dead_follower_is_not_ready_and_refuses(
    company: Company, store: EmbeddedStore, caplog: pytest.LogCaptureFixture
) -> None:
    assert store.ready()
    with company.builder.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE document_vectors RENAME TO elsewhere"))
    with pytest.raises(StoreError):
        store.wait_for(2**62, PATIENCE_S)
    assert not store.ready()
    for use in (lambda: company.found(store), store.refresh, store.compact, store.memory_bytes):
        with pytest.raises(StoreError):
            use()
    assert "stopped following" in caplog.text


@control("store:follower-fails-closed")
def test_another_file_in_the_place_of_the_database_is_noticed(company: Company, store: EmbeddedStore) -> None:
    copy = company.builder.path.with_name("copy.db")
    shutil.copyfile(company.builder.path, copy)
    copy.replace(company.builder.path)
    with pytest.raises(StoreError):
        store.wait_for(2**62, PATIENCE_S)
    assert not store.ready()


@control("store:follower-fails-closed")
def test_a_closed_store_refuses(company: Company) -> None:
    store = company.open()
    store.close()
    assert not store.ready()
    with pytest.raises(StoreError):
        company.found(store)
    with pytest.raises(StoreError):
        store.wait_for(1, timeout=0)


@control("store:follower-fails-closed")
def test_a_store_that_lags_is_not_ready(
    company: Company, store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_rag.stores.embedded.MAX_LAG_S", 0.0)
    assert not store.ready()
    assert len(company.found(store)) == 40


def test_a_database_that_went_back_is_loaded_anew(
    company: Company, store: EmbeddedStore, tmp_path: Path
) -> None:
    with contextlib.closing(sqlite3.connect(company.builder.path)) as live:
        with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
            live.backup(backup)
        company.add(5)
        company.builder.repoint(company.documents[:10], company.classes[1])
        store.refresh()
        assert len(company.found(store, company.classes[1])) == 20
        company.builder.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
            backup.backup(live)
    store.refresh()
    assert company.found(store, company.classes[1]) == []
    assert len(company.found(store)) == 40


@control("store:one-engine")
def test_a_tenant_that_changes_engines_is_refused_and_comes_back_whole(
    company: Company, store: EmbeddedStore
) -> None:
    before = company.found(store)

    def change(**space: object) -> None:
        with company.builder.transaction() as connection:
            connection.execute(sa.update(t.embedding_space).values(**space))
        store.refresh()

    change(engine_id="another engine")
    with pytest.raises(StoreError):
        company.found(store)
    # A change that comes now takes the documents out of the matrix.
    company.builder.repoint(company.documents, company.classes[1])
    company.builder.repoint(company.documents, company.classes[0])
    store.refresh()
    change(engine_id=ENGINE_ID)
    assert company.found(store) == before
    change(dimensions=DIMENSIONS * 2)
    with pytest.raises(StoreError):
        company.found(store)


@control("store:one-engine")
def test_vectors_of_another_engine_are_not_even_loaded(company: Company, store: EmbeddedStore) -> None:
    held = store.memory_bytes()
    tenant = company.builder.tenant("globex")
    with company.builder.transaction() as connection:
        space = t.embedding_space.c
        connection.execute(
            sa.update(t.embedding_space).where(space.tenant_id == tenant).values(engine_id="another engine")
        )
    source = company.builder.source(tenant)
    cls = company.builder.acl_class(source)
    for dimensions in (DIMENSIONS, DIMENSIONS * 2):
        company.builder.document(source, cls, unit_vectors(company.random, 500, dimensions))
    store.refresh()
    with contextlib.closing(company.open()) as fresh:
        for opened in (store, fresh):
            assert opened.memory_bytes() == held
            assert opened.malformed_documents() == frozenset()


@control("store:bad-vectors")
def test_documents_with_damaged_vectors_are_named(company: Company) -> None:
    broken = company.documents[3]
    with company.builder.transaction() as connection:
        v = t.document_vectors.c
        connection.execute(sa.delete(t.document_vectors).where(v.document_id == broken))
    with contextlib.closing(company.open()) as store:
        assert store.malformed_documents() == {broken}
        assert len(company.found(store)) == 38
        company.builder.delete([broken])
        store.refresh()
        assert store.malformed_documents() == frozenset()


def test_a_missing_or_foreign_file_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        EmbeddedStore(tmp_path / "none.db", ENGINE_ID, DIMENSIONS)
    assert not (tmp_path / "none.db").exists()
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(StoreError):
        EmbeddedStore(foreign, ENGINE_ID, DIMENSIONS)


def test_the_store_never_writes(company: Company, store: EmbeddedStore) -> None:
    reader = store._follower._reader._connection
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM document")
