"""Vectors of a contributor's recent documents, for the burst detector."""

from __future__ import annotations

from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from secure_rag.database import tables as t
from secure_rag.model.ids import DocumentKey, SourceKey

_LARGEST: Final = 256
"""Chunks. A longer document is no copy of one claim, and reading many of them would make every write slow."""


def recent_vectors(
    connection: sa.Connection,
    source: SourceKey,
    contributor: str,
    before: DocumentKey,
    window: int,
    dimensions: int,
) -> NDArray[np.float32]:
    """Mean unit vectors of the contributor's documents that were registered last, oldest first; (n, dimensions)."""
    d, v = t.document.c, t.document_vectors.c
    rows = connection.execute(
        sa.select(v.vectors)
        .join(t.document, d.id == v.document_id)
        .where(d.source_id == source, d.contributor == contributor, d.id < before, d.n_chunks <= _LARGEST)
        .order_by(d.id.desc())
        .limit(window)
    ).scalars()
    means = [mean_vector(np.frombuffer(x, dtype="<f4").reshape(-1, dimensions)) for x in rows]
    return np.array(means[::-1], dtype=np.float32).reshape(-1, dimensions)


def mean_vector(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit mean of a document's chunk vectors; zeros for a document without chunks."""
    mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(vectors.shape[1])
    norm = float(np.linalg.norm(mean))
    return np.asarray(mean / norm if norm > 0 else mean, dtype=np.float32)
