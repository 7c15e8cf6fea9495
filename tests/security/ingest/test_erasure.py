"""Deleted rows are gone from the files even where SQLite had moved them before they were deleted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secure_rag.database.erasure import erase
from secure_rag.model.ids import DocumentKey, Micros
from secure_rag.testing.index_builder import START, IndexBuilder
from tests.controls import control

SEED = 5
"""With SQLite 3.40 one deleted chunk of this seed survives in the unused part of a page until the file is rebuilt."""


def fill_and_delete(builder: IndexBuilder, seed: int) -> tuple[list[bytes], list[bytes]]:
    """Put and delete documents at random; marks of what was deleted, and of what is left."""
    source = builder.source(builder.tenant())
    cls = builder.acl_class(source)
    random = np.random.default_rng(seed)
    alive: dict[str, tuple[DocumentKey, list[bytes]]] = {}
    dead: list[bytes] = []
    for step in range(600):
        name = f"{random.integers(30)}.txt"
        if name in alive:
            key, marks = alive.pop(name)
            builder.delete([key])
            dead += marks
            continue
        names = [f"M{step:05d}{i:02d}Z" for i in range(random.integers(1, 12))]
        texts = [f"{x} " * int(random.integers(1, 90)) for x in names]
        raw = f"V{step:05d}ZZ".encode() * (2 * int(random.integers(1, 3000)))
        vectors = np.frombuffer(raw, dtype="<f4").reshape(-1, 4)
        key = builder.document(source, cls, vectors, native_id=name, texts=texts)
        alive[name] = key, [*(x.encode() for x in names), raw[:8]]
    return dead, [mark for _, marks in alive.values() for mark in marks]


@control("ingest:deletion-erases")
def test_what_balancing_left_behind_is_erased(tmp_path: Path) -> None:
    builder = IndexBuilder(tmp_path, dimensions=4)
    dead, alive = fill_and_delete(builder, SEED)
    assert len(dead) > 1_000
    assert erase(builder.engine, Micros(START))
    assert (builder.home.root / "control.db-wal").stat().st_size < 100_000
    files = [path.read_bytes() for path in builder.home.root.rglob("*") if path.is_file()]
    assert [mark for mark in dead if any(mark in data for data in files)] == []
    assert [mark for mark in alive if not any(mark in data for data in files)] == []


def test_a_run_that_deleted_nothing_rebuilds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = IndexBuilder(tmp_path, dimensions=4)
    source = builder.source(builder.tenant())
    key = builder.document(source, builder.acl_class(source), np.eye(4, dtype=np.float32)[:1])
    rebuilt: list[object] = []

    def rebuild(engine: object) -> bool:
        rebuilt.append(engine)
        return True

    monkeypatch.setattr("secure_rag.database.erasure._rebuild", rebuild)
    assert erase(builder.engine, Micros(START))
    assert rebuilt == []
    builder.delete([key])
    assert erase(builder.engine, Micros(START))
    assert erase(builder.engine, Micros(START))
    assert rebuilt == [builder.engine]
