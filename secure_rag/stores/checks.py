"""What every store refuses. A store that accepted it would answer with a wrong ranking or with too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from secure_rag.errors import StoreError
from secure_rag.ports import AccessScope
from secure_rag.stores.matrix import UNIT_TOLERANCE, Floats

if TYPE_CHECKING:
    from secure_rag.ports import Vector


def check_query(vector: Vector, dimensions: int, k: int) -> Floats:
    """The query as contiguous float32.

    Raises:
        StoreError: wrong length, not finite, not of unit length, or `k` below 1.
    """
    if type(k) is not int or k < 1:
        raise StoreError("k must be a positive integer")
    return check_unit(vector, dimensions, "query")


def check_unit(vector: Vector, dimensions: int, what: str) -> Floats:
    """A vector as contiguous float32.

    Raises:
        StoreError: wrong length, not finite or not of unit length (zero included).
    """
    if vector.shape != (dimensions,) or vector.dtype != np.float32:
        raise StoreError(f"a {what} vector must hold {dimensions} float32 numbers")
    with np.errstate(over="ignore", invalid="ignore"):
        square = float(np.dot(vector, vector))
    if not abs(square - 1) <= UNIT_TOLERANCE:
        raise StoreError(f"a {what} vector must be finite and of unit length")
    return np.ascontiguousarray(vector)


def check_scope(scope: AccessScope) -> None:
    """Refuse a scope of another form than compilers make.

    Raises:
        StoreError: the classes are not sorted, unique 64-bit integers.
    """
    classes = scope.classes
    if classes.ndim != 1 or classes.dtype != np.int64 or not bool(np.all(classes[1:] > classes[:-1])):
        raise StoreError("a scope's classes must be sorted, unique 64-bit integers")
