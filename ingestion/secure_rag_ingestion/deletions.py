"""Documents that are gone at the source: text, vectors and evidence go too, each with a receipt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database.documents import StoredDocument
from secure_rag.database.engine import write
from secure_rag.model.ids import Micros
from secure_rag_ingestion.runs import Outcome, ReasonCode, RunHandle, RunItem, record_items


def remove_missing(
    engine: sa.Engine, run: RunHandle, gone: Iterable[StoredDocument], now: Micros
) -> Iterator[RunItem]:
    """Delete each document in its own transaction, which also writes its receipt, and yield what was done."""
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
        yield item
