"""Filters that fail open, as the engines behave today. Our rules exist because of these rows.

Where a row changes, a rule may become unnecessary, or a new one necessary: look before changing the number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from qdrant_client import QdrantClient, models

from tests.controls import control

pytestmark = pytest.mark.filterwarnings(
    "ignore:Payload indexes have no effect in the local Qdrant:UserWarning"
)
PAYLOADS: list[dict[str, Any]] = [
    {"acl": 1, "q": True},
    {"acl": 2, "q": False},
    {"acl": [1, 3]},
    {"acl": None},
    {},
]
EVERYTHING = {0, 1, 2, 3, 4}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory: Path = tmp_path_factory.mktemp("shard")
    vectors = edge.EdgeVectorParams(size=2, distance=edge.Distance.Dot)
    made = edge.EdgeShard.create(str(directory), edge.EdgeConfig(vectors=vectors))
    points = [edge.Point(i, [1.0, 0.0], payload) for i, payload in enumerate(PAYLOADS)]
    made.update(edge.UpdateOperation.upsert_points(points))
    return made


def _edge(shard: Any, where: Any) -> set[int]:
    records, _ = shard.scroll(
        edge.ScrollRequest(limit=100, filter=where, with_payload=False, with_vector=False)
    )
    return {record.id for record in records}


def _local(where: models.Filter | None) -> set[Any]:
    client = QdrantClient(":memory:")
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection("c", vectors_config=vectors)
    points = [models.PointStruct(id=i, vector=[1.0, 0.0], payload=x) for i, x in enumerate(PAYLOADS)]
    client.upsert("c", points)
    records, _ = client.scroll("c", scroll_filter=where, limit=100)
    client.close()
    return {record.id for record in records}


def _acl(**match: Any) -> models.FieldCondition:
    return models.FieldCondition(key="acl", **match)


ROWS: list[tuple[str, Any, Any, set[int]]] = [
    ("no filter", None, None, EVERYTHING),
    ("empty filter", edge.Filter(), models.Filter(), EVERYTHING),
    ("empty must", edge.Filter(must=[]), models.Filter(must=[]), EVERYTHING),
    ("empty should", edge.Filter(should=[]), models.Filter(should=[]), EVERYTHING),
    (
        "nested empty filter",
        edge.Filter(must=[edge.Filter()]),
        models.Filter(must=[models.Filter()]),
        EVERYTHING,
    ),
    (
        "must_not matches what lacks the field",
        edge.Filter(must_not=[edge.FieldCondition("acl", match=edge.MatchValue(2))]),
        models.Filter(must_not=[_acl(match=models.MatchValue(value=2))]),
        {0, 2, 3, 4},
    ),
    (
        "an array matches if any element does",
        edge.Filter(must=[edge.FieldCondition("acl", match=edge.MatchAny([1]))]),
        models.Filter(must=[_acl(match=models.MatchAny(any=[1]))]),
        {0, 2},
    ),
    (
        "no values match nothing",
        edge.Filter(must=[edge.FieldCondition("acl", match=edge.MatchAny([]))]),
        models.Filter(must=[_acl(match=models.MatchAny(any=[]))]),
        set(),
    ),
    (
        "an exception of nothing matches what has the field",
        edge.Filter(must=[edge.FieldCondition("acl", match=edge.MatchExcept([]))]),
        models.Filter(must=[_acl(match=models.MatchExcept(**{"except": []}))]),
        {0, 1, 2},
    ),
    (
        "a range matches any element, and floats",
        edge.Filter(must=[edge.FieldCondition("acl", range=edge.RangeFloat(gte=2.5, lte=3.5))]),
        models.Filter(must=[_acl(range=models.Range(gte=2.5, lte=3.5))]),
        {2},
    ),
]


@control("store:must-only")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_both_engines_fail_open_alike(row: tuple[str, Any, Any, set[int]], shard: Any) -> None:
    _, native, wanted, matches = row
    assert _edge(shard, native) == matches
    assert _local(wanted) == matches


@control("store:must-only")
def test_at_least_none_of_some_conditions_matches_everything(shard: Any) -> None:
    condition = edge.FieldCondition("acl", match=edge.MatchValue(2))
    assert _edge(shard, edge.Filter(min_should=edge.MinShould([condition], 0))) == EVERYTHING
    none_of = models.MinShould(conditions=[_acl(match=models.MatchValue(value=2))], min_count=0)
    with pytest.raises(ValueError, match="count"):
        _local(models.Filter(min_should=none_of))


@control("store:must-only")
def test_an_index_changes_what_an_exception_matches(tmp_path: Path) -> None:
    """Why a payload of another type is not written, and no filter of ours excludes."""
    vectors = edge.EdgeVectorParams(size=2, distance=edge.Distance.Dot)
    made = edge.EdgeShard.create(str(tmp_path), edge.EdgeConfig(vectors=vectors))
    points = [edge.Point(0, [1.0, 0.0], {"acl": "1"})]
    made.update(edge.UpdateOperation.upsert_points(points))
    other = edge.Filter(must=[edge.FieldCondition("acl", match=edge.MatchExcept([1]))])
    assert _edge(made, other) == {0}
    made.update(edge.UpdateOperation.create_field_index("acl", edge.PayloadSchemaType.Integer))
    assert _edge(made, other) == set()


@pytest.mark.parametrize("values", [[1, "a"], [1.5], [2**63]], ids=str)
def test_values_of_mixed_or_other_types_are_refused(values: list[Any]) -> None:
    with pytest.raises(TypeError):
        edge.MatchAny(values)


@control("store:must-only")
def test_the_engine_takes_a_boolean_for_an_integer(shard: Any) -> None:
    """Why the product has no boolean in any payload or filter."""
    truth = edge.FieldCondition("q", match=edge.MatchValue(value=True))
    assert _edge(shard, edge.Filter(must=[truth])) == set()
    assert _edge(shard, edge.Filter(must_not=[truth])) == EVERYTHING
