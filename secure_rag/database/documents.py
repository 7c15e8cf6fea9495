"""Writing documents. Every function works inside the caller's transaction; one document, one transaction.

The class lives only on the document row, the vectors in one row per document, and `seq` is the change feed: every
change of a document takes the next number from a counter row, so commit order is feed order.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from secure_rag.database import tables as t
from secure_rag.database.erasure import mark_unerased, put_receipt
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.model.findings import Finding
from secure_rag.model.ids import NEVER, ClassKey, DocumentKey, Micros, SourceKey, TenantKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What the registry knows of a document, for deciding what a run has to do."""

    key: DocumentKey
    native_id: str
    class_key: ClassKey | None
    state: DocumentState
    version: int
    content_sha256: str
    permission_digest: bytes | None
    pipeline_id: str
    contributor: str
    signature: str = ""


@dataclass(frozen=True, slots=True)
class NewChunk:
    """One chunk; `start` and `end` are character offsets into the extracted text."""

    text: str
    start: int
    end: int
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewContent:
    """One version of a document's content. `vectors` is (chunks, dimensions), unit rows, float32."""

    title: str
    mime: str
    contributor: str
    content_sha256: str
    pipeline_id: str
    modified_at: Micros
    chunks: Sequence[NewChunk]
    vectors: NDArray[np.float32]
    findings: Sequence[Finding]
    signature: str = ""
    """Of the item at the source while its content was read; empty is equal to none."""


@dataclass(frozen=True, slots=True)
class Permission:
    """An interned class with where it came from; `origins` and `unresolved` are JSON, outside every class digest."""

    class_key: ClassKey
    digest: bytes
    origins: str
    unresolved: str
    confirmed_at: Micros


