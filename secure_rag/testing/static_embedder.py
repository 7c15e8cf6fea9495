"""An embedder for tests: no model, no torch, yet similar texts are near."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["HashingEmbedder"]

_DEFAULT: Final = 384
_WORD: Final = re.compile(r"\w+")


class HashingEmbedder:
    """Signed bag of hashed words. Texts that share words are near, whatever their order.

    Not for production: it knows no synonyms, and anyone can compute which words collide.
    """

    def __init__(self, dimensions: int = _DEFAULT) -> None:
        if dimensions < 1:
            raise ValueError("dimensions must be positive")
        self._dimensions = dimensions

    @property
    def engine_id(self) -> str:
        """A name that no real engine has; other dimensions are another engine."""
        return "test-hashing-v1" if self._dimensions == _DEFAULT else f"test-hashing-v1:d{self._dimensions}"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    def embed_document(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one passage."""
        counts = np.zeros(self._dimensions, dtype=np.float64)
        for word in _WORD.findall(text.casefold()):
            digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
            number = int.from_bytes(digest, "big")
            counts[(number >> 1) % self._dimensions] += 1.0 if number & 1 else -1.0
        if not counts.any():
            counts[0] = 1.0  # no words, or words that cancel out: still a unit vector
        return (counts / np.linalg.norm(counts)).astype(np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one query."""
        return self.embed_document(text)
