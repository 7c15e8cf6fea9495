from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.stores.qdrant import EXACT_BELOW, QdrantStore
from secure_rag.testing.index_builder import IndexBuilder
from secure_rag.testing.qdrant_edge import EdgeClient
from secure_rag.testing.store_conformance import CHECKS, Check, OpenedStore, OpenStore
from tests.controls import control

HOW_TO_START_ONE = (
    "QDRANT_URL is not set; `docker run -p 6333:6333 qdrant/qdrant`, then QDRANT_URL=http://127.0.0.1:6333"
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]


def _embedded(merge_rows: int) -> OpenStore:
    def open_store(builder: IndexBuilder) -> OpenedStore:
        store = EmbeddedStore(builder.path, builder.engine_id, builder.dimensions, merge_rows=merge_rows)
        return OpenedStore(store, store.refresh, exact=True, plant=None, close=store.close)

    return open_store


def _qdrant(
    client: QdrantClient,
    builder: IndexBuilder,
    collection: str,
    close: Callable[[], None],
    exact_below: int = EXACT_BELOW,
) -> OpenedStore:
    store = QdrantStore(client, collection, builder.engine_id, builder.dimensions, exact_below=exact_below)

    def plant(chunk: int, vector: NDArray[np.float32], payload: Mapping[str, object]) -> None:
        point = models.PointStruct(id=chunk, vector=vector.tolist(), payload=dict(payload))
        upsert = models.UpsertOperation(upsert=models.PointsList(points=[point]))
        client.batch_update_points(collection, [upsert], wait=True, ordering=models.WriteOrdering.STRONG)

    return OpenedStore(
        store, lambda: (store.sync(builder.engine), None)[1], exact=False, plant=plant, close=close
    )


def _local(builder: IndexBuilder) -> OpenedStore:
    client = QdrantClient(":memory:")
    return _qdrant(client, builder, "chunks", client.close)


def _edge(exact_below: int) -> OpenStore:
    def open_store(builder: IndexBuilder) -> OpenedStore:
        edge = EdgeClient(builder.home.root / uuid.uuid4().hex)
        return _qdrant(edge.as_client(), builder, "chunks", edge.close, exact_below)

    return open_store


def _server(builder: IndexBuilder) -> OpenedStore:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip(HOW_TO_START_ONE)
    client, collection = (
        QdrantClient(url=url, api_key=os.environ.get("QDRANT_API_KEY")),
        f"test-{uuid.uuid4()}",
    )

    def close() -> None:
        client.delete_collection(collection)
        client.close()

    return _qdrant(client, builder, collection, close)


STORES: dict[str, OpenStore] = {
    "embedded": _embedded(20_000),
    "embedded-merging": _embedded(10),
    "qdrant-local": _local,
    "qdrant-edge": _edge(EXACT_BELOW),
    "qdrant-edge-graph": _edge(0),
    "qdrant-server": _server,
}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return STORES[request.param]


@control(
    "store:empty-scope",
    "store:scope-only",
    "store:nothing-lost",
    "store:one-engine",
    "store:bad-vectors",
    "store:must-only",
)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Check, tmp_path: Path, open_store: OpenStore) -> None:
    check(tmp_path, open_store)
