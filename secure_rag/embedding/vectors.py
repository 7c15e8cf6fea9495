"""What every engine must return."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from secure_rag.errors import ModelError

__all__ = ["unit_vector"]

_NORM_TOLERANCE: Final = 1e-3


def unit_vector(raw: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Check a model's output: right length, finite, of norm 1.

    Args:
        raw: what the model returned.
        dimensions: the length that it must have.

    Raises:
        ModelError: it is none of that; a vector that is not finite would compare as anything.
    """
    vector = np.ascontiguousarray(raw, dtype=np.float32)
    if vector.shape != (dimensions,):
        raise ModelError(f"the model returned shape {vector.shape}, expected ({dimensions},)")
    if not np.isfinite(vector).all():
        raise ModelError("the model returned a vector that is not finite")
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(norm - 1.0) > _NORM_TOLERANCE:
        raise ModelError(f"the model returned a vector of norm {norm:.4f}, expected 1")
    return vector
