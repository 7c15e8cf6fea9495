"""Reads the whole log and says what is wrong with it. Streaming: memory does not grow with the log."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from secure_rag.audit.chains import ChainWalk, Problem, ProblemKind, rows_of
from secure_rag.audit.events import Head
from secure_rag.audit.exports import NO_PREVIOUS, ExportedCheckpoint, load_export
from secure_rag.audit.records import (
    ExportRow,
    WriterRow,
    checkpoints_of,
    exports_of,
    pruned_of,
    writers_of,
)
from secure_rag.audit.schema import DATABASE_ERRORS, open_for_reading, schema_differences, transaction
from secure_rag.audit.signing import PublicKey

MAX_PROBLEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What was found and how much was looked at."""

    problems: tuple[Problem, ...]
    """The first 1000 findings."""
    further_problems: int
    """Findings beyond those listed."""
    writers: int
    events: int
    checkpoints: int
    unsigned_events: int
    """Events after the last signed place of their chain: linked, but not yet covered by a signature."""
    pruned_chains: int
    exported_heads: int
    """Places of the exported checkpoint that were compared with a row or a cut."""
    exported_heads_pruned: int
    """Places of the exported checkpoint that retention has cut away since: not comparable any more."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems and self.further_problems == 0


def verify(path: Path, public_key: PublicKey, exported: Path | None = None) -> VerificationReport:
    """Verify the log, against an exported checkpoint if there is one.

    Without an exported checkpoint a tail that was cut together with its checkpoints, a chain that was removed
    whole, and hashes computed anew by somebody with the signing key cannot be seen.

    Raises:
        NotFoundError: there is no log (and no exported checkpoint that says what is missing).
        ConfigError: the exported file is not an exported checkpoint.
        UnavailableError: the log cannot be opened now.
    """
    check = _Verification(public_key)
    if exported is not None:
        check.take_export(load_export(exported))
    if exported is None or path.is_file():
        with closing(open_for_reading(path)) as connection:
            try:
                with transaction(connection, "DEFERRED"):
                    check.file(connection)
            except (*DATABASE_ERRORS, TypeError, AttributeError) as exc:
                # In a file whose tables were rebuilt a column may hold any type; that is damage, not a crash.
                check.problem(ProblemKind.UNREADABLE, None, None, f"{type(exc).__name__}: {exc}")
    check.missing_chains()
    return check.report()


@dataclass(slots=True)
class _Verification:
    key: PublicKey
    problems: list[Problem] = field(default_factory=list[Problem])
    further: int = 0
    writers: int = 0
    events: int = 0
    checkpoints: int = 0
    unsigned: int = 0
    pruned: int = 0
    compared: int = 0
    heads_pruned: int = 0
    heads: dict[bytes, Head] = field(default_factory=dict[bytes, Head])
    export_record: ExportRow | None = None

    def problem(self, kind: ProblemKind, writer: bytes | None, n: int | None, detail: str) -> None:
        name = None if writer is None else writer.decode("utf-8", "backslashreplace")
        self.add(Problem(kind, name, n, detail))

    def add(self, problem: Problem) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
        else:
            self.further += 1

    def report(self) -> VerificationReport:
        return VerificationReport(
            problems=tuple(self.problems),
            further_problems=self.further,
            writers=self.writers,
            events=self.events,
            checkpoints=self.checkpoints,
            unsigned_events=self.unsigned,
            pruned_chains=self.pruned,
            exported_heads=self.compared,
            exported_heads_pruned=self.heads_pruned,
        )

    def signed(
        self, signature: bytes, message: bytes, writer: bytes | None, n: int | None, what: str
    ) -> bool:
        if self.key.verifies(signature, message):
            return True
        self.problem(ProblemKind.BAD_SIGNATURE, writer, n, what)
        return False

    def take_export(self, exported: ExportedCheckpoint) -> None:
        record = exported.record
        if self.signed(record.signature, record.message, None, None, "the exported checkpoint"):
            self.heads = dict(exported.heads)
            self.export_record = record

    def file(self, connection: sqlite3.Connection) -> None:
        for name in schema_differences(connection):
            self.problem(ProblemKind.CHANGED, None, None, f"table, index or trigger {name!r}")
        for writer in writers_of(connection):
            self.writers += 1
            self.chain(connection, writer)
        self.orphans(connection)
        self.exports(connection)
        # Indexes that no longer match their table would hide rows from lookups; only SQLite can compare them.
        for (line,) in connection.execute("PRAGMA integrity_check(20)"):
            if line != b"ok":
                detail = line.decode("utf-8", "backslashreplace")
                self.problem(ProblemKind.UNREADABLE, None, None, f"integrity check: {detail}")

    def chain(self, connection: sqlite3.Connection, writer: WriterRow) -> None:
        self.signed(writer.signature, writer.message, writer.id, None, "the writer row")
        start = self.start(connection, writer)
        walk = ChainWalk(connection, writer.id, start, self.add)
        marks = _Marks(self, connection, writer.id, start)
        before = connection.execute(
            "SELECT count(*) FROM event WHERE writer_id = CAST(? AS TEXT) AND n <= ?", (writer.id, start.n)
        ).fetchone()[0]
        if before:
            walk.problem(ProblemKind.ADDED, start.n, f"{before} event(s) before the start of the chain")
        for row in rows_of(connection, writer.id, start.n):
            self.events += 1
            walk.feed(row)
            marks.pass_row(walk)
        marks.finish(walk)

    def start(self, connection: sqlite3.Connection, writer: WriterRow) -> Head:
        cut = pruned_of(connection, writer.id)
        if cut is None or not self.signed(cut.signature, cut.message, writer.id, cut.n, "the retention cut"):
            return writer.genesis
        self.pruned += 1
        return Head(cut.n, cut.hash)

    def orphans(self, connection: sqlite3.Connection) -> None:
        for table, kind, detail in (
            ("event", ProblemKind.UNKNOWN_WRITER, "events without a writer row"),
            ("checkpoint", ProblemKind.CHAIN_MISSING, "signed places without a writer row"),
            ("pruned", ProblemKind.CHAIN_MISSING, "a retention cut without a writer row"),
        ):
            sql = f"SELECT DISTINCT writer_id FROM {table} WHERE writer_id NOT IN (SELECT id FROM writer)"  # noqa: S608 - constants
            for (writer,) in connection.execute(sql):
                self.problem(kind, writer, None, detail)

    def exports(self, connection: sqlite3.Connection) -> None:
        previous, found = NO_PREVIOUS, False
        for row in exports_of(connection):
            self.signed(row.signature, row.message, None, row.sequence, "the record of an export")
            if row.previous != previous:
                detail = "a record of an export is missing before this one"
                self.problem(ProblemKind.REMOVED, None, row.sequence, detail)
            previous = row.digest
            found = found or row == self.export_record
        if self.export_record is not None and not found:
            detail = "the log holds no record of the exported checkpoint"
            self.problem(ProblemKind.REMOVED, None, self.export_record.sequence, detail)

    def missing_chains(self) -> None:
        for writer, head in self.heads.items():
            self.problem(ProblemKind.CHAIN_MISSING, writer, None, f"had {head.n} event(s) when exported")


@dataclass(frozen=True, slots=True, order=True)
class _Mark:
    n: int
    hash: bytes
    exported: bool
    final: bool


class _Marks:
    """The signed places of one chain, passed in step with its rows."""

    def __init__(
        self, check: _Verification, connection: sqlite3.Connection, writer: bytes, start: Head
    ) -> None:
        self._check = check
        self._writer = writer
        self._signed_up_to = start.n
        self._final: int | None = None
        self._added = False
        head = check.heads.pop(writer, None)
        exported = [] if head is None else [_Mark(head.n, head.hash, exported=True, final=False)]
        self._marks = heapq.merge(self._stored(connection), exported)
        self._next = next(self._marks, None)
        while self._next is not None and self._next.n <= start.n:
            self._at_start(self._next, start)
            self._next = next(self._marks, None)

    def _stored(self, connection: sqlite3.Connection) -> Iterator[_Mark]:
        for row in checkpoints_of(connection, self._writer):
            self._check.checkpoints += 1
            if self._check.signed(row.signature, row.message, row.writer, row.n, "a checkpoint"):
                yield _Mark(row.n, row.hash, exported=False, final=bool(row.final))

    def _at_start(self, mark: _Mark, start: Head) -> None:
        if mark.n < start.n:
            self._check.heads_pruned += mark.exported
            return
        self._seen(mark)
        if mark.hash != start.hash:
            detail = "the start of the chain is not what was signed"
            self._check.problem(ProblemKind.CHANGED, self._writer, mark.n, detail)

    def _seen(self, mark: _Mark) -> None:
        self._check.compared += mark.exported
        self._signed_up_to = max(self._signed_up_to, mark.n)
        if mark.final:
            self._final = mark.n

    def pass_row(self, walk: ChainWalk) -> None:
        if self._final is not None and not self._added:
            self._added = True
            walk.problem(ProblemKind.ADDED, walk.head.n, "after the end that the writer signed")
        while self._next is not None and self._next.n <= walk.head.n:
            mark = self._next
            self._seen(mark)
            # A row that is already reported, or missing, needs no second finding.
            if mark.n == walk.head.n and walk.sound and mark.hash != walk.head.hash:
                what = "the exported checkpoint" if mark.exported else "a signed checkpoint"
                walk.problem(ProblemKind.CHANGED, mark.n, f"it is not the event that {what} covers")
            self._next = next(self._marks, None)

    def finish(self, walk: ChainWalk) -> None:
        last = walk.head.n
        self._check.unsigned += max(0, last - self._signed_up_to)
        missing = [] if self._next is None else [self._next, *self._marks]
        if not missing:
            return
        self._check.compared += sum(mark.exported for mark in missing)
        source = "exported" if any(mark.exported for mark in missing) else "signed"
        up_to = max(mark.n for mark in missing)
        detail = f"{up_to - last} event(s) up to a {source} place are gone"
        walk.problem(ProblemKind.TRUNCATED_TAIL, last + 1, detail)
