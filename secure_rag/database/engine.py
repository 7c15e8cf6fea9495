"""Connections to the control database: one engine that writes, one that can only read."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import event, exc

from secure_rag.errors import UnavailableError

BUSY_TIMEOUT_MS = 30_000
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    # A deleted document's text must not stay where it lay; `erasure` sees to copies and to the log.
    "secure_delete=ON",
    # Without it INSERT OR REPLACE of another tenant's row would not fire that tenant's delete trigger.
    "recursive_triggers=ON",
    "trusted_schema=OFF",
)


class _DriverConnection(Protocol):
    isolation_level: str | None

    def execute(self, statement: str) -> sqlite3.Cursor: ...


def open_engine(path: Path, *, read_only: bool = False, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> sa.Engine:
    """Engine on a control database file.

    SQLAlchemy's default transaction handling gives torn reads on SQLite: the driver opens a transaction only at
    the first write. Here every transaction says BEGIN itself.
    """
    # Not as text: a path may hold what means something in a URL.
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), pool_size=8, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _connect(connection: _DriverConnection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}").close()
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        if read_only:
            connection.execute("PRAGMA query_only=ON").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = bool(connection.get_execution_options().get("writes"))
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextlib.contextmanager
def write(engine: sa.Engine) -> Generator[sa.Connection]:
    """One write transaction: committed whole or not at all.

    Raises:
        UnavailableError: the database is locked, full, read-only or damaged; nothing was changed.
    """
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection
    except exc.DatabaseError as error:
        if not unusable(error):
            raise
        raise UnavailableError(f"the control database cannot be written: {error.orig}") from error


def unusable(error: exc.DatabaseError) -> bool:
    """Whether the database is at fault: locked, full, read-only or damaged. Any other error is a fault of ours."""
    return type(error.orig) in (sqlite3.OperationalError, sqlite3.DatabaseError)


def private_file(path: Path) -> None:
    """Create the file readable by its owner only, before SQLite would create it with the umask."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.close(descriptor)
