"""Qdrant as vector store, for installations with a server or a cluster.

Qdrant holds keys and vectors, never text. What it says is a hint like that of the embedded store: a stale class
costs recall, never a leak, because class, version and text of every hit are read from the control database.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import sqlalchemy as sa
from qdrant_client import QdrantClient, models

from secure_rag.errors import StoreError
from secure_rag.model.ids import ChunkKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.checks import check_query, check_scope
from secure_rag.stores.exact import DECIMALS
from secure_rag.stores.qdrant_feed import Feed, Reconciliation
from secure_rag.stores.qdrant_points import INDEXES, permitted, read_state, scope_filter

if TYPE_CHECKING:
    from secure_rag.ports import Vector

EXACT_BELOW: Final = 50_000
"""Points in scope up to which the engine compares all of them. Its graph silently loses answers behind a filter,
and up to about this size is no faster either."""
MAX_CLASSES_PER_FILTER: Final = 10_000
_EF: Final = 256
_SPARE: Final = 16
_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)


class QdrantStore:
    """Implements `secure_rag.ports.VectorStore` on one collection.

    Args:
        client: connected client; how it authenticates and encrypts is the caller's choice.
        collection: its name; created on first use.
        engine_id: engine whose vectors it holds.
        dimensions: length of a vector.
        exact_below: points in scope up to which all of them are compared.

    Raises:
        StoreError: the server cannot be reached, or the collection was made for another engine or by another
            program.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        engine_id: str,
        dimensions: int,
        *,
        exact_below: int = EXACT_BELOW,
    ) -> None:
        self._client = client
        self._collection = collection
        self._engine_id = engine_id
        self._dimensions = dimensions
        self._exact_below = exact_below
        self._feed = Feed(client, collection, engine_id, dimensions)
        _guarded(self._ensure)

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        """At most `k` hits of the scope, best first, ties by chunk key.

        Raises:
            StoreError: the query is not a finite unit vector, or the server failed.
        """
        if not len(scope.classes):
            return []
        check_scope(scope)
        query = check_query(vector, self._dimensions, k).tolist()
        allowed = frozenset(scope.classes.tolist())
        found: list[Hit] = []
        for part in _filters(scope):
            for point in _guarded(functools.partial(self._nearest, part, query, k)):
                state = read_state(point.payload)
                if state is None or not permitted(scope, state, allowed) or type(point.id) is not int:
                    _LOG.warning("a point that the filter should have held back was dropped")
                    continue
                found.append(Hit(ChunkKey(point.id), round(float(point.score), DECIMALS)))
        found.sort(key=lambda hit: (-hit.score, hit.chunk))
        return found[:k]

    def ready(self) -> bool:
        """Whether the collection can be reached, is ours and is not damaged. How far it lags: `lag`."""
        try:
            return _guarded(self._usable)
        except StoreError:
            return False

    def sync(self, engine: sa.Engine) -> int:
        """Bring the collection to the state of the control database; one process per collection does this.

        Returns:
            Changes applied. Safe to repeat after a crash at any point.

        Raises:
            StoreError: server or database failed; what was applied so far is kept.
        """
        return _guarded(lambda: self._feed.sync(engine))

    def lag(self, engine: sa.Engine) -> int:
        """Changes of the control database that the collection has not seen yet, at most.

        Raises:
            StoreError: server or database failed.
        """
        return _guarded(lambda: self._feed.lag(engine))

    def reconcile(self, engine: sa.Engine) -> Reconciliation:
        """Compare every point with the control database, repair what differs and report it.

        Raises:
            StoreError: server or database failed.
        """
        return _guarded(lambda: self._feed.reconcile(engine))

    def malformed_documents(self) -> frozenset[int]:
        """Documents that this process left out, because their stored vectors are missing or no unit vectors."""
        return frozenset(self._feed.malformed)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    # ---- inside `_guarded`

    def _nearest(self, where: models.Filter, query: list[float], k: int) -> list[models.ScoredPoint]:
        """The best k points, and those beyond that tie with the last, so that the tie is broken by chunk key."""
        inside = self._client.count(self._collection, count_filter=where, exact=False).count
        exact, limit = inside <= self._exact_below, k + _SPARE
        while True:
            found = self._client.query_points(
                self._collection,
                query=query,
                query_filter=where,
                limit=limit,
                search_params=_exact_params() if exact else _graph_params(limit),
                with_payload=True,
                with_vectors=False,
            ).points
            if len(found) >= limit:
                if round(found[-1].score, DECIMALS) < round(found[k - 1].score, DECIMALS):
                    return found
                limit *= 4
            elif exact:
                return found
            else:
                # Fewer than asked for although more are in scope: the graph went blind behind the filter.
                exact = True

    def _ensure(self) -> None:
        if not self._client.collection_exists(self._collection):
            self._client.create_collection(
                self._collection,
                # Vectors are of unit length, so the dot product is the cosine, without a second normalisation.
                vectors_config=models.VectorParams(size=self._dimensions, distance=models.Distance.DOT),
            )
        info = self._client.get_collection(self._collection)
        if not self._feed.known(info):
            if info.points_count:
                raise StoreError("the collection was not made by this product")
            # Before the first point: a graph built without these indexes loses most answers behind a filter.
            for field, parameters in INDEXES.items():
                self._client.create_payload_index(self._collection, field, field_schema=parameters, wait=True)
            self._feed.begin()
            info = self._client.get_collection(self._collection)
        if not self._feed.fits(info):
            raise StoreError("the collection holds vectors of another embedding engine")

    def _usable(self) -> bool:
        info = self._client.get_collection(self._collection)
        return info.status != models.CollectionStatus.RED and self._feed.fits(info)


def _filters(scope: AccessScope) -> Iterator[models.Filter]:
    """Very long lists of classes are asked in parts; servers limit the size of a condition."""
    for start in range(0, len(scope.classes), MAX_CLASSES_PER_FILTER):
        yield scope_filter(scope, scope.classes[start : start + MAX_CLASSES_PER_FILTER])


def _exact_params() -> models.SearchParams:
    return models.SearchParams(exact=True)


def _graph_params(limit: int) -> models.SearchParams:
    acorn = models.AcornSearchParams(enable=True, max_selectivity=1.0)
    return models.SearchParams(hnsw_ef=max(_EF, 2 * limit), acorn=acorn)


def _guarded(call: Callable[[], _T]) -> _T:
    """No exception of the client, its transports or the database leaves the store."""
    try:
        return call()
    except StoreError:
        raise
    except Exception as error:
        raise StoreError("the Qdrant store failed") from error