class PublicIds:
    """Opaque identifiers: reproducible for this home, telling nothing of order or number."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def document(self, tenant: TenantKey, source: SourceKey, native_id: str) -> str:
        """Identifier of a document."""
        return "d_" + self._digest("document", tenant, source, native_id)

    def chunk(self, document: str, version: int, ordinal: int) -> str:
        """Identifier of a chunk of one version."""
        return "c_" + self._digest("chunk", document, version, ordinal)

    def _digest(self, *parts: object) -> str:
        text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()[:32]


def next_seq(connection: sa.Connection) -> int:
    """Next number of the change feed; taken late, since it holds the counter row until commit."""
    c = t.counter.c
    found = connection.execute(
        sa.update(t.counter).where(c.name == "document_seq").values(value=c.value + 1).returning(c.value)
    ).scalar()
    if found is None:
        raise StoreError("the change feed has no counter")
    return int(found)


def stored_documents(connection: sa.Connection, source: SourceKey) -> dict[str, StoredDocument]:
    """Every document of a source that is not deleted, by native id."""
    d = t.document.c
    columns = (
        d.id,
        d.native_id,
        d.class_id,
        d.state,
        d.version,
        d.content_sha256,
        d.permission_digest,
        d.pipeline_id,
        d.contributor,
        d.signature,
    )
    rows = connection.execute(
        sa.select(*columns).where(d.source_id == source, d.state != int(DocumentState.DELETED))
    ).all()
    return {
        r.native_id: StoredDocument(
            DocumentKey(r.id),
            r.native_id,
            None if r.class_id is None else ClassKey(r.class_id),
            DocumentState(r.state),
            r.version,
            r.content_sha256,
            r.permission_digest,
            r.pipeline_id,
            r.contributor,
            r.signature,
        )
        for r in rows
    }


def ensure_document(
    connection: sa.Connection,
    ids: PublicIds,
    tenant: TenantKey,
    source: SourceKey,
    native_id: str,
    now: Micros,
) -> DocumentKey:
    """Key of a document; a new or deleted one starts withheld and empty."""
    d = t.document.c
    found = connection.execute(
        sa.select(d.id).where(d.tenant_id == tenant, d.source_id == source, d.native_id == native_id)
    ).scalar()
    if found is not None:
        return DocumentKey(found)
    row = connection.execute(
        insert(t.document)
        .values(
            tenant_id=tenant,
            source_id=source,
            native_id=native_id,
            public_id=ids.document(tenant, source, native_id),
            state=int(DocumentState.WITHHELD),
            version=0,
            title="",
            mime="",
            contributor="",
            content_sha256="",
            pipeline_id="",
            origins="[]",
            modified_at=now,
            acl_as_of=0,
            first_chunk=0,
            n_chunks=0,
            seq=next_seq(connection),
        )
        .returning(d.id)
    )
    return DocumentKey(row.scalar_one())


def put_content(
    connection: sa.Connection, ids: PublicIds, key: DocumentKey, content: NewContent, state: DocumentState
) -> int:
    """Replace a document's content by a new version and return that version's number."""
    drop_content(connection, key)
    d = t.document.c
    old = connection.execute(sa.select(d.version, d.public_id).where(d.id == key)).one()
    version = int(old.version) + 1
    first = 0
    rows = [
        {
            "document_id": key,
            "ord": ordinal,
            "public_id": ids.chunk(old.public_id, version, ordinal),
            "start": chunk.start,
            "end": chunk.end,
            "headings": json.dumps(chunk.headings, ensure_ascii=False),
            "text": chunk.text,
        }
        for ordinal, chunk in enumerate(content.chunks)
    ]
    if rows:
        keys = list(
            connection.execute(
                insert(t.chunk).returning(t.chunk.c.id, sort_by_parameter_order=True), rows
            ).scalars()
        )
        first = keys[0]
        if keys != list(range(first, first + len(rows))):
            raise StoreError("chunk keys of one document are not consecutive")
        vectors = content.vectors.astype("<f4", copy=False).tobytes()
        connection.execute(insert(t.document_vectors).values(document_id=key, vectors=vectors))
    put_findings(connection, key, version, content.findings)
    connection.execute(
        sa.update(t.document)
        .where(d.id == key)
        .values(
            state=int(state),
            version=version,
            title=content.title,
            mime=content.mime,
            contributor=content.contributor,
            content_sha256=content.content_sha256,
            pipeline_id=content.pipeline_id,
            modified_at=content.modified_at,
            signature=content.signature,
            first_chunk=first,
            n_chunks=len(rows),
            seq=next_seq(connection),
        )
    )
    return version


def put_findings(
    connection: sa.Connection, key: DocumentKey, version: int, findings: Iterable[Finding]
) -> None:
    """Record what detectors found on one version."""
    rows = [
        {
            "document_id": key,
            "version": version,
            "detector": x.detector,
            "verdict": x.verdict.value,
            "score": float(x.score),
            "threshold": float(x.threshold),
            "span_start": None if x.span is None else x.span[0],
            "span_end": None if x.span is None else x.span[1],
            "evidence": x.evidence,
            "rule": x.rule,
        }
        for x in findings
    ]
    if rows:
        connection.execute(sa.insert(t.finding), rows)


def replace_findings(
    connection: sa.Connection, key: DocumentKey, version: int, detector: str, findings: Iterable[Finding]
) -> None:
    """Record what one detector finds now on a version whose content stays."""
    f = t.finding.c
    connection.execute(sa.delete(t.finding).where(f.document_id == key, f.detector == detector))
    put_findings(connection, key, version, findings)


def put_permission(connection: sa.Connection, key: DocumentKey, permission: Permission, now: Micros) -> None:
    """Point a document at its class. Touches no chunk and no vector; history keeps the old one."""
    d = t.document.c
    before = connection.execute(sa.select(d.class_id).where(d.id == key)).scalar()
    if before != permission.class_key:
        _end_class(connection, key, now)
        connection.execute(
            sa.insert(t.document_class).values(document_id=key, class_id=permission.class_key, valid_from=now)
        )
    connection.execute(
        sa.update(t.document)
        .where(d.id == key)
        .values(
            class_id=permission.class_key,
            permission_digest=permission.digest,
            origins=permission.origins,
            unresolved=permission.unresolved,
            acl_as_of=permission.confirmed_at,
            seq=next_seq(connection),
        )
    )


def put_contributor(connection: sa.Connection, key: DocumentKey, contributor: str) -> None:
    """Record another author: the source's manifest may learn later whom it authenticated."""
    connection.execute(sa.update(t.document).where(t.document.c.id == key).values(contributor=contributor))


