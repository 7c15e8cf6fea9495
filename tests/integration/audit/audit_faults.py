"""A connection that fails on demand, in the places where disks and locks do."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from secure_rag.audit.schema import open_for_writing


class Faulty:
    """Stands before a real connection. `before` and `after` see every statement and may raise or wait."""

    def __init__(self) -> None:
        self.before: Callable[[str], None] = lambda _: None
        self.after: Callable[[str], None] = lambda _: None
        self.connections: list[sqlite3.Connection] = []

    def connect(self, path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
        real = open_for_writing(path, busy_timeout_ms)
        self.connections.append(real)
        return cast("sqlite3.Connection", _Proxy(real, self))


class _Proxy:
    def __init__(self, real: sqlite3.Connection, faults: Faulty) -> None:
        self._real = real
        self._faults = faults

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        self._faults.before(sql)
        cursor = self._real.execute(sql, values)
        self._faults.after(sql)
        return cursor

    def executemany(self, sql: str, values: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        self._faults.before(sql)
        return self._real.executemany(sql, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def failing(start: str, message: str) -> Callable[[str], None]:
    """Raise for statements that begin so."""

    def fail(sql: str) -> None:
        if sql.startswith(start):
            raise sqlite3.OperationalError(message)

    return fail


class Hold:
    """Lets a statement wait until the test lets it go."""

    def __init__(self, start: str) -> None:
        self.start = start
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self, sql: str) -> None:
        if sql.startswith(self.start):
            self.reached.set()
            assert self.go.wait(60)
