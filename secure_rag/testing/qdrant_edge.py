"""The real Qdrant engine in this process, behind the few client calls that `QdrantStore` makes. Tests only.

It shows that our filters mean the same to the engine as to the client's pure-Python imitation. Never serve from
it: every call holds the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import qdrant_edge as edge
from qdrant_client import QdrantClient, models
from qdrant_client.http.models import QueryResponse


class EdgeClient:
    """One shard as one collection.

    Methods have the names, and the parameters that `QdrantStore` passes, of `qdrant_client.QdrantClient`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shard: Any = None
        self._config: models.CollectionConfig | None = None
        self._metadata: dict[str, Any] = {}

    def as_client(self) -> QdrantClient:
        """For `QdrantStore`, which is typed for the real client."""
        return cast("QdrantClient", self)

    def close(self) -> None:
        """Close the shard."""
        if self._shard is not None:
            self._shard.close()

    def optimize(self) -> None:
        """Build the graph; until then the engine compares every point."""
        self._shard.optimize()

    # ---- collections

    def collection_exists(self, _collection: str) -> bool:
        """Whether the shard was created."""
        return self._shard is not None

    def create_collection(self, _collection: str, vectors_config: models.VectorParams) -> bool:
        """Create the shard."""
        vectors = edge.EdgeVectorParams(size=vectors_config.size, distance=edge.Distance.Dot)
        self._directory.mkdir()
        self._shard = edge.EdgeShard.create(str(self._directory), edge.EdgeConfig(vectors=vectors))
        return True

    def create_payload_index(self, _collection: str, field_name: str, **options: object) -> None:
        """Create an index."""
        wanted = options["field_schema"]
        if isinstance(wanted, models.KeywordIndexParams):
            self._index(field_name, edge.KeywordIndexParams(is_tenant=wanted.is_tenant))
        elif isinstance(wanted, models.IntegerIndexParams):
            self._index(field_name, edge.IntegerIndexParams(lookup=wanted.lookup, range=wanted.range))
        else:
            raise TypeError("no such index here")

    def _index(self, field: str, schema: edge.KeywordIndexParams | edge.IntegerIndexParams) -> None:
        self._shard.update(edge.UpdateOperation.create_field_index(field, schema))

    def update_collection(self, _collection: str, metadata: dict[str, Any]) -> bool:
        """Keep metadata, as the server does."""
        self._metadata.update(metadata)
        return True

    def get_collection(self, _collection: str) -> models.CollectionInfo:
        """Size, metadata and index names."""
        params = models.CollectionParams(vectors=models.VectorParams(size=1, distance=models.Distance.DOT))
        return models.CollectionInfo.model_construct(
            status=models.CollectionStatus.GREEN,
            points_count=self._shard.info().points_count,
            config=models.CollectionConfig.model_construct(params=params, metadata=dict(self._metadata)),
        )

    # ---- points

    def batch_update_points(
        self, _collection: str, update_operations: Sequence[models.UpdateOperation], **_options: object
    ) -> None:
        """Apply operations in order."""
        for operation in update_operations:
            self._shard.update(_operation(operation))

    def count(self, _collection: str, count_filter: models.Filter | None = None, *, exact: bool) -> Any:  # noqa: ANN401 -- mirrors the client's answer
        """Number of points that match."""
        wanted = edge.CountRequest(filter=_filter(count_filter), exact=exact)
        return models.CountResult(count=self._shard.count(wanted))

    def query_points(
        self,
        _collection: str,
        *,
        query: list[float],
        query_filter: models.Filter,
        limit: int,
        search_params: models.SearchParams,
        with_payload: bool,
        with_vectors: bool,
    ) -> QueryResponse:
        """Nearest points."""
        acorn = search_params.acorn
        parameters = edge.SearchParams(
            exact=bool(search_params.exact),
            hnsw_ef=search_params.hnsw_ef,
            acorn=None
            if acorn is None
            else edge.AcornSearchParams(enable=bool(acorn.enable), max_selectivity=acorn.max_selectivity),
        )
        request = edge.QueryRequest(
            limit=limit,
            query=edge.Query.Nearest(query),
            filter=_filter(query_filter),
            params=parameters,
            with_payload=with_payload,
            with_vector=with_vectors,
        )
        return QueryResponse(
            points=[
                models.ScoredPoint(id=x.id, version=x.version, score=x.score, payload=x.payload)
                for x in self._shard.query(request)
            ]
        )

    def retrieve(
        self, _collection: str, ids: list[int], *, with_payload: bool, with_vectors: bool
    ) -> list[models.Record]:
        """Points by id; unknown ones are left out."""
        found = self._shard.retrieve(ids, with_payload, with_vectors)
        return [models.Record(id=x.id, payload=x.payload) for x in found]

    def scroll(
        self, _collection: str, *, limit: int, offset: int | None, with_payload: bool, with_vectors: bool
    ) -> tuple[list[models.Record], int | None]:
        """Points in the order of their ids."""
        request = edge.ScrollRequest(
            limit=limit, offset=offset, with_payload=with_payload, with_vector=with_vectors
        )
        records, following = self._shard.scroll(request)
        return [models.Record(id=x.id, payload=x.payload) for x in records], following


def _operation(operation: models.UpdateOperation) -> Any:  # noqa: ANN401 -- the engine's own type, built natively
    if isinstance(operation, models.UpsertOperation) and isinstance(operation.upsert, models.PointsList):
        points = [edge.Point(x.id, cast("list[float]", x.vector), x.payload) for x in operation.upsert.points]
        return edge.UpdateOperation.upsert_points(points)
    if isinstance(operation, models.OverwritePayloadOperation):
        change = operation.overwrite_payload
        return edge.UpdateOperation.overwrite_payload(change.points or [], change.payload)
    if isinstance(operation, models.DeleteOperation):
        chosen = operation.delete
        if isinstance(chosen, models.PointIdsList):
            return edge.UpdateOperation.delete_points(chosen.points)
        return edge.UpdateOperation.delete_points_by_filter(_filter(chosen.filter))
    raise TypeError("no such operation here")


def _filter(wanted: models.Filter | None) -> Any:  # noqa: ANN401 -- the engine's own type, built natively
    """Our filters only: `must`, with an exact value, a list of values, or a range of numbers."""
    if wanted is None:
        return None
    if wanted.should or wanted.must_not or wanted.min_should or not isinstance(wanted.must, list):
        raise TypeError("only `must` is converted")
    return edge.Filter(must=[_condition(x) for x in wanted.must])


def _condition(condition: models.Condition) -> Any:  # noqa: ANN401 -- the engine's own type, built natively
    if not isinstance(condition, models.FieldCondition):
        raise TypeError("only conditions on a field are converted")
    match, limits = condition.match, condition.range
    if isinstance(match, models.MatchValue):
        if type(match.value) is bool:
            raise TypeError("the engine would read a boolean as the integer 1")
        return edge.FieldCondition(condition.key, match=edge.MatchValue(match.value))
    if isinstance(match, models.MatchAny):
        return edge.FieldCondition(condition.key, match=edge.MatchAny(cast("list[int]", list(match.any))))
    if isinstance(limits, models.Range):
        numbers = edge.RangeFloat(gte=limits.gte, gt=limits.gt, lte=limits.lte, lt=limits.lt)
        return edge.FieldCondition(condition.key, range=numbers)
    raise TypeError("no such condition here")
