"""Documents that are gone at the source: text, vectors and evidence go too, and a receipt says from where."""

from __future__ import annotations

import json
from collections.abc import Iterable

import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database import tables as t
from secure_rag.database.documents import StoredDocument
from secure_rag.database.engine import truncate_wal, write
from secure_rag.model.ids import Micros
from secure_rag_ingestion.runs import Outcome, ReasonCode, RunHandle, RunItem, record_items


def remove_missing(
    engine: sa.Engine, run: RunHandle, gone: Iterable[StoredDocument], now: Micros
) -> list[RunItem]:
    """Delete each document in its own transaction and return what was done."""
    items: list[RunItem] = []
    for document in gone:
        item = RunItem(
            document.native_id,
            Outcome.DELETED,
            ReasonCode.GONE_AT_SOURCE.value,
            document=document.key,
            version=document.version,
            class_before=document.class_key,
        )
        with write(engine) as connection:
            db.delete_document(connection, document.key, now)
            record_items(connection, run, [item], now)
        items.append(item)
    return items


def erase(engine: sa.Engine, deleted: Iterable[RunItem], now: Micros) -> bool:
    """Empty the write-ahead log, which still holds the old pages, and write a receipt per deleted document.

    Returns:
        Whether the log is empty; while another process reads, the next run or `secure-rag serve` finishes it.
    """
    emptied = truncate_wal(engine)
    places = {
        "control.db": "overwritten",
        "control.db-wal": "emptied" if emptied else "pending: another process is reading",
        "memory of serving processes": "follows the change feed",
        "backups": "not touched: expire them by their own rule",
    }
    rows = [
        {"document_id": item.document, "at": now, "places": json.dumps(places)}
        for item in deleted
        if item.document is not None
    ]
    if rows:
        with write(engine) as connection:
            connection.execute(sa.insert(t.receipt), rows)
    return emptied
