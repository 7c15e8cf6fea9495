"""What the audit tests share: a log in a folder, a hand on its file, and names for what is found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from secure_rag.audit.events import StoredRow
from secure_rag.audit.log import AuditLog, AuditOptions
from secure_rag.audit.schema import open_for_reading, open_for_writing
from secure_rag.audit.signing import Signer
from secure_rag.audit.verify import VerificationReport, verify
from secure_rag.audit.writing import Connect
from secure_rag.model.ids import Micros

START = 1_800_000_000_000_000
SIGNER = Signer.generate()


class StepClock:
    """Moves one second per reading."""

    def __init__(self, start: int = START, step: int = 1_000_000) -> None:
        self.time = start
        self.step = step

    def now(self) -> Micros:
        self.time += self.step
        return Micros(self.time)


@dataclass
class World:
    """One audit file and its key."""

    path: Path
    signer: Signer = SIGNER
    clock: StepClock = field(default_factory=StepClock)

    def log(self, options: AuditOptions | None = None, connect: Connect = open_for_writing) -> AuditLog:
        return AuditLog(self.path, self.signer, self.clock, options, connect=connect)

    def write(self, count: int, prefix: str = "dec", options: AuditOptions | None = None) -> None:
        """One writer with `count` events and a signed end."""
        with self.log(options) as log:
            for number in range(1, count + 1):
                log.record("acme", "retrieve", f"{prefix}-{number}", {"results": number, "reason": "allowed"})

    def verify(self, exported: Path | None = None) -> VerificationReport:
        return verify(self.path, self.signer.public_key, exported)

    def sql(self, statement: str, *values: object) -> int:
        """Change the file as somebody with the file, but without the key, could. Returns the rows changed."""
        with closing(raw(self.path)) as connection:
            return connection.execute(statement, values).rowcount

    def rows(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        with closing(raw(self.path)) as connection:
            return connection.execute(statement, values).fetchall()

    def writers(self) -> list[str]:
        return [str(row[0]) for row in self.rows("SELECT id FROM writer ORDER BY started, id")]

    def rechain(self, writer: str, first: int, change: Callable[[StoredRow], StoredRow]) -> None:
        """Alter event `first` and compute every hash after it anew, as anybody can."""
        with closing(raw(self.path)) as connection:
            connection.text_factory = bytes
            rows = [
                StoredRow(*row)
                for row in connection.execute(
                    "SELECT writer_id, n, at, tenant, kind, event_id, body, prev_hash, hash FROM event"
                    " WHERE writer_id = ? AND n >= ? ORDER BY n",
                    (writer, first),
                )
            ]
            previous = rows[0].prev_hash
            for index, row in enumerate(rows):
                changed = change(row) if index == 0 else row
                digest = changed.digest(prev_hash=previous)
                connection.execute(
                    "UPDATE event SET body = CAST(? AS TEXT), prev_hash = ?, hash = ?"
                    " WHERE writer_id = ? AND n = ?",
                    (changed.body, previous, digest, writer, row.n),
                )
                previous = digest


def raw(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA ignore_check_constraints=ON")
    return connection


def named(report: VerificationReport) -> list[tuple[str, int | None]]:
    """Kind and number of every finding."""
    return [(problem.kind.value, problem.n) for problem in report.problems]


def event_ids(path: Path) -> set[str]:
    with closing(open_for_reading(path)) as connection:
        return {row[0].decode() for row in connection.execute("SELECT event_id FROM event")}


def kinds(report: VerificationReport) -> Sequence[str]:
    return sorted({problem.kind.value for problem in report.problems})
