"""`ReadView`: the only way in which decision code reads. A real snapshot, never a stream of single reads."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import exc

from secure_rag.database import tables as t
from secure_rag.database.subjects import SubjectReader
from secure_rag.errors import PolicyError, UnavailableError
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import ChunkKey, ClassKey, Compartment, LabelId, Micros, SourceKey, TenantKey
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock

_MAX_PARAMETERS = 500
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """Where a document stands."""

    class_key: ClassKey | None
    live: bool
    quarantined: bool
    acl_as_of: Micros
    max_acl_age: Micros


class ReadView(SubjectReader):
    """One snapshot of the control database at `now`.

    Everything that an answer depends on is read through one of these; the final check uses a fresh one.
    """

    def __init__(self, connection: sa.Connection, now: Micros) -> None:
        super().__init__(connection, now)
        self.now = now

    def policy_version(self, tenant: TenantKey) -> tuple[str, int]:
        """`(generation, n)`; informs auditors, is not the safety mechanism."""
        v = t.policy_version.c
        row = self._connection.execute(sa.select(v.generation, v.n).where(v.tenant_id == tenant)).one()
        return str(row.generation), int(row.n)

    # ---- classes

    def class_high_water(self, tenant: TenantKey) -> ClassKey:
        """The largest class key of a tenant, 0 without classes."""
        c = t.acl_class.c
        found = self._connection.execute(sa.select(sa.func.max(c.id)).where(c.tenant_id == tenant)).scalar()
        return ClassKey(found or 0)

    def classes_after(self, tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        """Classes interned after `key`, in key order. Classes never change, so an index only ever appends."""
        c = t.acl_class.c
        return self._read_classes(
            sa.select(t.acl_class).where(c.tenant_id == tenant, c.id > key).order_by(c.id)
        )

    def classes(self, tenant: TenantKey, keys: Iterable[ClassKey]) -> dict[ClassKey, AclClass]:
        """Classes by key; a class of another tenant is not found."""
        c = t.acl_class.c
        found: dict[ClassKey, AclClass] = {}
        for part in _parts(sorted(set(keys))):
            for cls in self._read_classes(
                sa.select(t.acl_class).where(c.tenant_id == tenant, c.id.in_(part))
            ):
                found[cls.key] = cls
        return found

    def class_keys(
        self, tenant: TenantKey, sources: Collection[SourceKey], labels: Collection[LabelId] | None
    ) -> NDArray[np.int64]:
        """Sorted keys of the classes of these sources (and labels), for narrowing a scope."""
        c = t.acl_class.c
        statement = sa.select(c.id).where(c.tenant_id == tenant, c.source_id.in_(sorted(sources)))
        if labels is not None:
            statement = statement.where(c.label.in_(sorted(labels)))
        keys = self._connection.execute(statement.order_by(c.id)).scalars()
        return np.fromiter(keys, dtype=np.int64)

    def _read_classes(self, statement: sa.Select[tuple[object, ...]]) -> list[AclClass]:
        rows = self._connection.execute(statement).all()
        needed = sorted({key for row in rows for key in _lock_keys(row.locks)})
        bodies: dict[int, str] = {}
        for part in _parts(needed):
            c = t.acl_lock.c
            found = self._connection.execute(sa.select(c.id, c.body).where(c.id.in_(part))).all()
            bodies.update((row.id, row.body) for row in found)
        return [_class(row, bodies) for row in rows]

    # ---- documents and chunks

    def chunk_rows(self, tenant: TenantKey, keys: Sequence[ChunkKey]) -> dict[ChunkKey, ChunkRow]:
        """Live chunks with class, version and text, read in one statement per part.

        Callers get text only through `secure_rag.retrieval.authorize.authorize_chunks`, which calls this.
        """
        c = t.chunk.c
        return {
            row.key: row
            for part in _parts(list(dict.fromkeys(keys)))
            for row in self._read_chunks(tenant, c.id.in_(part))
        }

    def document_status(self, tenant: TenantKey, source: str, native_id: str) -> DocumentStatus | None:
        """Where one document stands, by the name its source gave it."""
        d, s = t.document.c, t.source.c
        row = self._connection.execute(
            sa.select(d.class_id, d.state, d.acl_as_of, s.acl_as_of.label("source_as_of"), s.max_acl_age)
            .join(t.source, s.id == d.source_id)
            .where(d.tenant_id == tenant, s.name == source, d.native_id == native_id)
        ).one_or_none()
        if row is None:
            return None
        return DocumentStatus(
            None if row.class_id is None else ClassKey(row.class_id),
            row.state == int(t.DocumentState.LIVE),
            row.state == int(t.DocumentState.QUARANTINED),
            Micros(max(row.acl_as_of, row.source_as_of)),
            Micros(row.max_acl_age),
        )

    def documents_per_class(self, tenant: TenantKey) -> dict[ClassKey, int]:
        """How many live documents each class guards."""
        d = t.document.c
        rows = self._connection.execute(
            sa.select(d.class_id, sa.func.count())
            .where(d.tenant_id == tenant, d.state == int(t.DocumentState.LIVE))
            .group_by(d.class_id)
        ).all()
        return {ClassKey(key): count for key, count in rows}

    def chunk_key(self, tenant: TenantKey, public_id: str) -> ChunkKey | None:
        """Key of a chunk by the identifier that callers see."""
        statement = (
            sa.select(t.chunk.c.id)
            .join(t.document, t.document.c.id == t.chunk.c.document_id)
            .where(t.chunk.c.public_id == public_id, _of_tenant(tenant))
        )
        found = self._connection.execute(statement).scalar()
        return None if found is None else ChunkKey(found)

    def chunk_vectors(
        self, tenant: TenantKey, keys: Sequence[ChunkKey]
    ) -> dict[ChunkKey, NDArray[np.float32]]:
        """Stored unit vectors of live chunks."""
        if not keys:
            return {}
        e = t.embedding_space.c
        dimensions = self._connection.execute(sa.select(e.dimensions).where(e.tenant_id == tenant)).scalar()
        found: dict[ChunkKey, NDArray[np.float32]] = {}
        c, d, v = t.chunk.c, t.document.c, t.document_vectors.c
        for part in _parts(list(dict.fromkeys(keys))):
            statement = (
                sa.select(c.id, d.first_chunk, v.vectors)
                .join(t.document, d.id == c.document_id)
                .join(t.document_vectors, v.document_id == d.id)
                .where(c.id.in_(part), _of_tenant(tenant), d.state == int(t.DocumentState.LIVE))
            )
            for row in self._connection.execute(statement).all():
                vectors = np.frombuffer(row.vectors, dtype="<f4").reshape(-1, dimensions or 1)
                found[ChunkKey(row.id)] = vectors[row.id - row.first_chunk]
        return found

    def source_ages(self, tenant: TenantKey) -> dict[SourceKey, tuple[str, Micros, Micros]]:
        """Name, `acl_as_of` and `max_acl_age` of every source."""
        s = t.source.c
        rows = self._connection.execute(
            sa.select(s.id, s.name, s.acl_as_of, s.max_acl_age).where(s.tenant_id == tenant)
        ).all()
        return {SourceKey(r.id): (r.name, Micros(r.acl_as_of), Micros(r.max_acl_age)) for r in rows}

    def engine_id(self, tenant: TenantKey) -> str | None:
        """Engine whose vectors the tenant's index holds; None while it holds none."""
        e = t.embedding_space.c
        return self._connection.execute(sa.select(e.engine_id).where(e.tenant_id == tenant)).scalar()

    def _read_chunks(self, tenant: TenantKey, where: sa.ColumnElement[bool]) -> list[ChunkRow]:
        c, d, s, a = t.chunk.c, t.document.c, t.source.c, t.acl_class.c
        statement = (
            sa.select(
                c.id,
                c.public_id,
                c.headings,
                c.text,
                d.public_id.label("document_id"),
                d.class_id,
                d.version,
                d.title,
                d.contributor,
                d.content_sha256,
                d.native_id,
                d.modified_at,
                sa.case((d.acl_as_of > s.acl_as_of, d.acl_as_of), else_=s.acl_as_of).label("acl_as_of"),
                s.name.label("source"),
                a.label,
                a.trust,
            )
            .join(t.document, d.id == c.document_id)
            .join(t.source, s.id == d.source_id)
            .join(t.acl_class, a.id == d.class_id)
            .where(where, _of_tenant(tenant), d.state == int(t.DocumentState.LIVE))
        )
        return [
            ChunkRow(
                key=ChunkKey(r.id),
                chunk_id=r.public_id,
                document_id=r.document_id,
                class_key=ClassKey(r.class_id),
                version=r.version,
                source=r.source,
                title=r.title,
                headings=tuple(json.loads(r.headings)),
                text=r.text,
                content_sha256=r.content_sha256,
                label=LabelId(r.label),
                trust=Trust(r.trust),
                contributor=r.contributor,
                acl_as_of=Micros(r.acl_as_of),
                native_id=r.native_id,
                modified_at=Micros(r.modified_at),
            )
            for r in self._connection.execute(statement).all()
        ]


