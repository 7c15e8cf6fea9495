"""Making deleted content vanish from the database files, and receipts that say so.

`secure_delete` overwrites a deleted row where it lies. But SQLite moves rows between pages when it balances a table and
leaves the old copy in the unused part of the old page, where a later delete does not reach it. So after deletions the
file is rebuilt by VACUUM, and the write-ahead log, which still holds the pages as they were, is emptied.

That something is left to erase is written down in the transaction that deletes it: a process that is killed in
between leaves the work to whoever comes next.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.model.ids import DocumentKey, Micros

PATIENCE_MS: Final = 5_000
"""How long readers of other processes may hold back the emptying of the log."""
_MARK: Final = "unerased"
_PENDING: Final = "pending: the next ingest run finishes it"
_ELSEWHERE: Final = {
    "memory of serving processes": "follows the change feed",
    "backups": "not touched: expire them by their own rule",
}


def mark_unerased(connection: sa.Connection) -> None:
    """Note, in the transaction that deletes content, that its bytes are still in the files."""
    c = t.counter.c
    connection.execute(
        insert(t.counter)
        .values(name=_MARK, value=1)
        .on_conflict_do_update(index_elements=[c.name], set_={"value": c.value + 1})
    )


def put_receipt(connection: sa.Connection, key: DocumentKey, now: Micros) -> None:
    """Write the receipt of a deletion, in the transaction that deletes; `erase` completes it."""
    mark_unerased(connection)
    connection.execute(sa.insert(t.receipt).values(document_id=key, at=now, places=_places(None)))


def erase(engine: sa.Engine, now: Micros) -> bool:
    """Take deleted content out of the files, whoever deleted it, and complete the receipts.

    Returns:
        Whether nothing deleted is left; while other processes hold the files, the next call finishes it.
    """
    c, r = t.counter.c, t.receipt.c
    with engine.connect() as connection, connection.begin():
        marked = connection.execute(sa.select(c.value).where(c.name == _MARK)).scalar() or 0
        last = connection.execute(sa.select(sa.func.max(r.id))).scalar() or 0
    if not marked:
        return True
    if not _rebuild(engine):
        return False
    with write(engine) as connection:
        connection.execute(sa.update(t.counter).where(c.name == _MARK).values(value=c.value - marked))
        connection.execute(
            sa.update(t.receipt).where(r.places == _places(None), r.id <= last).values(places=_places(now))
        )
    return True


def _rebuild(engine: sa.Engine) -> bool:
    """VACUUM, then move the log into the file and cut it to nothing."""
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        patience = int(cursor.execute("PRAGMA busy_timeout").fetchone()[0])
        try:
            cursor.execute(f"PRAGMA busy_timeout={min(patience, PATIENCE_MS)}")
            cursor.execute("VACUUM")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy = cursor.fetchone()
            return bool(busy is not None and busy[0] == 0)
        except sqlite3.Error:
            # Another writer, or no room for the rebuilt file: nothing is lost, and the mark stays.
            return False
        finally:
            cursor.execute(f"PRAGMA busy_timeout={patience}")


def _places(erased_at: Micros | None) -> str:
    own = _PENDING if erased_at is None else f"erased at {erased_at}"
    return json.dumps({"control.db": own, "control.db-wal": own, **_ELSEWHERE})
