"""`ReadView`: the only way in which decision code reads. A real snapshot, never a stream of single reads."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import exc

from secure_rag.database import statements as q
from secure_rag.database import tables as t
from secure_rag.database.engine import unusable
from secure_rag.database.subjects import SubjectReader
from secure_rag.errors import PolicyError, UnavailableError
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import ChunkKey, ClassKey, Compartment, LabelId, Micros, SourceKey, TenantKey
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock

_MAX_PARAMETERS = 500
_CLOCK_STEP: Final = 300_000_000
"""How far a clock may be set back without stopping answers."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """Where a document stands. `document_id` is the public one."""

    document_id: str
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
        row = self._run(q.POLICY_VERSION, tenant=tenant).one()
        return str(row.generation), int(row.n)

    # ---- classes

    def class_high_water(self, tenant: TenantKey) -> ClassKey:
        """The largest class key of a tenant, 0 without classes."""
        return ClassKey(self._run(q.CLASS_HIGH_WATER, tenant=tenant).scalar() or 0)

    def classes_after(self, tenant: TenantKey, key: ClassKey) -> list[AclClass]:
        """Classes interned after `key`, in key order. Classes never change, so an index only ever appends."""
        return self._read_classes(self._run(q.CLASSES_AFTER, tenant=tenant, key=key).all())

    def classes(self, tenant: TenantKey, keys: Iterable[ClassKey]) -> dict[ClassKey, AclClass]:
        """Classes by key; a class of another tenant is not found."""
        found: dict[ClassKey, AclClass] = {}
        for part in _parts(sorted(set(keys))):
            for cls in self._read_classes(self._run(q.CLASSES_BY_KEY, tenant=tenant, keys=part).all()):
                found[cls.key] = cls
        return found

    def class_keys(
        self,
        tenant: TenantKey,
        sources: Collection[SourceKey] | None,
        labels: Collection[LabelId] | None,
        trusts: Collection[Trust] | None = None,
    ) -> NDArray[np.int64]:
        """Sorted keys of the classes of these sources, labels and trusts (None: of any), for narrowing a scope."""
        c = t.acl_class.c
        statement = sa.select(c.id).where(c.tenant_id == tenant)
        if sources is not None:
            statement = statement.where(c.source_id.in_(sorted(sources)))
        if labels is not None:
            statement = statement.where(c.label.in_(sorted(labels)))
        if trusts is not None:
            statement = statement.where(c.trust.in_(sorted(x.value for x in trusts)))
        keys = self._connection.execute(statement.order_by(c.id)).scalars()
        return np.fromiter(keys, dtype=np.int64)

    def _read_classes(self, rows: Sequence[sa.Row[Any]]) -> list[AclClass]:
        needed = sorted({key for row in rows for key in _lock_keys(row.locks)})
        bodies: dict[int, str] = {}
        for part in _parts(needed):
            bodies.update((row.id, row.body) for row in self._run(q.LOCKS_BY_KEY, keys=part).all())
        return [_class(row, bodies) for row in rows]

    # ---- documents and chunks

    def chunk_rows(self, tenant: TenantKey, keys: Sequence[ChunkKey]) -> dict[ChunkKey, ChunkRow]:
        """Live chunks with class, version and text, read in one statement per part.

        Callers get text only through `secure_rag.retrieval.authorize.authorize_chunks`, which calls this.
        """
        return {
            ChunkKey(row.id): _chunk(row)
            for part in _parts(list(dict.fromkeys(keys)))
            for row in self._run(q.CHUNK_ROWS, tenant=tenant, keys=part).all()
        }

    def document_status(self, tenant: TenantKey, source: str, native_id: str) -> DocumentStatus | None:
        """Where one document stands, by the name its source gave it."""
        d, s = t.document.c, t.source.c
        row = self._connection.execute(
            sa.select(
                d.public_id,
                d.class_id,
                d.state,
                d.acl_as_of,
                s.acl_as_of.label("source_as_of"),
                s.max_acl_age,
            )
            .join(t.source, s.id == d.source_id)
            .where(d.tenant_id == tenant, s.name == source, d.native_id == native_id)
        ).one_or_none()
        if row is None:
            return None
        return DocumentStatus(
            row.public_id,
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

    def live_classes_confirmed_before(
        self, tenant: TenantKey, source: SourceKey, instant: int, without: Collection[str]
    ) -> NDArray[np.int64]:
        """Sorted keys of the classes that guard live documents of a source whose permissions are older.

        Classes that guard nothing any more are not among them.

        Args:
            tenant: of the source.
            source: whose documents.
            instant: permissions confirmed at or after it are young enough.
            without: public ids of documents that do not count.
        """
        d, s = t.document.c, t.source.c
        rows = self._connection.execute(
            sa.select(d.class_id, d.public_id)
            .join(t.source, s.id == d.source_id)
            .where(d.tenant_id == tenant, d.source_id == source, d.state == int(t.DocumentState.LIVE))
            .where(d.acl_as_of < instant, s.acl_as_of < instant)
        )
        return np.array(sorted({key for key, document in rows if document not in without}), np.int64)

    def chunk_key(self, tenant: TenantKey, public_id: str) -> ChunkKey | None:
        """Key of a chunk by the identifier that callers see."""
        statement = (
            sa.select(t.chunk.c.id)
            .join(t.document, t.document.c.id == t.chunk.c.document_id)
            .where(t.chunk.c.public_id == public_id, q.of_tenant(tenant))
        )
        found = self._connection.execute(statement).scalar()
        return None if found is None else ChunkKey(found)

    def chunk_vectors(
        self, tenant: TenantKey, keys: Sequence[ChunkKey]
    ) -> dict[ChunkKey, NDArray[np.float32]]:
        """Stored unit vectors of live chunks.

        They lie in one blob per document, so each document is read once and only the rows asked for are kept: a
        document of thousands of chunks must not be in memory once for every one of them.
        """
        if not keys:
            return {}
        e, c, d, v = t.embedding_space.c, t.chunk.c, t.document.c, t.document_vectors.c
        dimensions = self._connection.execute(sa.select(e.dimensions).where(e.tenant_id == tenant)).scalar()
        wanted: dict[int, list[tuple[int, int]]] = {}
        for part in _parts(list(dict.fromkeys(keys))):
            statement = (
                sa.select(c.id, c.document_id, d.first_chunk)
                .join(t.document, d.id == c.document_id)
                .where(c.id.in_(part), q.of_tenant(tenant), d.state == int(t.DocumentState.LIVE))
            )
            for row in self._connection.execute(statement).all():
                wanted.setdefault(row.document_id, []).append((row.id, row.id - row.first_chunk))
        found: dict[ChunkKey, NDArray[np.float32]] = {}
        for document, places in wanted.items():
            stored = self._connection.execute(sa.select(v.vectors).where(v.document_id == document)).scalar()
            if stored is not None:
                vectors = np.frombuffer(stored, dtype="<f4").reshape(-1, dimensions or 1)
                found.update((ChunkKey(key), vectors[place].copy()) for key, place in places)
        return found

    def engine_id(self, tenant: TenantKey) -> str | None:
        """Engine whose vectors the tenant's index holds; None while it holds none."""
        row = self._run(q.EMBEDDING_SPACE, tenant=tenant).one_or_none()
        return None if row is None else str(row.engine_id)


