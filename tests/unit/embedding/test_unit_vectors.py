from __future__ import annotations

import math

import numpy as np
import pytest

from secure_rag.embedding.vectors import unit_vector
from secure_rag.errors import ModelError
from tests.controls import control

GOOD = np.full(4, 0.5, dtype=np.float32)


def test_unit_vector_passes_as_contiguous_float32() -> None:
    checked = unit_vector(np.repeat(GOOD, 2)[::2], 4)
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous
    assert np.array_equal(checked, GOOD)


@control("model:unit-vectors")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_vector_that_is_not_finite_is_refused(bad: float) -> None:
    vector = GOOD.copy()
    vector[2] = bad
    with pytest.raises(ModelError, match="not finite"):
        unit_vector(vector, 4)


@control("model:unit-vectors")
@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (GOOD[:3], "shape"),
        (np.zeros(4, dtype=np.float32), "norm"),
        (GOOD * 2, "norm"),
        (GOOD.reshape(2, 2), "shape"),
    ],
)
def test_vector_of_another_form_is_refused(vector: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        unit_vector(vector, 4)
