"""The audit file: its tables and the two ways to open it.

It is a file of its own, so that a long ingest transaction never makes an answer wait for its audit row.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from secure_rag.errors import ConfigError, NotFoundError, UnavailableError

APPLICATION_ID: Final = 0x53524155
SCHEMA_VERSION: Final = 1
DATABASE_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What using the file may raise. `sqlite3` decodes SQLite's messages, and those about a damaged file quote it."""

_OBJECTS: Final = (
    """CREATE TABLE writer(
  id TEXT PRIMARY KEY NOT NULL,
  started INTEGER NOT NULL,
  version TEXT NOT NULL,
  key TEXT NOT NULL,
  signature BLOB NOT NULL
) STRICT""",
    """CREATE TABLE event(
  writer_id TEXT NOT NULL,
  n INTEGER NOT NULL CHECK (n > 0),
  at INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  event_id TEXT NOT NULL UNIQUE,
  body TEXT NOT NULL,
  prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  PRIMARY KEY (writer_id, n)
) STRICT""",
    "CREATE INDEX event_by_time ON event(at)",
    "CREATE INDEX event_by_tenant ON event(tenant, at)",
    """CREATE TABLE checkpoint(
  writer_id TEXT NOT NULL,
  n INTEGER NOT NULL,
  hash BLOB NOT NULL,
  at INTEGER NOT NULL,
  final INTEGER NOT NULL CHECK (final IN (0, 1)),
  signature BLOB NOT NULL,
  PRIMARY KEY (writer_id, n, final)
) STRICT""",
    """CREATE TABLE pruned(
  writer_id TEXT PRIMARY KEY NOT NULL,
  n INTEGER NOT NULL,
  hash BLOB NOT NULL,
  before INTEGER NOT NULL,
  at INTEGER NOT NULL,
  signature BLOB NOT NULL
) STRICT""",
    """CREATE TABLE export(
  sequence INTEGER PRIMARY KEY NOT NULL,
  at INTEGER NOT NULL,
  previous BLOB NOT NULL,
  heads_digest BLOB NOT NULL,
  signature BLOB NOT NULL
) STRICT""",
    "CREATE TABLE probe(id INTEGER PRIMARY KEY NOT NULL, filler BLOB NOT NULL) STRICT",
)


def open_for_writing(path: Path, busy_timeout_ms: int) -> sqlite3.Connection:
    """Open the audit file, making it on first use. A commit returns when it is on disk; text comes back as bytes.

    Raises:
        ConfigError: the file is another program's, of another version, or its tables were altered.
        UnavailableError: it cannot be opened now.
    """
    try:
        # Two processes that make one WAL file at the same moment lock each other out; one at a time.
        with _creation_lock(path):
            new = _create_private(path)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.text_factory = bytes
            try:
                _configure(connection, busy_timeout_ms)
                if new or _is_empty(connection):
                    _create(connection)
                _require_ours(connection, path)
            except BaseException:
                connection.close()
                raise
            if new:
                sync_directory(path.parent)
    except (*DATABASE_ERRORS, OSError) as exc:
        raise UnavailableError("the audit log cannot be opened") from exc
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the audit file without the power to write it. Text comes back as bytes.

    Raises:
        NotFoundError: there is no such file.
        UnavailableError: it cannot be opened now.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no audit log")
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as exc:
        raise UnavailableError("the audit log cannot be opened") from exc
    # A tampered row may hold bytes that are not text; reading them as text would raise instead of naming it.
    connection.text_factory = bytes
    for pragma in ("busy_timeout=5000", "query_only=ON", "trusted_schema=OFF", "cell_size_check=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextmanager
def transaction(
    connection: sqlite3.Connection, mode: Literal["IMMEDIATE", "DEFERRED"] = "IMMEDIATE"
) -> Generator[None]:
    """All or nothing. The lock is taken at once, so that waiting for it happens in one place."""
    connection.execute(f"BEGIN {mode}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors (disk full among them) end the transaction by themselves; a second ROLLBACK is an error.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def schema_differences(connection: sqlite3.Connection) -> list[str]:
    """Names of tables, indexes, triggers and views that are missing, altered, or not ours."""
    expected = {sql.split("(", 1)[0].split()[2]: sql for sql in _OBJECTS}
    # ANALYZE adds statistics tables; they change no content. An automatic index has no SQL.
    objects = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND NOT (type = 'table' AND name LIKE 'sqlite\\_stat%' ESCAPE '\\')"
    )
    found = {_text(name): _text(sql) for name, sql in objects}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def sync_directory(directory: Path) -> None:
    """Make a file's new name as durable as its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@contextmanager
def _creation_lock(path: Path) -> Generator[None]:
    # Not on the database file itself: closing any descriptor of it would drop SQLite's own POSIX locks.
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create_private(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _configure(connection: sqlite3.Connection, busy_timeout_ms: int) -> None:
    for pragma in (
        f"busy_timeout={busy_timeout_ms}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "fullfsync=ON",
        "secure_delete=ON",
        "trusted_schema=OFF",
        "cell_size_check=ON",
        "journal_size_limit=67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        for sql in _OBJECTS:
            connection.execute(sql)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise ConfigError(f"{path}: not an audit log")
    if version != SCHEMA_VERSION:
        raise ConfigError(f"{path}: audit log of version {version}, this program writes {SCHEMA_VERSION}")
    if altered := schema_differences(connection):
        raise ConfigError(f"{path}: the audit log's tables were altered: {', '.join(altered)}")
