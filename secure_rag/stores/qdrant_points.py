"""What a Qdrant point of ours looks like, and how a scope becomes a filter.

Rules, each because its opposite was seen to fail open
- Conditions stand in `must` only: an empty `should` and an empty filter match everything, and `must_not` matches
  points that lack the field.
- Every point carries every field, as a scalar of one exact type; an array would match if any element does.
- No booleans: the engine takes a boolean in a match for the integer 1.
- A filter is never built from an empty set of classes.
- No text is stored; it stays with the control database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qdrant_client import models

from secure_rag.errors import StoreError
from secure_rag.ports import AccessScope
from secure_rag.stores.checks import check_unit
from secure_rag.stores.matrix import Ints

if TYPE_CHECKING:
    from secure_rag.ports import Vector

# Only a keyword index can be marked as the tenant's, which is what keeps one tenant's points together on disk.
INDEXES: Final[Mapping[str, models.KeywordIndexParams | models.IntegerIndexParams]] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "acl_class": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False),
    "live": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False),
    "document": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False),
    "version": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
    "modified_at": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
}
_LIVE = 1


@dataclass(frozen=True, slots=True)
class PointState:
    """What a point says of its chunk."""

    tenant: int
    acl_class: int
    document: int
    version: int
    modified_at: int

    def payload(self) -> dict[str, str | int]:
        """The whole payload of the point.

        Raises:
            StoreError: a value is not a plain integer.
        """
        values: dict[str, str | int] = {
            "tenant": str(self.tenant),
            "acl_class": self.acl_class,
            "live": _LIVE,
            "document": self.document,
            "version": self.version,
            "modified_at": self.modified_at,
        }
        if type(self.tenant) is not int or any(
            type(x) is not int for k, x in values.items() if k != "tenant"
        ):
            raise StoreError("a point's values must be plain integers")
        return values


def read_state(payload: Mapping[str, object] | None) -> PointState | None:
    """The state that a payload holds; None unless every field is there with its exact type, and it is live."""
    if payload is None or set(payload) != set(INDEXES):
        return None
    tenant = payload["tenant"]
    numbers = [payload[x] for x in ("acl_class", "document", "version", "modified_at", "live")]
    integers = [x for x in numbers if type(x) is int]
    if type(tenant) is not str or not tenant.isdecimal() or len(integers) != len(numbers):
        return None
    acl_class, document, version, modified_at, live = integers
    if live != _LIVE:
        return None
    return PointState(int(tenant), acl_class, document, version, modified_at)


def make_point(chunk: int, vector: Vector, state: PointState, dimensions: int) -> models.PointStruct:
    """A point that searches can rely on; engines take NaN, infinite and zero vectors without a word.

    Raises:
        StoreError: a value has a wrong type, or the vector is no unit vector.
    """
    if type(chunk) is not int or chunk < 1:
        raise StoreError("a chunk key must be a positive integer")
    unit = check_unit(vector, dimensions, "stored")
    return models.PointStruct(id=chunk, vector=unit.tolist(), payload=dict(state.payload()))


def scope_filter(scope: AccessScope, classes: Ints) -> models.Filter:
    """The filter for some of a scope's classes.

    Raises:
        StoreError: there are no classes; such a search must not reach the engine.
    """
    if not len(classes):
        raise StoreError("a filter needs at least one class")
    must: list[models.Condition] = [
        _equals("tenant", str(int(scope.tenant))),
        models.FieldCondition(key="acl_class", match=models.MatchAny(any=classes.tolist())),
        _equals("live", _LIVE),
    ]
    if scope.modified_after is not None:
        newer = models.Range(gt=float(scope.modified_after))
        must.append(models.FieldCondition(key="modified_at", range=newer))
    return models.Filter(must=must)


def documents_filter(documents: list[int]) -> models.Filter:
    """Every point of some documents.

    Raises:
        StoreError: there are no documents; an empty filter would match everything.
    """
    if not documents:
        raise StoreError("a filter needs at least one document")
    return models.Filter(must=[models.FieldCondition(key="document", match=models.MatchAny(any=documents))])


def older_filter(document: int, version: int) -> models.Filter:
    """Points of a document's earlier versions."""
    older = models.FieldCondition(key="version", range=models.Range(lt=float(version)))
    return models.Filter(must=[_equals("document", document), older])


def permitted(scope: AccessScope, state: PointState, allowed: frozenset[int]) -> bool:
    """The scope once more in Python, on what the engine says the point is."""
    return (
        state.tenant == int(scope.tenant)
        and state.acl_class in allowed
        and (scope.modified_after is None or state.modified_at > scope.modified_after)
    )


def _equals(key: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
