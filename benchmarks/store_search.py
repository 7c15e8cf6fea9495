"""Measures the embedded store on the world of `benchmarks.world`: recall, ratios to a plain scan, churn and memory.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.store_search DIRECTORY

Times are compared inside one run only: each is a ratio, or stands beside one. One thread, medians of five rounds.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.world import BANDS, Query, StoredWorld, World, store_world
from secure_rag.model.ids import ClassKey, DocumentKey
from secure_rag.ports import AccessScope
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import ENGINE_ID, START, IndexBuilder, unit_vectors

K: Final = 10
ROUNDS: Final = 5
FOLDER_CHUNKS: Final = 10_000
WRITES_PER_SECOND: Final = 50
"""Documents of ten passages; several times what one host can embed."""
_MERGE_DOCUMENTS: Final = 2_100
_PATIENCE_S: Final = 120.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Floats = NDArray[np.float32]


def run(database_dir: Path, *, world: World | None = None) -> dict[str, float]:
    """Build the world in a new home in `database_dir`, measure, print a table and return the figures."""
    made = (world or World()).build()
    return measure(made, store_world(made, database_dir / "home"))


def measure(world: World, stored: StoredWorld) -> dict[str, float]:
    """Measure a stored world. Documents are added and re-pointed at the end.

    Raises:
        RuntimeError: linear algebra may use more than one thread.
    """
    if any(os.environ.get(name) != "1" for name in _THREADS):
        raise RuntimeError(f"set {' and '.join(_THREADS)} to 1 before Python starts")
    figures: dict[str, float] = {}
    started = time.perf_counter()
    store = EmbeddedStore(stored.builder.path, ENGINE_ID, world.dimensions)
    figures["load_s"] = time.perf_counter() - started
    with closing(store):
        queries = world.queries()
        scopes = _scopes(world, stored, queries)
        figures |= _quality(world, store, queries, scopes)
        figures |= _ratios(world, store, queries, scopes)
        figures |= _while_writing(stored, store, queries, scopes)
        figures |= _repoint(world, stored, store)
    figures |= _memory(stored, world.dimensions)
    for name, value in figures.items():
        print(f"{name:44} {value:12.4f}")
    return figures


def _scopes(world: World, stored: StoredWorld, queries: list[Query]) -> list[AccessScope]:
    by_user = {
        query.user: AccessScope(stored.tenant, stored.scope_classes(world.allowed(query.user)))
        for query in queries
    }
    return [by_user[query.user] for query in queries]


def _quality(
    world: World, store: EmbeddedStore, queries: list[Query], scopes: list[AccessScope]
) -> dict[str, float]:
    """Against all allowed rows, compared in the benchmark itself."""
    recall: list[float] = []
    fill: list[float] = []
    leaks = 0
    for query, scope in zip(queries, scopes, strict=True):
        rows = np.flatnonzero(world.allowed(query.user)[world.chunk_class])
        best = rows[np.argsort(-(world.vectors[rows].astype(np.float64) @ query.vector), kind="stable")[:K]]
        found = {hit.chunk - 1 for hit in store.search(scope, query.vector, K)}
        recall.append(len(found & set(best.tolist())) / len(best))
        fill.append(len(found) / min(K, len(rows)))
        leaks += len(found - set(rows.tolist()))
    outside = [x for x, query in zip(recall, queries, strict=True) if not query.inside]
    return {
        "leaks": float(leaks),
        "recall_at_10": float(np.mean(recall)),
        "recall_at_10_outside_own_area": float(np.mean(outside)),
        "fill": float(np.mean(fill)),
    }


def _plain(vectors: Floats, query: Floats) -> NDArray[np.intp]:
    """The yardstick: every row, no permissions."""
    scores = vectors @ query
    best = np.argpartition(scores, len(scores) - K)[-K:]
    return best[np.argsort(-scores[best])]


def _ratios(
    world: World, store: EmbeddedStore, queries: list[Query], scopes: list[AccessScope]
) -> dict[str, float]:
    figures: dict[str, float] = {}
    for band in BANDS:
        mine = [i for i, query in enumerate(queries) if query.band == band]
        ratios: list[float] = []
        for _ in range(ROUNDS):
            ours: list[float] = []
            plain: list[float] = []
            for i in mine:
                ours.append(_seconds(store, scopes[i], queries[i]))
                started = time.perf_counter()
                _plain(world.vectors, queries[i].vector)
                plain.append(time.perf_counter() - started)
            ratios.append(float(np.median(ours) / np.median(plain)))
        figures[f"store_p50_ratio_{band * 100:g}_percent"] = float(np.median(ratios))
    return figures


def _seconds(store: EmbeddedStore, scope: AccessScope, query: Query) -> float:
    started = time.perf_counter()
    store.search(scope, query.vector, K)
    return time.perf_counter() - started


# ---- churn


def _while_writing(
    stored: StoredWorld, store: EmbeddedStore, queries: list[Query], scopes: list[AccessScope]
) -> dict[str, float]:
    """Search latency while another process ingests, over that of an idle store, in alternating rounds."""
    mine = [i for i, query in enumerate(queries) if query.band in (0.01, 0.1)]
    ratios: list[float] = []
    tails: list[float] = []
    for _ in range(ROUNDS):
        idle = [_seconds(store, scopes[i], queries[i]) for _ in range(5) for i in mine]
        with _writer(stored):
            busy = [_seconds(store, scopes[i], queries[i]) for _ in range(5) for i in mine]
        store.refresh()
        ratios.append(float(np.median(busy) / np.median(idle)))
        tails.append(float(np.quantile(busy, 0.95) / np.quantile(idle, 0.95)))
    return {
        "search_p50_while_writing_over_idle": float(np.median(ratios)),
        "search_p95_while_writing_over_idle": float(np.median(tails)),
    }


@contextmanager
def _writer(stored: StoredWorld) -> Generator[None]:
    program = [sys.executable, "-m", "benchmarks.store_search", "--write", str(stored.builder.path)]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
    ) as writer:
        if writer.stdout is None or not writer.stdout.readline():
            raise RuntimeError("the writer did not start")
        yield
        writer.communicate()


def _repoint(world: World, stored: StoredWorld, store: EmbeddedStore) -> dict[str, float]:
    """A folder of ten thousand passages gets other permissions: the transaction, and until searches see it."""
    length = np.bincount(world.chunk_document, minlength=len(stored.documents))
    folder = int(np.searchsorted(np.cumsum(length), FOLDER_CHUNKS)) + 1
    keys = [DocumentKey(x) for x in stored.documents[:folder].tolist()]
    written: list[float] = []
    seen: list[float] = []
    targets = [ClassKey(x) for x in stored.classes[:ROUNDS].tolist()]
    for target in targets:
        started = time.perf_counter()
        stored.builder.repoint(keys, target)
        committed = time.perf_counter()
        if not store.wait_for(stored.builder.seq(), _PATIENCE_S):
            raise RuntimeError("the store did not follow")
        seen.append(time.perf_counter() - committed)
        written.append(committed - started)
    chunks = int(length[:folder].sum())
    scope = AccessScope(stored.tenant, np.array(targets[-1:], np.int64))
    if len(store.search(scope, world.vectors[0], 10**6)) < chunks:
        raise RuntimeError("the folder has not moved")
    return {
        "repoint_10k_chunks_write_ms": 1e3 * float(np.median(written)),
        "repoint_10k_chunks_commit_to_visible_ms": 1e3 * float(np.median(seen)),
    }


def _memory(stored: StoredWorld, dimensions: int) -> dict[str, float]:
    """In a process of its own, so that nothing of this one counts."""
    program = [sys.executable, "-m", "benchmarks.store_search", "--memory", str(stored.builder.path)]
    done = subprocess.run([*program, str(dimensions)], stdout=subprocess.PIPE, check=True, env=_environment())
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


# ---- programs of their own


def _write_until_told(path: Path) -> None:
    """Add documents at a steady pace, one transaction each, until standard input closes."""
    random = np.random.default_rng(int(time.time_ns()))
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        os.set_blocking(sys.stdin.fileno(), False)
        print("started", flush=True)
        due = time.monotonic()
        while sys.stdin.buffer.read(1) is None:
            _add_document(connection, random)
            due += 1 / WRITES_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))


def _add_document(connection: sqlite3.Connection, random: np.random.Generator, rows: int = 10) -> None:
    connection.execute("BEGIN IMMEDIATE")
    tenant, source, cls, dimensions = connection.execute(
        "SELECT d.tenant_id, d.source_id, d.class_id, e.dimensions FROM document d "
        "JOIN embedding_space e ON e.tenant_id = d.tenant_id "
        "WHERE d.id >= (SELECT max(id) FROM document) * ? AND d.state = 1 LIMIT 1",
        (float(random.random() * 0.9),),
    ).fetchone()
    document, chunk = connection.execute(
        "SELECT (SELECT max(id) FROM document) + 1, max(id) + 1 FROM chunk"
    ).fetchone()
    (seq,) = connection.execute(
        "UPDATE counter SET value = value + 1 WHERE name = 'document_seq' RETURNING value"
    ).fetchone()
    connection.execute(
        "INSERT INTO document(id, tenant_id, source_id, native_id, public_id, class_id, state, version, title, mime, "
        "contributor, content_sha256, pipeline_id, origins, modified_at, acl_as_of, first_chunk, n_chunks, seq) "
        "VALUES (?, ?, ?, ?, ?, ?, 1, 1, 'new', 'text/plain', '', '', '', '[]', ?, ?, ?, ?, ?)",
        (document, tenant, source, f"d{document}", f"d_{document}", cls, START, START, chunk, rows, seq),
    )
    connection.executemany(
        "INSERT INTO chunk(id, document_id, ord, public_id, start, end, headings, text) "
        "VALUES (?, ?, ?, ?, 0, 700, '[]', ?)",
        [(chunk + i, document, i, f"c_{chunk + i}", "passage " * 90) for i in range(rows)],
    )
    vectors = unit_vectors(random, rows, dimensions).tobytes()
    connection.execute("INSERT INTO document_vectors VALUES (?, ?)", (document, vectors))
    connection.execute("COMMIT")


def _report_memory(path: Path, dimensions: int) -> None:
    """Resident memory above that of the same process over an empty home, over the size of the vectors."""
    row = 4 * dimensions
    empty = IndexBuilder(path.parent / "empty", dimensions=dimensions)
    empty.tenant()
    with closing(EmbeddedStore(empty.path, ENGINE_ID, dimensions)):
        before = _resident("VmRSS")
    empty.close()
    with (
        closing(EmbeddedStore(path, ENGINE_ID, dimensions)) as store,
        closing(sqlite3.connect(path)) as writer,
    ):
        writer.isolation_level = None
        rows = _rows(writer)
        steady = (_resident("VmRSS") - before) / (rows * row)
        at_load = (_resident("VmHWM") - before) / (rows * row)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        random = np.random.default_rng(1)
        for _ in range(_MERGE_DOCUMENTS):
            _add_document(writer, random)
        store.refresh()
        until = time.monotonic() + _PATIENCE_S
        while store._follower.snapshot.tail.rows > _MERGE_DOCUMENTS:
            if time.monotonic() > until:
                raise RuntimeError("no merge happened")
            time.sleep(0.01)
        merged = _rows(writer)
        figures = {
            "memory_steady_over_vectors": steady,
            "memory_peak_at_load_over_vectors": at_load,
            "memory_peak_in_merge_over_vectors": (_resident("VmHWM") - before) / (merged * row),
            "memory_after_merge_over_vectors": (_resident("VmRSS") - before) / (merged * row),
        }
    print(json.dumps(figures))


def _rows(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT sum(n_chunks) FROM document WHERE state = 1").fetchone()[0])


def _resident(field: str) -> int:
    # Not getrusage: its peak survives exec, and would be that of the process which started this one.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1_024
    raise RuntimeError(f"no {field} in /proc/self/status")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def main(arguments: list[str]) -> None:
    """Measure, or be one of the helper processes."""
    match arguments:
        case ["--write", path]:
            _write_until_told(Path(path))
        case ["--memory", path, dimensions]:
            _report_memory(Path(path), int(dimensions))
        case [directory]:
            print(json.dumps(run(Path(directory))))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
