"""Builds small control databases for tests, through the functions that ingestion uses."""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from secure_rag.database import documents
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.home import Home
from secure_rag.database.interning import intern_class, intern_principal
from secure_rag.model.ids import (
    EVERYONE,
    NEVER,
    ClassKey,
    Compartment,
    DocumentKey,
    LabelId,
    Micros,
    SourceKey,
    TenantKey,
    principal_id,
)
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock

if TYPE_CHECKING:
    from secure_rag.ports import Vector

LABELS = ("Public", "General", "Internal", "Confidential", "Restricted")
ENGINE_ID = "test-engine"
START = Micros(1_750_000_000_000_000)
_DAY = 86_400_000_000


def label_of(tenant: str, name: str) -> LabelId:
    """GUID of one of `LABELS` in a tenant that this builder made."""
    return LabelId(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}/{name}")))


def unit_vectors(random: np.random.Generator, rows: int, dimensions: int) -> Vector:
    """Random unit vectors."""
    found = random.standard_normal((rows, dimensions))
    unit: Vector = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


class IndexBuilder:
    """A home with a control database, written through a connection of its own.

    Each call is one transaction, unless it happens inside `transaction()`.
    """

    def __init__(self, root: Path, *, engine_id: str = ENGINE_ID, dimensions: int = 8) -> None:
        self.home = Home(root)
        self.home.create()
        self.path = self.home.control
        self.engine_id = engine_id
        self.dimensions = dimensions
        self.engine = open_engine(self.path)
        self._ids = documents.PublicIds(b"public ids of a test home")
        self._open: sa.Connection | None = None
        self._names = 0

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Generator[sa.Connection]:
        """One write transaction for all calls inside, or the one that is open already."""
        if self._open is not None:
            yield self._open
            return
        with write(self.engine) as connection:
            self._open = connection
            try:
                yield connection
            finally:
                self._open = None

    # ---- registry

    def tenant(self, name: str = "acme") -> TenantKey:
        """A tenant with the five labels of `LABELS`, `everyone` and an index of this builder's engine."""
        with self.transaction() as c:
            key = TenantKey(
                c.execute(sa.insert(t.tenant).values(name=name).returning(t.tenant.c.id)).scalar_one()
            )
            c.execute(sa.insert(t.policy_version).values(tenant_id=key, generation="test", n=1))
            rows = [
                {"tenant_id": key, "guid": label_of(name, x), "name": x, "priority": i}
                for i, x in enumerate(LABELS)
            ]
            c.execute(sa.insert(t.label), rows)
            c.execute(
                sa.insert(t.taxonomy).values(
                    tenant_id=key,
                    default_label=label_of(name, "Restricted"),
                    mix_threshold=label_of(name, "Confidential"),
                    version=1,
                )
            )
            intern_principal(c, key, EVERYONE)
            documents.claim_embedding_space(c, key, self.engine_id, self.dimensions)
        return key

    def source(self, tenant: TenantKey, name: str = "handbook", trust: Trust = Trust.INTERNAL) -> SourceKey:
        """A registered source whose permissions are fresh for a day from `START`."""
        with self.transaction() as c:
            statement = (
                sa.insert(t.source)
                .values(
                    tenant_id=tenant,
                    name=name,
                    kind="filesystem",
                    trust=trust.value,
                    max_acl_age=_DAY,
                    manifest="{}",
                    acl_as_of=START,
                )
                .returning(t.source.c.id)
            )
            return SourceKey(c.execute(statement).scalar_one())

    def acl_class(
        self,
        source: SourceKey,
        *locks: Lock,
        allow: Iterable[str] | None = None,
        label: str = "Internal",
        compartments: Iterable[str] = (),
    ) -> ClassKey:
        """Intern a class. Without locks or `allow`, a new one with a reader of its own."""
        with self.transaction() as c:
            row = c.execute(
                sa.select(t.source.c.tenant_id, t.source.c.trust, t.tenant.c.name)
                .join(t.tenant, t.tenant.c.id == t.source.c.tenant_id)
                .where(t.source.c.id == source)
            ).one()
            tenant = TenantKey(row.tenant_id)
            if not locks:
                self._names += 1
                names = [f"user:reader-{self._names}"] if allow is None else list(allow)
                locks = (Lock.of((intern_principal(c, tenant, principal_id(x)), NEVER) for x in names),)
            cls = AclClass(
                tenant=tenant,
                locks=locks,
                label=label_of(row.name, label),
                compartments=frozenset(Compartment(x) for x in compartments),
                trust=Trust(row.trust),
                source=source,
            )
            return intern_class(c, cls)

    # ---- documents

    def document(
        self,
        source: SourceKey,
        class_key: ClassKey,
        vectors: Vector,
        *,
        native_id: str | None = None,
        texts: Sequence[str] | None = None,
        state: t.DocumentState = t.DocumentState.LIVE,
        modified_at: int = START,
        contributor: str = "user:author",
    ) -> DocumentKey:
        """Put a document: a new one, or new content (and chunk keys) of the one with this native id."""
        if native_id is None:
            self._names += 1
            native_id = f"document-{self._names}.txt"
        wanted = texts if texts is not None else [f"{native_id} passage {i}" for i in range(len(vectors))]
        content = documents.NewContent(
            title=native_id,
            mime="text/plain",
            contributor=contributor,
            content_sha256=hashlib.sha256("\n".join(wanted).encode()).hexdigest(),
            pipeline_id="test",
            modified_at=Micros(modified_at),
            chunks=[documents.NewChunk(x, 0, len(x), ()) for x in wanted],
            vectors=vectors,
            findings=(),
        )
        with self.transaction() as c:
            tenant = TenantKey(
                c.execute(sa.select(t.source.c.tenant_id).where(t.source.c.id == source)).scalar_one()
            )
            key = documents.ensure_document(c, self._ids, tenant, source, native_id, START)
            documents.put_permission(c, key, self._permission(class_key), START)
            documents.put_content(c, self._ids, key, content, state)
        return key

    def repoint(self, keys: Iterable[DocumentKey], class_key: ClassKey) -> None:
        """Give documents another class, in one transaction; no chunk and no vector is touched."""
        with self.transaction() as c:
            for key in keys:
                documents.put_permission(c, key, self._permission(class_key), START)

    def set_state(self, keys: Iterable[DocumentKey], state: t.DocumentState) -> None:
        """Withhold, quarantine or release documents."""
        with self.transaction() as c:
            for key in keys:
                documents.set_state(c, key, state)

    def delete(self, keys: Iterable[DocumentKey]) -> None:
        """Delete documents; their rows stay as tombstones."""
        with self.transaction() as c:
            for key in keys:
                documents.delete_document(c, key, START)

    # ---- looking at it

    def seq(self) -> int:
        """Sequence number of the latest change."""
        with self.engine.connect() as c:
            return int(c.execute(sa.select(sa.func.max(t.document.c.seq))).scalar() or 0)

    def chunks(self, key: DocumentKey) -> list[int]:
        """Chunk keys of a document, in order."""
        with self.engine.connect() as c:
            statement = sa.select(t.chunk.c.id).where(t.chunk.c.document_id == key).order_by(t.chunk.c.ord)
            return [int(x) for x in c.execute(statement).scalars()]

    @staticmethod
    def _permission(class_key: ClassKey) -> documents.Permission:
        digest = hashlib.sha256(str(class_key).encode()).digest()
        return documents.Permission(
            class_key=class_key, digest=digest, origins="[]", unresolved="[]", confirmed_at=START
        )
