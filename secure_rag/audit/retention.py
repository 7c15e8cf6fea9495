"""Deletes what is older than the retention period, and leaves a signed note of where each chain now starts.

A prefix of each chain goes, never a single row out of its middle. The cut is signed in the transaction that
deletes, so that a chain shortened by anybody else is found. Rows are walked before they go: an altered prefix
stays, with its evidence, and is reported.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from secure_rag.audit.chains import ChainWalk, Problem, ProblemKind, rows_of
from secure_rag.audit.events import Head
from secure_rag.audit.records import (
    CheckpointRow,
    PrunedRow,
    WriterRow,
    checkpoints_of,
    pruned_of,
    signed_pruned,
    writers_of,
)
from secure_rag.audit.schema import transaction
from secure_rag.audit.signing import Signer
from secure_rag.errors import InvalidRequestError
from secure_rag.model.ids import Micros

BATCH: Final = 1_000
"""Events per transaction: a writer of answers waits no longer than one of these."""
DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What retention did."""

    events: int
    """Events deleted."""
    chains: int
    """Chains that were cut."""
    erased: bool
    """Whether the bytes are gone from the write-ahead log too. False: a reader held it; prune again later."""
    problems: tuple[Problem, ...]
    """Chains that were left alone because they do not verify."""


def cutoff(now: Micros, retention_days: int) -> Micros:
    """The instant before which events go.

    Raises:
        InvalidRequestError: fewer than one day.
    """
    if retention_days < 1:
        raise InvalidRequestError("retention is at least one day")
    return Micros(now - retention_days * DAY)


def prune(connection: sqlite3.Connection, signer: Signer, before: Micros, now: Micros) -> PruneResult:
    """Cut, from every chain, its longest prefix of events older than `before`."""
    problems: list[Problem] = []
    events = chains = 0
    for writer in list(writers_of(connection)):
        removed = 0
        while count := _cut_once(connection, signer, writer, before, now, problems):
            removed += count
        events += removed
        chains += removed > 0
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return PruneResult(events, chains, busy == 0, tuple(problems))


def _cut_once(
    connection: sqlite3.Connection,
    signer: Signer,
    writer: WriterRow,
    before: Micros,
    now: Micros,
    problems: list[Problem],
) -> int:
    with transaction(connection):
        start = _start(connection, writer, signer, problems)
        if start is None:
            return 0
        walk = ChainWalk(connection, writer.id, start, problems.append)
        signed = {row.n: row for row in checkpoints_of(connection, writer.id, start.n + 1, start.n + BATCH)}
        for row in rows_of(connection, writer.id, start.n, BATCH):
            if row.at >= before:
                break
            walk.feed(row)
            mark = signed.get(row.n)
            if mark is not None and (mark.hash != row.hash or not _holds(signer, mark)):
                walk.problem(
                    ProblemKind.CHANGED, row.n, "it is not the event that a signed checkpoint covers"
                )
            if walk.problems:
                return 0
        if walk.head.n > start.n:
            _cut(connection, signed_pruned(signer, writer.id, walk.head, before, now))
        return walk.head.n - start.n


def _start(
    connection: sqlite3.Connection, writer: WriterRow, signer: Signer, problems: list[Problem]
) -> Head | None:
    cut = pruned_of(connection, writer.id)
    signed: WriterRow | PrunedRow = writer if cut is None else cut
    if _holds(signer, signed):
        return writer.genesis if cut is None else Head(cut.n, cut.hash)
    name = writer.id.decode("utf-8", "backslashreplace")
    problems.append(Problem(ProblemKind.BAD_SIGNATURE, name, None, "the start of the chain"))
    return None


def _holds(signer: Signer, row: WriterRow | PrunedRow | CheckpointRow) -> bool:
    return signer.public_key.verifies(row.signature, row.message)


def _cut(connection: sqlite3.Connection, cut: PrunedRow) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO pruned(writer_id, n, hash, before, at, signature)"
        " VALUES (CAST(? AS TEXT), ?, ?, ?, ?, ?)",
        (cut.writer, cut.n, cut.hash, cut.before, cut.at, cut.signature),
    )
    for sql in (
        "DELETE FROM event WHERE writer_id = CAST(? AS TEXT) AND n <= ?",
        "DELETE FROM checkpoint WHERE writer_id = CAST(? AS TEXT) AND n < ?",
    ):
        connection.execute(sql, (cut.writer, cut.n))
