from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.index_builder import ENGINE_ID, IndexBuilder, unit_vectors
from tests.controls import control

DIMENSIONS = 16
KILLS = 6


def _write_and_die(root: Path, seed: int, commits: int) -> int:
    """Kill a writer in the middle of its work, after some commits; the last number that it acknowledged."""
    program = [
        sys.executable,
        str(Path(__file__).with_name("writer.py")),
        str(root),
        str(seed),
        str(DIMENSIONS),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(commits)]
        writer.kill()
        acknowledged += [int(line) for line in writer.stdout if line.endswith(b"\n")]
    assert writer.returncode == -9
    return acknowledged[-1]


@control("store:crash-safe")
def test_killed_writers_leave_a_store_equal_to_a_fresh_one(tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    root = tmp_path / "home"
    builder = IndexBuilder(root, dimensions=DIMENSIONS)
    tenant = builder.tenant()
    source = builder.source(tenant)
    classes = np.array([builder.acl_class(source) for _ in range(4)], np.int64)
    queries = unit_vectors(random, 5, DIMENSIONS)

    def answers(store: EmbeddedStore) -> list[list[Hit]]:
        scopes = [AccessScope(tenant, classes), AccessScope(tenant, classes[1:3])]
        return [
            list(store.search(scope, query, k)) for scope in scopes for query in queries for k in (5, 1_000)
        ]

    following = EmbeddedStore(builder.path, ENGINE_ID, DIMENSIONS, merge_rows=50)
    for kill in range(KILLS):
        acknowledged = _write_and_die(root, kill, commits=int(random.integers(20, 60)))
        assert builder.seq() >= acknowledged
        following.refresh()
        fresh = EmbeddedStore(builder.path, ENGINE_ID, DIMENSIONS)
        assert answers(following) == answers(fresh)
        assert fresh.malformed_documents() == frozenset()
        with builder.engine.connect() as connection:
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
            orphans = "SELECT count(*) FROM chunk WHERE document_id NOT IN (SELECT id FROM document WHERE state = 1)"
            assert connection.execute(sa.text(orphans)).scalar() == 0
            chunks = connection.execute(sa.text("SELECT count(*) FROM chunk")).scalar()
        assert len(answers(fresh)[1]) == chunks
        fresh.close()
    following.close()
    builder.close()
