"""Keeps a Qdrant collection equal to the control database: the change feed, and a comparison of everything.

How far the collection is lives in its own metadata, so an emptied or restored collection is filled again by itself.
Applying a step twice gives the same state, so the mark may lag behind the data but never runs ahead of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import sqlalchemy as sa
from qdrant_client import QdrantClient, models

from secure_rag.database import tables as t
from secure_rag.errors import StoreError
from secure_rag.stores.changes import as_matrix
from secure_rag.stores.qdrant_points import PointState, documents_filter, make_point, older_filter

_STEP_DOCUMENTS: Final = 200
_STEP_CHUNKS: Final = 5_000
_PAGE: Final = 1_000
_UPSERT: Final = 500
_STRONG: Final = models.WriteOrdering.STRONG
_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a comparison found; all of it has been repaired.

    Attributes:
        points: points looked at.
        missing: chunks that can be searched but had no point.
        extra: points whose chunk is deleted, withheld or unknown.
        wrong: points with another class, version, tenant, document or instant than the database says.
    """

    points: int
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    wrong: tuple[int, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing differed."""
        return not (self.missing or self.extra or self.wrong)


@dataclass(frozen=True, slots=True)
class _Document:
    state: PointState
    first_chunk: int
    n_chunks: int
    """0 for a document that must not be found."""
    seq: int

    @property
    def chunks(self) -> range:
        return range(self.first_chunk, self.first_chunk + self.n_chunks)


class Feed:
    """Writes one collection."""

    def __init__(self, client: QdrantClient, collection: str, engine_id: str, dimensions: int) -> None:
        self._client = client
        self._collection = collection
        self._engine_id = engine_id
        self._dimensions = dimensions
        self.malformed: set[int] = set()

    # ---- the mark

    def known(self, info: models.CollectionInfo) -> bool:
        """Whether the collection has our mark; it gets one after its indexes, before its first point."""
        return _mark(info) is not None

    def fits(self, info: models.CollectionInfo) -> bool:
        """Whether the collection is for this engine."""
        mark = _mark(info) or {}
        return (mark.get("engine_id"), mark.get("dimensions")) == (self._engine_id, self._dimensions)

    def begin(self) -> None:
        """Mark an empty collection."""
        self._put_mark(0)

    def lag(self, engine: sa.Engine) -> int:
        """Changes not seen yet, at most."""
        with engine.connect() as connection:
            return max(0, _highest(connection) - self._seq())

    def _seq(self) -> int:
        seq = (_mark(self._client.get_collection(self._collection)) or {}).get("seq")
        if type(seq) is not int:
            raise StoreError("the collection has lost its mark")
        return seq

    def _put_mark(self, seq: int) -> None:
        mark = {"engine_id": self._engine_id, "dimensions": self._dimensions, "seq": seq}
        self._client.update_collection(self._collection, metadata={"secure_rag": mark})

    # ---- the feed

    def sync(self, engine: sa.Engine) -> int:
        """Apply all changes since the mark; how many there were."""
        applied, seq = 0, self._seq()
        with engine.connect() as connection:
            highest = _highest(connection)
        if highest < seq:
            # The database went back to an earlier state: the feed cannot say what changed.
            self.reconcile(engine)
            return 0
        while True:
            with engine.connect() as connection, connection.begin():
                changes = self._changes(connection, seq)
                vectors = self._vectors(connection, [x for x in changes if x.n_chunks])
            if not changes:
                return applied
            self._apply(changes, vectors)
            seq = changes[-1].seq
            self._put_mark(seq)
            applied += len(changes)

    def _changes(self, connection: sa.Connection, seq: int) -> list[_Document]:
        statement = (
            _documents().where(t.document.c.seq > seq).order_by(t.document.c.seq).limit(_STEP_DOCUMENTS)
        )
        found: list[_Document] = []
        chunks = 0
        for document in self._read(connection, statement):
            found.append(document)
            chunks += document.n_chunks
            if chunks >= _STEP_CHUNKS:
                break
        return found

    def _apply(self, changes: Sequence[_Document], vectors: Mapping[int, bytes]) -> None:
        """Withdraw before adding: what must not be found goes first."""
        live = [x for x in changes if x.n_chunks]
        there = self._payloads([chunk for x in live for chunk in x.chunks])
        gone = [x.state.document for x in changes if not x.n_chunks]
        self.malformed.difference_update(gone)
        operations: list[models.UpdateOperation] = []
        if gone:
            operations.append(_delete(documents_filter(gone)))
        absent: list[_Document] = []
        for document in live:
            if all(chunk in there for chunk in document.chunks):
                # Chunk keys are never reused, so the vectors are right and only the payload can differ.
                if any(there[chunk] != document.state.payload() for chunk in document.chunks):
                    operations.append(_overwrite(document.state, list(document.chunks)))
            else:
                absent.append(document)
            operations.append(_delete(older_filter(document.state.document, document.state.version)))
        self._write(operations)
        self._add(absent, vectors)

    def _add(self, documents: Iterable[_Document], vectors: Mapping[int, bytes]) -> None:
        points: list[models.PointStruct] = []
        for document in documents:
            try:
                points.extend(self._points(document, vectors))
                self.malformed.discard(document.state.document)
            except StoreError as error:
                # One damaged document must not hold up the withdrawals that come after it.
                self.malformed.add(document.state.document)
                _LOG.error("document %d is left out: %s", document.state.document, error)
        for part in _parts(points, _UPSERT):
            self._write([models.UpsertOperation(upsert=models.PointsList(points=list(part)))])

    def _points(self, document: _Document, vectors: Mapping[int, bytes]) -> list[models.PointStruct]:
        found = as_matrix(vectors.get(document.state.document), document.n_chunks, self._dimensions)
        if found is None:
            raise StoreError("there is not one stored vector for each chunk")
        pairs = zip(document.chunks, found, strict=True)
        return [make_point(chunk, vector, document.state, self._dimensions) for chunk, vector in pairs]

    def _write(self, operations: Sequence[models.UpdateOperation]) -> None:
        if operations:
            # Strong ordering and waiting: a withdrawn permission has left every replica's queue when this returns.
            self._client.batch_update_points(
                self._collection, update_operations=list(operations), wait=True, ordering=_STRONG
            )

    def _payloads(self, chunks: Sequence[int]) -> dict[int, dict[str, object]]:
        found: dict[int, dict[str, object]] = {}
        for part in _parts(chunks, _PAGE):
            for record in self._client.retrieve(
                self._collection, ids=list(part), with_payload=True, with_vectors=False
            ):
                if type(record.id) is int:
                    found[record.id] = dict(record.payload or {})
        return found

    # ---- everything

    def reconcile(self, engine: sa.Engine) -> Reconciliation:
        """Compare all points with one snapshot of the database, and repair."""
        with engine.connect() as connection, connection.begin():
            seq = _highest(connection)
            live = [x for x in self._read(connection, _documents()) if x.n_chunks]
        live.sort(key=lambda x: x.first_chunk)
        firsts = np.array([x.first_chunk for x in live], np.int64)
        sizes = np.array([x.n_chunks for x in live], np.int64)
        places = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        seen = np.zeros(int(places[-1]), bool)
        points, extra, wrong = 0, list[int](), list[int]()
        for record in self._scroll():
            points += 1
            key = record.id
            if type(key) is not int:
                raise StoreError("the collection holds a point that is not ours")
            at = int(np.searchsorted(firsts, key, "right")) - 1
            if at < 0 or key >= firsts[at] + sizes[at]:
                extra.append(key)
                continue
            seen[places[at] + key - firsts[at]] = True
            if record.payload != live[at].state.payload():
                wrong.append(key)
        rows = np.flatnonzero(~seen)
        owner = np.searchsorted(places, rows, "right") - 1
        missing: list[int] = (firsts[owner] + rows - places[owner]).tolist()
        self._repair(engine, extra, wrong, [live[x] for x in np.unique(owner)], live, firsts)
        self._put_mark(seq)
        return Reconciliation(points, tuple(missing), tuple(extra), tuple(wrong))

    def _repair(
        self,
        engine: sa.Engine,
        extra: Sequence[int],
        wrong: Sequence[int],
        incomplete: Sequence[_Document],
        live: Sequence[_Document],
        firsts: np.ndarray[tuple[int], np.dtype[np.int64]],
    ) -> None:
        for part in _parts(extra, _PAGE):
            self._write([models.DeleteOperation(delete=models.PointIdsList(points=list(part)))])
        for part in _parts(wrong, _PAGE):
            owners = (np.searchsorted(firsts, np.array(part), "right") - 1).tolist()
            self._write([_overwrite(live[at].state, [key]) for at, key in zip(owners, part, strict=True)])
        for documents in _parts(incomplete, _STEP_DOCUMENTS):
            with engine.connect() as connection:
                vectors = self._vectors(connection, documents)
            self._add(documents, vectors)

    def _scroll(self) -> Iterator[models.Record]:
        offset = None
        while True:
            records, offset = self._client.scroll(
                self._collection, limit=_PAGE, offset=offset, with_payload=True, with_vectors=False
            )
            yield from records
            if offset is None:
                return

    # ---- the database

    def _read(self, connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]]) -> Iterator[_Document]:
        for row in connection.execute(statement):
            ours = (row.engine_id, row.dimensions) == (self._engine_id, self._dimensions)
            findable = ours and row.state == int(t.DocumentState.LIVE) and row.class_id is not None
            yield _Document(
                PointState(row.tenant_id, row.class_id or 0, row.id, row.version, row.modified_at),
                row.first_chunk,
                row.n_chunks if findable else 0,
                row.seq,
            )

    @staticmethod
    def _vectors(connection: sa.Connection, documents: Sequence[_Document]) -> dict[int, bytes]:
        v = t.document_vectors.c
        keys = [x.state.document for x in documents]
        found: dict[int, bytes] = {}
        for part in _parts(keys, _STEP_DOCUMENTS):
            rows = connection.execute(sa.select(v.document_id, v.vectors).where(v.document_id.in_(part)))
            found.update((row.document_id, row.vectors) for row in rows)
        return found


def _documents() -> sa.Select[*tuple[Any, ...]]:
    d, e = t.document.c, t.embedding_space.c
    columns = (
        d.id,
        d.tenant_id,
        d.class_id,
        d.state,
        d.version,
        d.modified_at,
        d.first_chunk,
        d.n_chunks,
        d.seq,
    )
    return sa.select(*columns, e.engine_id, e.dimensions).join(
        t.embedding_space, e.tenant_id == d.tenant_id, isouter=True
    )


def _highest(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(t.document.c.seq), 0))).scalar_one())


def _mark(info: models.CollectionInfo) -> dict[str, object] | None:
    mark = (info.config.metadata or {}).get("secure_rag")
    return dict(mark) if isinstance(mark, dict) else None


def _overwrite(state: PointState, chunks: list[int]) -> models.OverwritePayloadOperation:
    return models.OverwritePayloadOperation(
        overwrite_payload=models.SetPayload(payload=dict(state.payload()), points=list(chunks))
    )


def _delete(where: models.Filter) -> models.DeleteOperation:
    return models.DeleteOperation(delete=models.FilterSelector(filter=where))


def _parts(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
