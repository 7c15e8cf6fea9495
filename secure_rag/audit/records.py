"""The signed rows beside the events: writers, checkpoints, cuts and exports, and how they are read.

Each says what its signature covers. Text stays bytes, so that a tampered row is named instead of raising.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secure_rag.audit.events import Head, frame, writer_message
from secure_rag.audit.signing import Signer
from secure_rag.model.ids import Micros

_CHECKPOINT_TAG: Final = b"secure-rag audit checkpoint v1"
_PRUNED_TAG: Final = b"secure-rag audit pruned v1"
_EXPORT_TAG: Final = b"secure-rag audit export v1"


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One writer: one run of one process, with its own chain."""

    id: bytes
    started: int
    version: bytes
    key: bytes
    signature: bytes

    @property
    def message(self) -> bytes:
        """What the signature covers."""
        return writer_message(self.id, self.started, self.version, self.key)

    @property
    def genesis(self) -> Head:
        """What event 1 follows."""
        return Head(0, hashlib.sha256(self.message).digest())


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A signed place in a chain. A final one says that its writer ended there."""

    writer: bytes
    n: int
    hash: bytes
    at: int
    final: int
    signature: bytes

    @property
    def message(self) -> bytes:
        """What the signature covers."""
        return frame(_CHECKPOINT_TAG, self.writer, self.n, self.hash, self.at, self.final)


@dataclass(frozen=True, slots=True)
class PrunedRow:
    """A signed cut: events 1..n of the chain were older than `before` and were deleted; n had this hash."""

    writer: bytes
    n: int
    hash: bytes
    before: int
    at: int
    signature: bytes

    @property
    def message(self) -> bytes:
        """What the signature covers."""
        return frame(_PRUNED_TAG, self.writer, self.n, self.hash, self.before, self.at)


@dataclass(frozen=True, slots=True)
class ExportRow:
    """The record of one export. `previous` is the digest of the export before it."""

    sequence: int
    at: int
    previous: bytes
    heads_digest: bytes
    signature: bytes

    @property
    def message(self) -> bytes:
        """What the signature covers; the heads through their digest."""
        return frame(_EXPORT_TAG, self.sequence, self.at, self.previous, self.heads_digest)

    @property
    def digest(self) -> bytes:
        """What the next export names as its previous one."""
        return hashlib.sha256(self.message).digest()


def signed_checkpoint(signer: Signer, writer: bytes, head: Head, at: Micros, *, final: bool) -> CheckpointRow:
    """Sign a place in a chain."""
    row = CheckpointRow(writer, head.n, head.hash, at, int(final), b"")
    return CheckpointRow(writer, head.n, head.hash, at, int(final), signer.sign(row.message))


def signed_pruned(signer: Signer, writer: bytes, head: Head, before: Micros, at: Micros) -> PrunedRow:
    """Sign a cut."""
    row = PrunedRow(writer, head.n, head.hash, before, at, b"")
    return PrunedRow(writer, head.n, head.hash, before, at, signer.sign(row.message))


def insert_checkpoints(connection: sqlite3.Connection, rows: Sequence[CheckpointRow]) -> None:
    """Store signed places. A place that is signed already keeps its first signature."""
    connection.executemany(
        "INSERT INTO checkpoint(writer_id, n, hash, at, final, signature)"
        " VALUES (CAST(? AS TEXT), ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(row.writer, row.n, row.hash, row.at, row.final, row.signature) for row in rows],
    )


def writers_of(connection: sqlite3.Connection) -> Iterator[WriterRow]:
    """Every writer, by id."""
    for row in connection.execute("SELECT id, started, version, key, signature FROM writer ORDER BY id"):
        yield WriterRow(*row)


def pruned_of(connection: sqlite3.Connection, writer: bytes) -> PrunedRow | None:
    """The cut of a chain, if there is one."""
    row = connection.execute(
        "SELECT writer_id, n, hash, before, at, signature FROM pruned WHERE writer_id = CAST(? AS TEXT)",
        (writer,),
    ).fetchone()
    return None if row is None else PrunedRow(*row)


def checkpoints_of(
    connection: sqlite3.Connection, writer: bytes, first: int = -(2**63), last: int = 2**63 - 1
) -> Iterator[CheckpointRow]:
    """The signed places of a chain, in order, or those from one number to another."""
    cursor = connection.execute(
        "SELECT writer_id, n, hash, at, final, signature FROM checkpoint"
        " WHERE writer_id = CAST(? AS TEXT) AND n BETWEEN ? AND ? ORDER BY n, final",
        (writer, first, last),
    )
    for row in cursor:
        yield CheckpointRow(*row)


def exports_of(connection: sqlite3.Connection, newest_first: bool = False) -> Iterator[ExportRow]:
    """The records of all exports."""
    order = "DESC" if newest_first else "ASC"
    cursor = connection.execute(
        f"SELECT sequence, at, previous, heads_digest, signature FROM export ORDER BY sequence {order}"  # noqa: S608 - one of two constants
    )
    for row in cursor:
        yield ExportRow(*row)