class Views:
    """Opens read views on the primary database."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], Micros]) -> None:
        self._engine = engine
        self._clock = clock

    @contextlib.contextmanager
    def open(self) -> Generator[ReadView]:
        """A fresh snapshot.

        BEGIN alone takes none: the first SELECT does. So one is made at once, and the clock is read after it.
        What ended stays ended when the clock is set back: a view is never earlier than the last change of rights.

        Raises:
            UnavailableError: the database could not be read, or the clock is far behind it.
        """
        try:
            with self._engine.connect() as connection, connection.begin():
                changed = connection.execute(q.PIN).scalar_one()
                now = self._clock()
                if changed - now > _CLOCK_STEP:
                    raise UnavailableError("the clock is behind the last change of rights")
                yield ReadView(connection, Micros(max(now, changed)))
        except (exc.DatabaseError, exc.TimeoutError) as error:
            if isinstance(error, exc.DatabaseError) and not unusable(error):
                raise
            raise UnavailableError("the control database cannot be read") from error


def _chunk(row: sa.Row[Any]) -> ChunkRow:
    return ChunkRow(
        key=ChunkKey(row.id),
        chunk_id=row.public_id,
        document_id=row.document_id,
        class_key=ClassKey(row.class_id),
        version=row.version,
        source=row.source,
        title=row.title,
        headings=tuple(json.loads(row.headings)),
        text=row.text,
        content_sha256=row.content_sha256,
        label=LabelId(row.label),
        trust=Trust(row.trust),
        contributor=row.contributor,
        acl_as_of=Micros(row.acl_as_of),
        native_id=row.native_id,
        modified_at=Micros(row.modified_at),
    )


def _class(row: sa.Row[Any], bodies: dict[int, str]) -> AclClass:
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
