"""Many documents pointed at other classes in one transaction, by set-based statements.

Equal permissions are interned once. What every document needs of its own, a place in the change feed and an entry of
its history, comes from one statement each. No chunk and no vector is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.documents import put_findings
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.model.ids import NEVER, DocumentKey, Micros
from secure_rag.model.permissions import NARROWER
from secure_rag_ingestion.retagging import Retagged
from secure_rag_ingestion.tagging.narrower import narrower_findings
from secure_rag_ingestion.tagging.tagger import Tag, Tagger

_STAGES = (
    "CREATE TEMP TABLE repoint_tag (n INTEGER PRIMARY KEY, class_id INTEGER NOT NULL, digest BLOB NOT NULL,"
    " origins TEXT NOT NULL, unresolved TEXT NOT NULL)",
    "CREATE TEMP TABLE repoint_document (document_id INTEGER PRIMARY KEY, tag INTEGER NOT NULL, seq INTEGER NOT NULL)",
)
_END = (
    "UPDATE document_class SET valid_to = MAX(:now, valid_from) WHERE valid_to = :never AND document_id IN"
    " (SELECT d.id FROM repoint_document r JOIN repoint_tag g ON g.n = r.tag JOIN document d ON d.id = r.document_id"
    " WHERE d.class_id IS NOT g.class_id)"
)
_BEGIN = (
    "INSERT INTO document_class (document_id, class_id, valid_from, valid_to)"
    " SELECT d.id, g.class_id, :now, :never FROM repoint_document r JOIN repoint_tag g ON g.n = r.tag"
    " JOIN document d ON d.id = r.document_id WHERE d.class_id IS NOT g.class_id ORDER BY d.id"
)
_POINT = (
    "UPDATE document SET class_id = g.class_id, permission_digest = g.digest, origins = g.origins,"
    " unresolved = g.unresolved, acl_as_of = :confirmed, seq = r.seq"
    " FROM repoint_document r JOIN repoint_tag g ON g.n = r.tag WHERE document.id = r.document_id"
)


@dataclass(frozen=True, slots=True)
class Repointed:
    """What was written: documents re-pointed or only explained anew, and documents withheld."""

    repointed: int
    withheld: int


def repoint(
    connection: sa.Connection, tagger: Tagger, tagged: Sequence[Retagged], confirmed_at: Micros, now: Micros
) -> Repointed:
    """Write permissions of many documents; those without a tag are withheld.

    Args:
        connection: inside a write transaction.
        tagger: of their source.
        tagged: documents with their permissions.
        confirmed_at: since when these count as confirmed.
        now: when the change takes effect.

    Raises:
        PolicyError: permissions exceed a limit; nothing may be committed.
    """
    changed = [x for x in tagged if x.tag is not None and x.tag.digest != x.stored.permission_digest]
    if changed:
        _point(connection, tagger, changed, confirmed_at, now)
    failed = [x.stored.key for x in tagged if x.tag is None and x.stored.state is not DocumentState.WITHHELD]
    _withhold(connection, failed)
    return Repointed(len(changed), len(failed))


def _point(
    connection: sa.Connection, tagger: Tagger, changed: Sequence[Retagged], confirmed_at: Micros, now: Micros
) -> None:
    numbers: dict[bytes, int] = {}
    tags: list[Tag] = []
    places: list[tuple[DocumentKey, int]] = []
    for x in changed:
        if x.tag is not None:
            if x.tag.digest not in numbers:
                numbers[x.tag.digest] = len(tags)
                tags.append(x.tag)
            places.append((x.stored.key, numbers[x.tag.digest]))
    found = [tagger.permission(connection, tag, confirmed_at) for tag in tags]
    for statement in _STAGES:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(
        "INSERT INTO repoint_tag VALUES (?, ?, ?, ?, ?)",
        [(n, x.class_key, x.digest, x.origins, x.unresolved) for n, x in enumerate(found)],
    )
    first = _reserve(connection, len(places))
    connection.exec_driver_sql(
        "INSERT INTO repoint_document VALUES (?, ?, ?)",
        [(key, tag, first + n) for n, (key, tag) in enumerate(places)],
    )
    connection.execute(sa.text(_END), {"now": now, "never": NEVER})
    connection.execute(sa.text(_BEGIN), {"now": now, "never": NEVER})
    connection.execute(sa.text(_POINT), {"confirmed": confirmed_at})
    _replace_narrower(connection, changed)
    for table in ("repoint_document", "repoint_tag"):
        connection.exec_driver_sql(f"DROP TABLE temp.{table}")


def _replace_narrower(connection: sa.Connection, changed: Sequence[Retagged]) -> None:
    connection.execute(
        sa.text(
            "DELETE FROM finding WHERE detector = :detector"
            " AND document_id IN (SELECT document_id FROM repoint_document)"
        ),
        {"detector": NARROWER},
    )
    for x in changed:
        if x.tag is not None and x.tag.narrowed:
            put_findings(connection, x.stored.key, x.stored.version, narrower_findings(x.tag.narrowed))


def _withhold(connection: sa.Connection, keys: Sequence[DocumentKey]) -> None:
    set_states(connection, dict.fromkeys(keys, DocumentState.WITHHELD))


def set_states(connection: sa.Connection, states: Mapping[DocumentKey, DocumentState]) -> None:
    """Withhold, quarantine or bring back many documents."""
    if not states:
        return
    first = _reserve(connection, len(states))
    connection.execute(
        sa.update(t.document)
        .where(t.document.c.id == sa.bindparam("key"))
        .values(state=sa.bindparam("to"), seq=sa.bindparam("place")),
        [{"key": key, "to": int(to), "place": first + n} for n, (key, to) in enumerate(states.items())],
    )


def _reserve(connection: sa.Connection, count: int) -> int:
    """The first of `count` numbers of the change feed."""
    c = t.counter.c
    last = connection.execute(
        sa.update(t.counter).where(c.name == "document_seq").values(value=c.value + count).returning(c.value)
    ).scalar()
    if last is None:
        raise StoreError("the change feed has no counter")
    return int(last) - count + 1
