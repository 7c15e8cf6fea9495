"""Reads documents and vectors from the control database: all at once, or those changed since a number.

The feed is `document.seq` itself: every change of a document sets it to the incremented counter in the same
transaction, and deleted documents stay as rows. Nothing has to be trimmed; nobody can fall too far behind.
Raw `sqlite3` rather than SQLAlchemy, because this is the one bulk read of the product.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secure_rag.database.engine import BUSY_TIMEOUT_MS
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.stores.matrix import Floats, Ints, Part, Snapshot, empty_part, make_base, unusable_rows

STEP_DOCUMENTS = 200
_STEP_ROWS = 10_000
_LIVE = int(DocumentState.LIVE)
_FLOAT = np.dtype("<f4")

_SPACES = "SELECT tenant_id, engine_id = ? AND dimensions = ? FROM embedding_space"
_HIGHEST = "SELECT coalesce(max(seq), 0) FROM document"
_ALL = (
    "SELECT id, tenant_id, class_id, first_chunk, n_chunks, modified_at FROM document "
    "WHERE state = ? AND n_chunks > 0 ORDER BY tenant_id, class_id, id"
)
_SINCE = (
    "SELECT d.id, d.tenant_id, coalesce(d.class_id, 0), d.state, d.first_chunk, d.n_chunks, d.modified_at, "
    "d.seq, v.vectors FROM document d LEFT JOIN document_vectors v ON v.document_id = d.id AND d.state = ? "
    "WHERE d.seq > ? ORDER BY d.seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A document as it is now. `n_chunks` is 0 for one that must not be found."""

    document: int
    tenant: int
    class_key: int
    first_chunk: int
    n_chunks: int
    modified_at: int
    seq: int
    vectors: bytes | None

    def matrix(self, dimensions: int) -> Floats | None:
        """The vectors, one row a chunk; None unless there is exactly one for each chunk."""
        return as_matrix(self.vectors, self.n_chunks, dimensions)


def as_matrix(stored: bytes | None, rows: int, dimensions: int) -> Floats | None:
    """Stored little-endian float32 vectors; None unless there are exactly `rows` of them."""
    if stored is None or len(stored) != rows * dimensions * _FLOAT.itemsize:
        return None
    return np.frombuffer(stored, _FLOAT).astype(np.float32, copy=False).reshape(rows, dimensions)


class ChangeReader:
    """A connection of its own on the control database, for the vectors of one embedding engine."""

    def __init__(self, path: Path, engine_id: str, dimensions: int) -> None:
        self._path = path
        self._engine_id = engine_id
        self._dimensions = dimensions
        try:
            self._inode = self._identity()
            # `mode=rw` never creates the file; a lock guards every use from more than one thread.
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
            )
            self._connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
            self._connection.execute("PRAGMA query_only=ON").close()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the control database cannot be opened: {path.name}") from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def version(self) -> int:
        """Moves whenever another connection has committed.

        Raises:
            StoreError: the database is not the file that was opened; a restore put another in its place.
        """
        try:
            if self._identity() != self._inode:
                raise StoreError("the control database was replaced by another file")
            row = self._connection.execute("PRAGMA data_version").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise StoreError("the control database cannot be read") from error
        return int(row[0])

    @contextmanager
    def transaction(self) -> Generator[None]:
        """One read snapshot, so that documents and vectors agree.

        Raises:
            StoreError: the database cannot be read.
        """
        try:
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError("the control database cannot be read") from error

    def highest(self) -> int:
        """Sequence number of the latest change."""
        return int(self._connection.execute(_HIGHEST).fetchone()[0])

    def spaces(self) -> dict[int, bool]:
        """Tenants that have vectors, and whether they are of this engine."""
        rows = self._connection.execute(_SPACES, (self._engine_id, self._dimensions)).fetchall()
        return {int(tenant): bool(mine) for tenant, mine in rows}

    def has_older(self, tenants: set[int], seq: int) -> bool:
        """Whether one of the tenants has a live document that did not change since `seq`."""
        statement = "SELECT 1 FROM document WHERE tenant_id = ? AND state = ? AND seq <= ? LIMIT 1"
        return any(
            self._connection.execute(statement, (tenant, _LIVE, seq)).fetchone() is not None
            for tenant in sorted(tenants)
        )

    def since(self, seq: int, mine: set[int]) -> list[Change]:
        """Changes after `seq` in order: a bounded step, by documents and by rows."""
        found: list[Change] = []
        rows = 0
        cursor = self._connection.execute(_SINCE, (_LIVE, seq, STEP_DOCUMENTS))
        for key, tenant, cls, state, first, n, modified, at, vectors in cursor:
            searchable = n if state == _LIVE and tenant in mine else 0
            found.append(Change(key, tenant, cls, first, searchable, modified, at, vectors))
            rows += searchable
            if rows >= _STEP_ROWS:
                break
        cursor.close()
        return found

    def load(self) -> Snapshot:
        """Everything, as one sorted base.

        Raises:
            StoreError: the database cannot be read.
        """
        with self.transaction():
            spaces, seq = self.spaces(), self.highest()
            rows = [row for row in self._connection.execute(_ALL, (_LIVE,)) if spaces.get(row[1], False)]
            table = np.array(rows, np.int64).reshape(-1, 6)
            del rows
            lengths = table[:, 4]
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
            vectors, present = self._vectors(table[:, 0], offsets)
        keys, tenants, classes, first_chunks, _, modified = (np.ascontiguousarray(x) for x in table.T)
        part = Part(
            vectors,
            keys,
            tenants,
            classes,
            first_chunks,
            modified,
            offsets,
            _unusable(vectors, offsets, present),
        )
        malformed = frozenset(part.keys[part.dead].tolist())
        return Snapshot(make_base(part), empty_part(self._dimensions), seq, spaces, malformed)

    def _vectors(self, keys: Ints, offsets: Ints) -> tuple[Floats, Ints]:
        """Vectors in document order, and whether each document had exactly its own."""
        vectors = np.empty((int(offsets[-1]), self._dimensions), np.float32)
        present = np.zeros(len(keys), np.int64)
        where = {key: i for i, key in enumerate(keys.tolist())}
        starts = offsets.tolist()
        for key, stored in self._connection.execute("SELECT document_id, vectors FROM document_vectors"):
            i = where.get(key)
            if i is None:
                continue
            found = as_matrix(stored, starts[i + 1] - starts[i], self._dimensions)
            if found is not None:
                vectors[starts[i] : starts[i + 1]] = found
                present[i] = 1
        return vectors, present

    def _identity(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_dev, status.st_ino


def _unusable(vectors: Floats, offsets: Ints, present: Ints) -> Ints:
    """Sorted positions of documents whose vectors are missing or no unit vectors."""
    rows = unusable_rows(vectors)
    at = np.searchsorted(offsets, rows, "right") - 1
    return np.union1d(at, np.flatnonzero(present == 0)).astype(np.int64)