class Views:
    """Opens read views on the primary database."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], Micros]) -> None:
        self._engine = engine
        self._clock = clock

    @contextlib.contextmanager
    def open(self) -> Iterator[ReadView]:
        """A fresh snapshot.

        BEGIN alone takes none: the first SELECT does. So one is made at once, and the clock is read after it.

        Raises:
            UnavailableError: the database could not be read.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                connection.execute(sa.select(sa.func.count()).select_from(t.policy_version)).scalar_one()
                yield ReadView(connection, self._clock())
        except exc.OperationalError as error:
            raise UnavailableError("the control database cannot be read") from error


def _of_tenant(tenant: TenantKey) -> sa.ColumnElement[bool]:
    """Documents of a tenant, as a condition that no index answers.

    Otherwise SQLite starts from the tenant's documents instead of from the few chunks that were asked for: 40 ms
    instead of 1 ms for 28 chunks of 100,000.
    """
    return t.document.c.tenant_id + 0 == tenant


def _class(row: sa.Row[tuple[object, ...]], bodies: dict[int, str]) -> AclClass:
    keys = _lock_keys(row.locks)
    if len(keys) != row.n_locks or any(key not in bodies for key in keys):
        raise PolicyError(f"class {row.id} lacks a lock")
    return AclClass(
        tenant=TenantKey(row.tenant_id),
        locks=tuple(_lock(bodies[key]) for key in keys),
        label=LabelId(row.label),
        compartments=frozenset(Compartment(x) for x in json.loads(row.compartments)),
        trust=Trust(row.trust),
        source=SourceKey(row.source_id),
        key=ClassKey(row.id),
    )


def _lock_keys(stored: str) -> list[int]:
    return [int(x) for x in json.loads(stored)]


@functools.lru_cache(maxsize=20_000)
def _lock(body: str) -> Lock:
    return Lock.from_body(body)


def _parts(items: Sequence[_T]) -> Generator[Sequence[_T]]:
    for start in range(0, len(items), _MAX_PARAMETERS):
        yield items[start : start + _MAX_PARAMETERS]
