"""The default store: exact search in this process over the vectors of the control database.

The database is the truth; the matrix in memory is a hint that a follower thread keeps milliseconds behind.
Several processes may serve while one writes; each keeps its own matrix. Up to about a million chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secure_rag.errors import StoreError
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores import exact
from secure_rag.stores.checks import check_query, check_scope
from secure_rag.stores.follower import Follower

if TYPE_CHECKING:
    from secure_rag.ports import Vector

MERGE_ROWS = 20_000
MAX_LAG_S = 5.0

# One search at a time: BLAS calls of two threads hand the interpreter lock back and forth, and both get
# slower. Scale by processes.
_SEARCHING = threading.Lock()


class EmbeddedStore:
    """Implements `secure_rag.ports.VectorStore` on a control database.

    Args:
        database_path: the control database; it is only read.
        engine_id: only tenants whose vectors are of this engine are loaded.
        dimensions: length of a vector.
        merge_rows: changed rows after which the matrix is sorted anew in the background.

    Raises:
        StoreError: the database cannot be read.
    """

    def __init__(
        self, database_path: Path, engine_id: str, dimensions: int, *, merge_rows: int = MERGE_ROWS
    ) -> None:
        self._dimensions = dimensions
        self._follower = Follower(database_path, engine_id, dimensions, merge_rows)

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        """At most `k` hits of the scope, best first, ties by chunk key; scores are rounded cosines.

        Raises:
            StoreError: the query is not a finite unit vector, the tenant's vectors are of another engine, or
                the matrix no longer follows the database.
        """
        if not len(scope.classes):
            return []
        check_scope(scope)
        query = check_query(vector, self._dimensions, k)
        snapshot = self._follower.snapshot
        mine = snapshot.spaces.get(int(scope.tenant))
        if mine is None:
            return []
        if not mine:
            raise StoreError("the tenant's vectors are of another embedding engine")
        with _SEARCHING:
            return exact.search(snapshot, scope, query, k)

    def ready(self) -> bool:
        """Whether the vectors are loaded and the follower is alive and not far behind."""
        try:
            return self._follower.lag() < MAX_LAG_S
        except StoreError:
            return False

    def wait_for(self, seq: int, timeout: float) -> bool:
        """Wait until the change with this `document.seq` can be found; whether that was so in time (seconds).

        Raises:
            StoreError: the matrix no longer follows the database.
        """
        return self._follower.wait_for(seq, timeout)

    def refresh(self) -> None:
        """Apply every committed change before returning.

        Raises:
            StoreError: the database cannot be read.
        """
        self._follower.refresh()

    def compact(self) -> None:
        """Sort the matrix anew before returning, which otherwise happens in the background.

        Raises:
            StoreError: the database cannot be read.
        """
        self._follower.compact()

    def memory_bytes(self) -> int:
        """Bytes held by the matrix.

        Raises:
            StoreError: the matrix no longer follows the database.
        """
        return self._follower.snapshot.nbytes

    def malformed_documents(self) -> frozenset[int]:
        """Live documents that are never found, because their stored vectors are missing or no unit vectors.

        Raises:
            StoreError: the matrix no longer follows the database.
        """
        return self._follower.snapshot.malformed

    def close(self) -> None:
        """Stop following and release the database."""
        self._follower.close()
