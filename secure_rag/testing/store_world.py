"""A small company that a store under test follows, and a brute force over what its database says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.model.ids import ClassKey, DocumentKey, Micros, SourceKey, TenantKey
from secure_rag.ports import AccessScope, Hit, VectorStore
from secure_rag.testing.index_builder import START, IndexBuilder, unit_vectors

if TYPE_CHECKING:
    from secure_rag.ports import Vector

DIMENSIONS = 16
ROUNDING = 2e-6
"""Two scores nearer than this may be ordered either way by a store that computes in float32."""


class ConformanceError(AssertionError):
    """The store does not do what every store must."""


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """A store over a builder's database.

    Attributes:
        store: the store.
        settle: brings it to the database's latest state.
        exact: ids, order and scores equal those of a brute force in float64, ties included.
        plant: writes a point past all checks (chunk key, vector, payload); None if the store has no points.
        close: releases it.
    """

    store: VectorStore
    settle: Callable[[], None]
    exact: bool
    plant: Callable[[int, Vector, Mapping[str, object]], None] | None
    close: Callable[[], None]


OpenStore = Callable[[IndexBuilder], OpenedStore]


class World:
    """Two tenants with a few classes each, random documents, and a brute force over what the database says."""

    def __init__(self, directory: Path, open_store: OpenStore, *, seed: int = 1, documents: int = 60) -> None:
        self.random = np.random.default_rng(seed)
        self.builder = IndexBuilder(directory / "home", dimensions=DIMENSIONS)
        self.tenants: list[TenantKey] = []
        self.sources: list[SourceKey] = []
        self.classes: list[list[ClassKey]] = []
        self.documents: list[list[DocumentKey]] = []
        for name in ("acme", "globex"):
            tenant = self.builder.tenant(name)
            source = self.builder.source(tenant)
            self.tenants.append(tenant)
            self.sources.append(source)
            self.classes.append([self.builder.acl_class(source) for _ in range(6)])
            with self.builder.transaction():
                made = [
                    self.add(source, self.classes[-1][i % 6], modified_at=START + i) for i in range(documents)
                ]
            self.documents.append(made)
        self.opened = open_store(self.builder)
        self.opened.settle()

    def close(self) -> None:
        """Release store and database."""
        self.opened.close()
        self.builder.close()

    def add(self, source: SourceKey, cls: ClassKey, *, modified_at: int = START) -> DocumentKey:
        """A document of one to five random passages."""
        rows = int(self.random.integers(1, 6))
        vectors = unit_vectors(self.random, rows, DIMENSIONS)
        return self.builder.document(source, cls, vectors, modified_at=modified_at)

    def query(self) -> Vector:
        """A random query."""
        vector: Vector = unit_vectors(self.random, 1, DIMENSIONS)[0]
        return vector

    def scope(
        self, classes: Sequence[int], tenant: int = 0, modified_after: int | None = None
    ) -> AccessScope:
        """A scope of one of the two tenants."""
        after = None if modified_after is None else Micros(modified_after)
        return AccessScope(self.tenants[tenant], np.unique(np.array(classes, np.int64)), after)

    def search(self, scope: AccessScope, query: Vector, k: int = 10) -> list[Hit]:
        """Ask the store."""
        return list(self.opened.store.search(scope, query, k))

    def truth(self, scope: AccessScope, query: Vector) -> list[Hit]:
        """Every chunk that the scope allows, best first, by brute force over the database."""
        d, v = t.document.c, t.document_vectors.c
        statement = sa.select(d.id, d.first_chunk, d.modified_at, v.vectors).where(
            v.document_id == d.id,
            d.tenant_id == scope.tenant,
            d.state == int(DocumentState.LIVE),
            d.class_id.in_(scope.classes.tolist()),
        )
        found: list[Hit] = []
        with self.builder.engine.connect() as connection:
            for row in connection.execute(statement):
                if scope.modified_after is not None and row.modified_at <= scope.modified_after:
                    continue
                vectors = np.frombuffer(row.vectors, "<f4").reshape(-1, DIMENSIONS).astype(np.float64)
                scores = np.round(vectors @ query.astype(np.float64), 6).tolist()
                found += [Hit(row.first_chunk + i, score) for i, score in enumerate(scores)]
        return sorted(found, key=lambda hit: (-hit.score, hit.chunk))

    def expect_truth(self, scope: AccessScope, query: Vector, k: int = 10) -> list[Hit]:
        """Compare the store's answer with the brute force, and return it.

        Raises:
            ConformanceError: they differ.
        """
        got, everything = self.search(scope, query, k), self.truth(scope, query)
        wanted = everything[:k]
        if self.opened.exact:
            expect(got == wanted, "ids, order and scores equal the brute force")
            return got
        score_of = {hit.chunk: hit.score for hit in everything}
        expect(len(got) == len(wanted), "as many hits as there are")
        expect(len({hit.chunk for hit in got}) == len(got), "no chunk twice")
        expect(all(hit.chunk in score_of for hit in got), "nothing outside the scope")
        for hit, best in zip(got, wanted, strict=True):
            expect(abs(hit.score - score_of[hit.chunk]) < ROUNDING, "scores are cosines")
            expect(abs(score_of[hit.chunk] - best.score) < ROUNDING, "the best, in order")
        return got


def expect(condition: bool, what: str) -> None:
    """Fail unless the condition holds.

    Raises:
        ConformanceError: it does not.
    """
    if not condition:
        raise ConformanceError(what)


def expect_refused(world: World, scope: AccessScope, query: Vector, k: int, what: str) -> None:
    """Fail unless the store refuses.

    Raises:
        ConformanceError: it answered.
    """
    try:
        world.opened.store.search(scope, query, k)
    except StoreError:
        return
    raise ConformanceError(f"refused: {what}")
