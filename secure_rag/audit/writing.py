"""The one chain of one writer, and the connection it is written through. Used by a single thread.

Invariants:
    * The head in memory moves only after a commit; a failed one leaves the chain where it was.
    * After a failed commit the file is asked what really happened before anything else is written.
    * Nothing is written once the file that was opened is no longer the file at that path.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from secure_rag.audit.events import Entry, Head, StoredRow, chained
from secure_rag.audit.records import WriterRow, insert_checkpoints, signed_checkpoint
from secure_rag.audit.schema import transaction
from secure_rag.audit.signing import Signer
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.ports import Clock

Connect = Callable[[Path, int], sqlite3.Connection]
"""Opens the audit file with a busy timeout in milliseconds."""

_PROBE_BYTES: Final = 16_384
_INSERT: Final = (
    "INSERT INTO event(writer_id, n, at, tenant, kind, event_id, body, prev_hash, hash) VALUES"
    " (CAST(? AS TEXT), ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)"
)


class ChainWriter:
    """Appends to a fresh chain. Its writer row is written with its first event, so idle runs leave no trace."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, signer: Signer, clock: Clock, version: str
    ) -> None:
        self._path = path
        self._connection = connection
        self._signer = signer
        self._clock = clock
        self._writer = _new_writer(signer, clock.now(), version)
        self._head = self._writer.genesis
        self._signed = self._head
        self._registered = False
        self._attempted: list[StoredRow] | None = None
        self._refused = False
        self._identity = self._file_identity()

    @property
    def writer_id(self) -> str:
        """The random id of this run."""
        return self._writer.id.decode()

    def append(self, entries: Sequence[Entry], checkpoint_every: int) -> list[UnavailableError | None]:
        """Commit a group of events at once.

        Returns:
            For each entry `None`, or why this one alone could not be recorded.

        Raises:
            sqlite3.Error: nothing of the group was recorded, as far as SQLite could say.
            UnavailableError: nothing may be written any more.
        """
        self._before_write()
        rows: list[StoredRow] = []
        outcomes: list[UnavailableError | None] = []
        self._attempted = rows
        with transaction(self._connection):
            self._register()
            head = self._head
            for item in entries:
                row = chained(item, self.writer_id, head)
                if self._insert(row):
                    rows.append(row)
                    head = Head(row.n, row.hash)
                    outcomes.append(None)
                else:
                    outcomes.append(UnavailableError("this event id is in the audit log already"))
            signs = head.n - self._signed.n >= checkpoint_every
            if signs:
                self._insert_checkpoint(head, final=False)
        self._committed(head, signed=signs)
        return outcomes

    def seal(self) -> None:
        """Sign the end of the chain as its end.

        Raises:
            sqlite3.Error: it could not be written.
            UnavailableError: nothing may be written any more.
        """
        self._before_write()
        if self._head.n == 0:
            return
        with transaction(self._connection):
            self._insert_checkpoint(self._head, final=True)

    def probe(self) -> None:
        """Write something as large as an event, durably, and take it away again.

        The pages it frees are the room that the next event needs, so a probe that passes tells the truth.

        Raises:
            sqlite3.Error: it could not be written.
            UnavailableError: nothing may be written any more.
        """
        self._before_write()
        with transaction(self._connection):
            self._connection.execute(
                "INSERT OR REPLACE INTO probe(id, filler) VALUES (1, zeroblob(?))", (_PROBE_BYTES,)
            )
        with transaction(self._connection):
            self._connection.execute("DELETE FROM probe")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _register(self) -> None:
        if not self._registered:
            row = self._writer
            self._connection.execute(
                "INSERT INTO writer(id, started, version, key, signature) VALUES"
                " (CAST(? AS TEXT), ?, CAST(? AS TEXT), CAST(? AS TEXT), ?) ON CONFLICT (id) DO NOTHING",
                (row.id, row.started, row.version, row.key, row.signature),
            )

    def _insert(self, row: StoredRow) -> bool:
        values = (
            row.writer, row.n, row.at, row.tenant, row.kind, row.event_id, row.body, row.prev_hash, row.hash
        )  # fmt: skip
        try:
            self._connection.execute(_INSERT, values)
        except sqlite3.IntegrityError:
            known = self._connection.execute(
                "SELECT 1 FROM event WHERE event_id = CAST(? AS TEXT)", (row.event_id,)
            ).fetchone()
            if known is None:
                # Somebody else's row stands at our next place; `_reconcile` will find it.
                raise
            return False
        return True

    def _insert_checkpoint(self, head: Head, *, final: bool) -> None:
        row = signed_checkpoint(self._signer, self._writer.id, head, self._clock.now(), final=final)
        insert_checkpoints(self._connection, [row])

    def _committed(self, head: Head, *, signed: bool) -> None:
        self._attempted = None
        self._registered = self._registered or head.n > 0
        self._head = head
        if signed:
            self._signed = head

    def _before_write(self) -> None:
        if self._file_identity() != self._identity:
            raise UnavailableError("the audit log was moved or replaced while it was open")
        if self._attempted is not None:
            self._reconcile(self._attempted)
        if self._refused:
            raise UnavailableError("the audit chain of this process was written by somebody else")

    def _reconcile(self, attempted: Sequence[StoredRow]) -> None:
        """Adopt what a commit that reported an error wrote after all: all of it or none."""
        found = self._connection.execute(
            "SELECT n, hash FROM event WHERE writer_id = CAST(? AS TEXT) AND n > ? ORDER BY n",
            (self._writer.id, self._head.n),
        ).fetchall()
        if not found:
            self._attempted = None
        elif found == [(row.n, row.hash) for row in attempted]:
            self._committed(Head(*found[-1]), signed=False)
        else:
            self._refused = True

    def _file_identity(self) -> tuple[tuple[int, int], ...]:
        # A file that was unlinked or renamed takes writes and fsyncs without complaint, and nobody finds them.
        try:
            stats = [os.stat(self._path), os.stat(f"{self._path}-wal")]  # noqa: PTH116 - pathlib would build two objects per batch
        except OSError as exc:
            raise UnavailableError("the audit log is gone from its place") from exc
        return tuple((found.st_dev, found.st_ino) for found in stats)


def _new_writer(signer: Signer, started: Micros, version: str) -> WriterRow:
    unsigned = WriterRow(
        id=secrets.token_hex(16).encode(),
        started=started,
        version=version.encode(),
        key=signer.public_key.fingerprint.encode(),
        signature=b"",
    )
    return WriterRow(
        unsigned.id, unsigned.started, unsigned.version, unsigned.key, signer.sign(unsigned.message)
    )
