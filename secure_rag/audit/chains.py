"""Walks one chain and names what is wrong with it.

Used by whoever must not trust the file: verification, the signing of other writers' heads, and retention.

How a row is judged. A row is *sound* when its hash is the hash of its own columns, and *linked* when its
`prev_hash` is the hash of the row before it. Sound and linked rows are fine; every other pair of answers has a
name, chosen by where else in the chain the row's hashes occur.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from secure_rag.audit.events import Head, StoredRow

MAX_SEARCHES: Final = 64
"""Searches for where a bad row belongs, per walk; after these it is still found, and called `changed`."""
MAX_SHIFT: Final = 1_000
"""How many removed rows are recognised when the rows after them were renumbered."""


class ProblemKind(StrEnum):
    """What was done to the log."""

    CHANGED = "changed"
    """A row, or a table, is not what it was when it was written."""
    REMOVED = "removed"
    """Rows are missing inside a chain, or a signed record is missing."""
    REORDERED = "reordered"
    """A genuine row stands at another place than it was written at."""
    DUPLICATE = "duplicate"
    """A row stands there twice."""
    ADDED = "added"
    """A row stands where its writer wrote none: after the end that the writer signed."""
    TRUNCATED_TAIL = "truncated_tail"
    """A chain ends before a place that was signed."""
    BAD_SIGNATURE = "bad_signature"
    """A signature does not belong to this key and this content."""
    UNKNOWN_WRITER = "unknown_writer"
    """Events of a writer that has no signed row."""
    CHAIN_MISSING = "chain_missing"
    """A chain that was signed is gone as a whole."""
    UNREADABLE = "unreadable"
    """The file is damaged; what could not be read was not verified."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding. `n` is the number of the event in the chain of `writer`, where there is one."""

    kind: ProblemKind
    writer: str | None
    n: int | None
    detail: str


Report = Callable[[Problem], None]


class ChainWalk:
    """Follows the rows of one chain in the order of their numbers.

    `head` is the last row as it stands; `sound` says whether that row was fine.
    """

    def __init__(self, connection: sqlite3.Connection, writer: bytes, start: Head, report: Report) -> None:
        self.head = start
        self.sound = True
        self.problems = 0
        self._connection = connection
        self._writer = writer
        self._follows: bytes | None = start.hash
        self._searches = MAX_SEARCHES
        self._shift = 0
        self._report = report

    def problem(self, kind: ProblemKind, n: int | None, detail: str) -> None:
        """Report something about this chain."""
        self.problems += 1
        self._report(Problem(kind, self._writer.decode("utf-8", "backslashreplace"), n, detail))

    def feed(self, row: StoredRow) -> None:
        """Judge the next row."""
        expected = self.head.n + 1
        if row.n < expected:
            self.sound = False
            self.problem(ProblemKind.DUPLICATE, row.n, "this number stands in the chain more than once")
            return
        if row.n > expected:
            self.problem(ProblemKind.REMOVED, expected, f"{row.n - expected} event(s) missing here")
            self._follows = None
        linked = self._follows in (None, row.prev_hash)
        if row.hash == row.digest() or _fits_at(row, self._shift):
            if not linked and self.sound:
                self._report_rewritten(row)
            self.sound = self._shift == 0
        else:
            self.sound = False
            self._name(row, linked=linked)
        self._follows = row.hash
        self.head = Head(row.n, row.hash)

    def _report_rewritten(self, row: StoredRow) -> None:
        detail = "this event, or where the chain starts, was rewritten: the next one follows something else"
        self.problem(ProblemKind.CHANGED, row.n - 1, detail)

    def _name(self, row: StoredRow, *, linked: bool) -> None:
        if linked:
            self.problem(ProblemKind.CHANGED, row.n, "its content does not give its hash")
        elif self._stands_elsewhere(row.hash, row.n):
            self.problem(ProblemKind.DUPLICATE, row.n, "a copy of another event of this chain")
        elif self._stands_elsewhere(row.prev_hash, row.n - 1):
            self.problem(ProblemKind.REORDERED, row.n, "it follows an event that stands at another place")
        elif shift := self._removed_before(row):
            self._shift = shift
            self.problem(ProblemKind.REMOVED, row.n, f"{shift} event(s) missing here, later ones renumbered")
        else:
            self.problem(ProblemKind.CHANGED, row.n, "neither its content nor its place give its hash")

    def _may_search(self) -> bool:
        self._searches -= 1
        return self._searches >= 0

    def _stands_elsewhere(self, digest: bytes, n: int) -> bool:
        if not self._may_search():
            return False
        found = self._connection.execute(
            "SELECT 1 FROM event WHERE writer_id = CAST(? AS TEXT) AND hash = ? AND n <> ? LIMIT 1",
            (self._writer, digest, n),
        )
        return found.fetchone() is not None

    def _removed_before(self, row: StoredRow) -> int:
        if not self._may_search():
            return 0
        first = self._shift + 1
        shifts = range(first, first + MAX_SHIFT)
        return next((shift for shift in shifts if _fits_at(row, shift)), 0)


def _fits_at(row: StoredRow, shift: int) -> bool:
    # A forged number may be the largest there is.
    return 0 < shift < 2**63 - row.n and row.digest(n=row.n + shift) == row.hash


def rows_of(
    connection: sqlite3.Connection, writer: bytes, after: int, limit: int = -1
) -> Iterator[StoredRow]:
    """The rows of one chain after number `after`, in order, one at a time.

    The connection must return text as bytes. Equal numbers (possible only in a file whose tables were altered)
    come in a fixed order.
    """
    cursor = connection.execute(
        "SELECT writer_id, n, at, tenant, kind, event_id, body, prev_hash, hash FROM event"
        " WHERE writer_id = CAST(? AS TEXT) AND n > ? ORDER BY n LIMIT ?",
        (writer, after, limit),
    )
    for row in cursor:
        yield StoredRow(*row)
