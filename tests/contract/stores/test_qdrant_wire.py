"""What `QdrantStore` sends over the wire, seen by a loopback server that plays one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from qdrant_client import QdrantClient

from secure_rag.ports import AccessScope
from secure_rag.stores.qdrant import QdrantStore
from secure_rag.testing.index_builder import ENGINE_ID, START, IndexBuilder, unit_vectors
from tests.controls import control

DIMENSIONS = 8
WORDS = "the words of the passage"
Request = tuple[str, str, dict[str, list[str]], Any]


class PlayedServer(ThreadingHTTPServer):
    """Remembers requests, and answers like an empty server whose searches find one point."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.metadata: dict[str, Any] = {}
        self.exists = False
        self.inside = 10
        self.hits: list[dict[str, Any]] = []

    def answer(self, method: str, path: str, body: Any) -> Any:
        if path.endswith("/exists"):
            return {"exists": self.exists}
        if path.endswith("/points/count"):
            return {"count": self.inside}
        if path.endswith("/points/query"):
            return {"points": self.hits[: body["limit"]]}
        if path.endswith("/points/batch"):
            return [{"operation_id": 1, "status": "completed"} for _ in body["operations"]]
        if path.endswith("/points"):
            return []
        if path.endswith("/index"):
            return {"operation_id": 1, "status": "completed"}
        if method == "GET":
            return self._info()
        self.exists = True
        self.metadata.update((body or {}).get("metadata") or {})
        return True

    def _info(self) -> dict[str, Any]:
        return {
            "status": "green",
            "optimizer_status": "ok",
            "points_count": 0,
            "segments_count": 1,
            "payload_schema": {},
            "config": {
                "params": {"vectors": {"size": DIMENSIONS, "distance": "Dot"}},
                "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000},
                "optimizer_config": {
                    "deleted_threshold": 0.2,
                    "vacuum_min_vector_number": 1_000,
                    "default_segment_number": 0,
                    "flush_interval_sec": 5,
                },
                "metadata": self.metadata,
            },
        }


