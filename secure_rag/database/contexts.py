"""Which side of the trust boundary a conversation is on. Own file: a query must not wait for an ingest transaction."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path

from secure_rag.database.engine import private_file
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS context("
    "digest BLOB PRIMARY KEY, side TEXT NOT NULL, expires INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    # Callers choose how many contexts there are; without it every claim would look at all of them.
    "CREATE INDEX IF NOT EXISTS context_expires ON context(expires)",
)


class ContextLedger:
    """Remembers, per context, what was delivered first. Entries hold a keyed digest, never the caller's id."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout = busy_timeout_s
        private_file(path)
        with self._connection() as connection:
            for statement in _SCHEMA:
                connection.execute(statement)

    def side(self, digest: bytes, now: Micros) -> str | None:
        """Side that a context is on; None when it is new or expired.

        Raises:
            UnavailableError: the ledger cannot be read.
        """
        with self._connection() as connection:
            row = connection.execute(
                "SELECT side FROM context WHERE digest = ? AND expires > ?", (digest, now)
            ).fetchone()
            return None if row is None else str(row[0])

    def claim(self, digest: bytes, expected: str | None, side: str, now: Micros, expires: Micros) -> bool:
        """Put a context on a side if it is still where the caller saw it; false when somebody was faster.

        Raises:
            UnavailableError: the ledger cannot be written.
        """
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM context WHERE expires <= ?", (now,))
            row = connection.execute("SELECT side FROM context WHERE digest = ?", (digest,)).fetchone()
            current = None if row is None else str(row[0])
            if current == expected:
                connection.execute(
                    "INSERT INTO context VALUES (?, ?, ?) "
                    "ON CONFLICT (digest) DO UPDATE SET side = excluded.side, expires = excluded.expires",
                    (digest, side, expires),
                )
            connection.execute("COMMIT")
            return current == expected

    @contextlib.contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        try:
            with contextlib.closing(
                sqlite3.connect(self._path, self._timeout, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
        except sqlite3.Error as error:
            raise UnavailableError("the context ledger cannot be used") from error
