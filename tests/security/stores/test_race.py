from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from secure_rag.database.views import Views
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import ChunkKey, ClassKey, Micros, TenantKey
from secure_rag.ports import AccessScope
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import IndexBuilder, unit_vectors
from tests.controls import control

ANSWERS = 10_000
DROPPED = 500
DEADLINE_S = 55
READERS = 2
Drop = Callable[[ChunkRow, AccessScope], bool]


@dataclass(frozen=True)
class Flipped:
    builder: IndexBuilder
    store: EmbeddedStore
    tenant: TenantKey
    open_class: ClassKey


@pytest.fixture
def flipped(tmp_path: Path) -> Iterator[Flipped]:
    """A store whose 40 documents another process moves between an open and a secret class, text and all."""
    random = np.random.default_rng(5)
    builder = IndexBuilder(tmp_path / "home", dimensions=32)
    tenant = builder.tenant()
    source = builder.source(tenant)
    open_class, secret_class = builder.acl_class(source), builder.acl_class(source)
    with builder.transaction():
        for _ in range(40):
            builder.document(source, open_class, unit_vectors(random, 3, 32), texts=["open"] * 3)
    store = EmbeddedStore(builder.path, builder.engine_id, 32)
    flipper = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name("flipper.py"),
            builder.path,
            str(open_class),
            str(secret_class),
        ],
        stdin=subprocess.PIPE,
    )
    yield Flipped(builder, store, tenant, open_class)
    flipper.communicate()
    assert flipper.returncode == 0
    store.close()
    builder.close()


def _ask(world: Flipped, drop: Drop, enough: Callable[[Counter[str]], bool], seed: int) -> Counter[str]:
    """Search, read class, version and text of the hits in one statement, drop what is not allowed."""
    random, seen = np.random.default_rng(seed), Counter[str]()
    views = Views(world.builder.engine, lambda: Micros(0))
    scope = AccessScope(world.tenant, np.array([world.open_class], np.int64))
    until = time.monotonic() + DEADLINE_S
    while not enough(seen) and time.monotonic() < until:
        hits = world.store.search(scope, unit_vectors(random, 1, 32)[0], 10)
        with views.open() as view:
            rows = view.chunk_rows(world.tenant, [ChunkKey(hit.chunk) for hit in hits])
        kept = [row for row in rows.values() if not drop(row, scope)]
        seen["answers"] += 1
        seen["with drops"] += len(kept) < len(hits)
        seen["rows"] += len(kept)
        seen["leaks"] += any(row.text != "open" for row in kept)
    return seen


def _not_allowed(row: ChunkRow, scope: AccessScope) -> bool:
    return row.class_key not in scope.classes


def _believe_the_store(_row: ChunkRow, _scope: AccessScope) -> bool:
    return False


@control("store:hint-not-authority")
def test_a_writer_flipping_class_and_text_against_readers_leaks_nothing(flipped: Flipped) -> None:
    def enough(seen: Counter[str]) -> bool:
        return seen["answers"] >= ANSWERS / READERS and seen["with drops"] >= DROPPED / READERS

    with ThreadPoolExecutor(READERS) as readers:
        counts = readers.map(lambda seed: _ask(flipped, _not_allowed, enough, seed), range(READERS))
        seen = sum(counts, Counter[str]())
    assert seen["leaks"] == 0
    assert seen["answers"] >= ANSWERS
    assert seen["with drops"] >= DROPPED
    assert seen["rows"] > 0


@control("store:hint-not-authority")
def test_believing_the_class_in_memory_would_leak(flipped: Flipped) -> None:
    """The mutant that shows the race is real."""
    seen = _ask(flipped, _believe_the_store, lambda seen: seen["leaks"] > 0, seed=1)
    assert seen["leaks"] > 0
