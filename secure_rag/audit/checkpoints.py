"""Signs places in chains.

A chain alone cannot show that its end was cut off, and whoever may write the file can compute every hash anew.
A signature over (writer, n, hash) makes the second hard without the key; a copy of it outside the host makes
both visible even when somebody has the key.

Whoever signs a chain that another process wrote walks it from its last signed place first: a signature never
covers rows that do not fit together.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from secure_rag.audit.chains import ChainWalk, Problem, ProblemKind, rows_of
from secure_rag.audit.events import Head
from secure_rag.audit.records import (
    CheckpointRow,
    PrunedRow,
    WriterRow,
    insert_checkpoints,
    pruned_of,
    signed_checkpoint,
    writers_of,
)
from secure_rag.audit.schema import transaction
from secure_rag.audit.signing import PublicKey, Signer
from secure_rag.model.ids import Micros


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """How many chains were signed anew, and what kept a chain from being signed."""

    signed: int
    problems: tuple[Problem, ...]


def start_of(
    connection: sqlite3.Connection, writer: WriterRow, key: PublicKey, problems: list[Problem]
) -> Head | None:
    """The place from which a chain that others wrote must be walked: its last signed one.

    `None`, and a problem, when no signature holds.
    """
    newest = connection.execute(
        "SELECT writer_id, n, hash, at, final, signature FROM checkpoint"
        " WHERE writer_id = CAST(? AS TEXT) ORDER BY n DESC LIMIT 1",
        (writer.id,),
    ).fetchone()
    signed: WriterRow | PrunedRow | CheckpointRow = writer
    head = writer.genesis
    for candidate in (pruned_of(connection, writer.id), None if newest is None else CheckpointRow(*newest)):
        if candidate is not None and candidate.n >= head.n:
            signed, head = candidate, Head(candidate.n, candidate.hash)
    if key.verifies(signed.signature, signed.message):
        return head
    name = writer.id.decode("utf-8", "backslashreplace")
    problems.append(Problem(ProblemKind.BAD_SIGNATURE, name, head.n, "the last signed place of the chain"))
    return None


def sign_heads(
    connection: sqlite3.Connection, signer: Signer, at: Micros
) -> tuple[CheckpointResult, list[tuple[bytes, Head]]]:
    """Sign the head of every chain that moved since it was last signed.

    Returns:
        The result, and the signed place of every chain.
    """
    problems: list[Problem] = []
    heads: list[tuple[bytes, Head]] = []
    rows: list[CheckpointRow] = []
    with transaction(connection, "DEFERRED"):
        for writer in writers_of(connection):
            start = start_of(connection, writer, signer.public_key, problems)
            if start is None:
                continue
            head = _walk_to_head(connection, writer.id, start, problems)
            heads.append((writer.id, head))
            if head != start:
                rows.append(signed_checkpoint(signer, writer.id, head, at, final=False))
    if rows:
        with transaction(connection):
            insert_checkpoints(connection, rows)
    return CheckpointResult(len(rows), tuple(problems)), heads


def _walk_to_head(
    connection: sqlite3.Connection, writer: bytes, start: Head, problems: list[Problem]
) -> Head:
    walk = ChainWalk(connection, writer, start, problems.append)
    for row in rows_of(connection, writer, start.n):
        walk.feed(row)
        if walk.problems:
            return start
    return walk.head