def put_signatures(connection: sa.Connection, signatures: Sequence[tuple[DocumentKey, str]]) -> None:
    """Record what items look like at the source whose content was read and is the stored one."""
    if signatures:
        d = t.document.c
        connection.execute(
            sa.update(t.document).where(d.id == sa.bindparam("key")).values(signature=sa.bindparam("seen")),
            [{"key": key, "seen": seen} for key, seen in signatures],
        )


def state_of(connection: sa.Connection, key: DocumentKey) -> DocumentState:
    """Where a document stands now."""
    return DocumentState(
        connection.execute(sa.select(t.document.c.state).where(t.document.c.id == key)).scalar_one()
    )


def set_state(connection: sa.Connection, key: DocumentKey, state: DocumentState) -> None:
    """Withhold, quarantine or release a document."""
    connection.execute(
        sa.update(t.document).where(t.document.c.id == key).values(state=int(state), seq=next_seq(connection))
    )


def drop_content(connection: sa.Connection, key: DocumentKey) -> None:
    """Delete text, vectors and evidence of a document; `erasure.erase` then takes their bytes out of the files."""
    removed = [
        connection.execute(sa.delete(table).where(table.c.document_id == key)).rowcount
        for table in (t.chunk, t.document_vectors, t.finding)
    ]
    if any(removed):
        mark_unerased(connection)


def delete_document(connection: sa.Connection, key: DocumentKey, now: Micros) -> None:
    """Delete a document's content; its row stays as a tombstone, which is the change feed's word of it."""
    drop_content(connection, key)
    _end_class(connection, key, now)
    put_receipt(connection, key, now)
    connection.execute(
        sa.update(t.document)
        .where(t.document.c.id == key)
        .values(
            state=int(DocumentState.DELETED),
            title="",
            content_sha256="",
            pipeline_id="",
            origins="[]",
            unresolved="[]",
            permission_digest=None,
            first_chunk=0,
            n_chunks=0,
            seq=next_seq(connection),
        )
    )


def _end_class(connection: sa.Connection, key: DocumentKey, now: Micros) -> None:
    """End the running entry of the history; never before it began, even if the clock was set back."""
    h = t.document_class.c
    connection.execute(
        sa.update(t.document_class)
        .where(h.document_id == key, h.valid_to == NEVER)
        .values(valid_to=sa.func.max(now, h.valid_from))
    )


def claim_embedding_space(
    connection: sa.Connection, tenant: TenantKey, engine_id: str, dimensions: int
) -> None:
    """Bind a tenant's index to one engine.

    Raises:
        StoreError: the index was made by another engine; vectors of two engines never mix.
    """
    e = t.embedding_space.c
    row = connection.execute(sa.select(e.engine_id, e.dimensions).where(e.tenant_id == tenant)).one_or_none()
    if row is None:
        connection.execute(
            sa.insert(t.embedding_space).values(tenant_id=tenant, engine_id=engine_id, dimensions=dimensions)
        )
    elif (row.engine_id, row.dimensions) != (engine_id, dimensions):
        raise StoreError(
            f"the index of this tenant was made by the embedding engine {row.engine_id}, and vectors of {engine_id} "
            "cannot be mixed into it: set `embedding` in config.yaml back, or ingest into a new home"
        )