class _Handler(BaseHTTPRequestHandler):
    def _serve(self) -> None:
        server = self.server
        assert isinstance(server, PlayedServer)
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        url = urlsplit(self.path)
        server.requests.append((self.command, url.path, parse_qs(url.query), body))
        answer = json.dumps(
            {"result": server.answer(self.command, url.path, body), "status": "ok", "time": 0.0}
        )
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 -- names that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[PlayedServer]:
    with PlayedServer() as played:
        thread = threading.Thread(target=played.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield played
        played.shutdown()
        thread.join()


@pytest.fixture
def store(server: PlayedServer) -> Iterator[QdrantStore]:
    client = QdrantClient(url=f"http://127.0.0.1:{server.server_port}", check_compatibility=False)
    opened = QdrantStore(client, "chunks", ENGINE_ID, DIMENSIONS, exact_below=100)
    yield opened
    opened.close()


def _sent(server: PlayedServer, ending: str) -> list[Request]:
    return [x for x in server.requests if x[1].endswith(ending)]


def test_indexes_come_before_the_mark_and_the_first_point(server: PlayedServer, store: QdrantStore) -> None:
    assert store.ready()
    steps = [(method, path.rsplit("/", 1)[-1]) for method, path, _, _ in server.requests]
    indexes = [i for i, step in enumerate(steps) if step == ("PUT", "index")]
    assert len(indexes) == 6
    assert steps.index(("PATCH", "chunks")) > max(indexes) > min(indexes) > steps.index(("PUT", "chunks"))
    fields = {x[3]["field_name"]: x[3]["field_schema"] for x in _sent(server, "/index")}
    assert fields["tenant"] == {"type": "keyword", "is_tenant": True}
    assert fields["acl_class"] == {"type": "integer", "lookup": True, "range": False}
    assert server.metadata == {"secure_rag": {"engine_id": ENGINE_ID, "dimensions": DIMENSIONS, "seq": 0}}


@control("store:no-text-outside")
def test_changes_are_strongly_ordered_waited_for_and_without_text(
    server: PlayedServer, store: QdrantStore, tmp_path: Path
) -> None:
    builder = IndexBuilder(tmp_path / "home", dimensions=DIMENSIONS)
    source = builder.source(builder.tenant())
    cls, random = builder.acl_class(source), np.random.default_rng(0)
    keys = [
        builder.document(source, cls, unit_vectors(random, 2, DIMENSIONS), texts=[WORDS, WORDS])
        for _ in range(3)
    ]
    builder.delete(keys[:1])
    assert store.sync(builder.engine) == 3
    assert server.metadata["secure_rag"]["seq"] == builder.seq()
    batches = _sent(server, "/points/batch")
    assert len(batches) == 2
    assert all(query == {"wait": ["true"], "ordering": ["strong"]} for _, _, query, _ in batches)
    withdrawn, added = (body["operations"] for _, _, _, body in batches)
    assert all(set(x) == {"delete"} for x in withdrawn)
    assert withdrawn[0]["delete"]["filter"] == {"must": [{"key": "document", "match": {"any": keys[:1]}}]}
    assert [len(x["upsert"]["points"]) for x in added] == [4]
    assert WORDS not in json.dumps([x[3] for x in server.requests])
    builder.close()


@control("store:must-only")
def test_a_search_sends_a_typed_must_filter_and_chooses_exactness_itself(
    server: PlayedServer, store: QdrantStore
) -> None:
    scope = AccessScope(7, np.array([3, 5], np.int64), START)  # type: ignore[arg-type]  # a plain key will do
    query = unit_vectors(np.random.default_rng(0), 1, DIMENSIONS)[0]
    assert store.search(scope, query, 10) == []
    must = [
        {"key": "tenant", "match": {"value": "7"}},
        {"key": "acl_class", "match": {"any": [3, 5]}},
        {"key": "live", "match": {"value": 1}},
        {"key": "modified_at", "range": {"gt": float(START)}},
    ]
    (count,) = _sent(server, "/points/count")
    assert count[3] == {"filter": {"must": must}, "exact": False}
    (sent,) = _sent(server, "/points/query")
    assert sent[3]["filter"] == {"must": must}
    assert sent[3]["params"] == {"exact": True}
    # Many points in scope: the graph, widened; it comes back short, so all points are compared after all.
    server.inside = 1_000
    assert store.search(scope, query, 10) == []
    graph, fallback = _sent(server, "/points/query")[1:]
    assert graph[3]["params"]["hnsw_ef"] >= 256
    assert graph[3]["params"]["acorn"] == {"enable": True, "max_selectivity": 1.0}
    assert fallback[3]["params"] == {"exact": True}


def test_ties_beyond_the_cut_are_fetched_to_be_broken_by_key(
    server: PlayedServer, store: QdrantStore
) -> None:
    payload = {"tenant": "7", "acl_class": 3, "live": 1, "document": 1, "version": 1, "modified_at": START}
    server.hits = [
        {"id": i, "version": 1, "score": 0.5 + (i < 3) * 1e-9 if i > 1 else 0.1, "payload": payload}
        for i in range(300, 0, -1)
    ]
    scope = AccessScope(7, np.array([3], np.int64))  # type: ignore[arg-type]  # a plain key will do
    query = unit_vectors(np.random.default_rng(0), 1, DIMENSIONS)[0]
    assert [hit.chunk for hit in store.search(scope, query, 4)] == [2, 3, 4, 5]
    assert [x[3]["limit"] for x in _sent(server, "/points/query")] == [20, 80, 320]


@control("store:empty-scope")
def test_an_empty_scope_sends_nothing(server: PlayedServer, store: QdrantStore) -> None:
    before = len(server.requests)
    query = unit_vectors(np.random.default_rng(0), 1, DIMENSIONS)[0]
    assert store.search(AccessScope(7, np.empty(0, np.int64)), query, 10) == []  # type: ignore[arg-type]  # a plain key will do
    assert len(server.requests) == before
