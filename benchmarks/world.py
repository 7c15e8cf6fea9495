"""A seeded company for benchmarks: users, nested groups, interned classes, folders, documents and vectors.

Permissions follow topics, as in real companies: departments own topics, and most of their documents are open to
their own people. That correlation is what makes approximate search behind a filter go blind, so queries are drawn
both inside and outside of the asking user's own area.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secure_rag.model.ids import NEVER, ClassKey, PrincipalKey, TenantKey
from secure_rag.model.locks import Lock
from secure_rag.testing.index_builder import ENGINE_ID, LABELS, START, IndexBuilder

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

BANDS: Final = (0.001, 0.01, 0.1, 0.5)
_DIVISIONS, _DEPARTMENTS, _TEAMS, _PROJECTS, _AUDITS, _IDLE = 8, 8, 8, 200, 16, 200
_LABEL_SHARES = (0.05, 0.30, 0.45, 0.17, 0.03)
_FLUSH = 2_000


@dataclass(frozen=True, slots=True)
class Query:
    """One question: who asks, how much of the corpus is open to them, and whether it is about their own area."""

    band: float
    user: int
    inside: bool
    vector: Floats


@dataclass
class World:
    """Everything is drawn from `seed`. Principals are numbers: groups first, then users.

    Attributes:
        n_chunks: passages; about ten make a document.
        dimensions: length of a vector.
    """

    n_chunks: int = 100_000
    dimensions: int = 384
    n_users: int = 5_000
    n_classes: int = 10_000
    n_topics: int = 1_000
    seed: int = 7
    parent: list[int] = field(default_factory=list[int])
    user_direct: list[list[int]] = field(default_factory=list[list[int]])
    class_principals: list[list[int]] = field(default_factory=list[list[int]])

    def build(self) -> World:
        """Draw it all."""
        self._random = np.random.default_rng(self.seed)
        self._draw_groups()
        self._draw_users()
        self._draw_classes()
        self._draw_documents()
        self._draw_vectors()
        return self

    # ---- people

    def _group(self, parent: int = -1) -> int:
        self.parent.append(parent)
        return len(self.parent) - 1

    def ancestry(self, group: int) -> list[int]:
        """A group with all groups that it is nested in."""
        found: list[int] = []
        while group >= 0:
            found.append(group)
            group = self.parent[group]
        return found

    def _draw_groups(self) -> None:
        self.company = self._group()
        self.divisions = [self._group(self.company) for _ in range(_DIVISIONS)]
        self.departments = [self._group(x) for x in self.divisions for _ in range(_DEPARTMENTS)]
        self.teams = [self._group(x) for x in self.departments for _ in range(_TEAMS)]
        self.projects = [self._group() for _ in range(_PROJECTS)]
        self.audits = [self._group() for _ in range(_AUDITS)]
        # Mailing lists and licences: they open nothing and only make closures as long as real ones.
        self.idle = [self._group() for _ in range(_IDLE)]
        self.n_groups = len(self.parent)

    def _draw_users(self) -> None:
        r = self._random
        # contractor: one project; restricted: team and department only; employee; auditor or executive
        kinds = r.choice(4, self.n_users, p=[0.20, 0.15, 0.60, 0.05])
        projects = np.minimum(1 + r.zipf(1.6, self.n_users), 60)
        idle = np.minimum(5 + r.geometric(1 / 25, self.n_users), 150)
        self.clearance = np.full(self.n_users, 3, np.int64)
        self.user_principals: list[Ints] = []
        for user, kind in enumerate(kinds.tolist()):
            direct = [int(r.choice(self.projects))] if kind == 0 else [int(r.choice(self.teams))]
            opened = self.ancestry(direct[0])
            if kind == 1:
                opened = opened[:2]
            elif kind == 2:
                direct += [int(x) for x in r.choice(self.projects, int(projects[user]), replace=False)]
                self.clearance[user] = r.choice([2, 3, 3, 3])
            elif kind == 3:
                direct += self.audits
                self.clearance[user] = 4
            direct += [int(x) for x in r.choice(self.idle, int(idle[user]), replace=False)]
            self.user_direct.append(direct)
            self.user_principals.append(np.unique([*opened, *direct, self.n_groups + user]).astype(np.int64))

    # ---- permissions

    def _draw_classes(self) -> None:
        r = self._random
        labels: list[int] = []
        owners: list[int] = []
        seen: set[tuple[int, frozenset[int]]] = set()

        def add(label: int, principals: set[int], owner: int) -> None:
            key = (label, frozenset(principals))
            if key not in seen:
                seen.add(key)
                labels.append(label)
                owners.append(owner)
                self.class_principals.append(sorted(principals))

        for label in (0, 1, 2):
            add(label, {self.company}, -1)
        for division in self.divisions:
            add(1, {division}, division)
            add(2, {division}, division)
        for department in self.departments:
            add(2, {department}, department)
        self.n_broad = len(labels) - len(self.departments)
        while len(labels) < self.n_classes:
            team = int(r.choice(self.teams))
            add(int(r.choice(5, p=_LABEL_SHARES)), self._readers(team), team)
        self.class_label = np.array(labels, np.int64)
        self.class_owner = np.array(owners, np.int64)
        opens: dict[int, list[int]] = {}
        for cls, principals in enumerate(self.class_principals):
            for principal in principals:
                opens.setdefault(principal, []).append(cls)
        self.opens = {principal: np.array(classes, np.int64) for principal, classes in opens.items()}

    def _readers(self, team: int) -> set[int]:
        r, readers, kind = self._random, set[int](), self._random.random()
        if kind < 0.70:
            readers.add(team)
        elif kind < 0.80:
            readers.add(self.parent[team])
        if 0.45 <= kind < 0.80:
            readers.add(int(r.choice(self.projects)))
        readers.update(self.n_groups + int(x) for x in r.integers(0, self.n_users, int(r.integers(0, 4))))
        if r.random() < 0.62:
            readers.add(int(r.choice(self.audits)))
        return readers or {self.n_groups + int(r.integers(0, self.n_users))}

    def allowed(self, user: int) -> NDArray[np.bool_]:
        """Which classes a user may read."""
        found = np.zeros(len(self.class_label), bool)
        for principal in self.user_principals[user].tolist():
            classes = self.opens.get(principal)
            if classes is not None:
                found[classes] = True
        found &= self.class_label <= self.clearance[user]
        return found

    # ---- content

    def _draw_documents(self) -> None:
        r, n_classes = self._random, len(self.class_label)
        n_documents = max(1, self.n_chunks // 10)
        n_folders = max(1, n_documents // 12)
        weight = 1.0 / (r.permutation(n_classes) + 1) ** 0.9
        broad = np.arange(n_classes) < self.n_broad
        departments = (np.arange(n_classes) >= self.n_broad) & (
            np.arange(n_classes) < self.n_broad + len(self.departments)
        )
        weight /= weight[~(broad | departments)].sum() / 0.84
        weight[broad] = 0.10 / broad.sum()
        weight[departments] = 0.06 / departments.sum()
        weight /= weight.sum()
        folder_class = r.choice(n_classes, n_folders, p=weight)
        size = r.pareto(1.3, n_folders) + 1
        folder = r.choice(n_folders, n_documents, p=size / size.sum())
        # Half of the documents have permissions of their own: direct shares, broken inheritance.
        own = r.random(n_documents) < 0.5
        self.document_class = np.where(own, r.choice(n_classes, n_documents, p=weight), folder_class[folder])
        length = r.geometric(0.1, n_documents)
        chunk_document = np.repeat(np.arange(n_documents), length)[: self.n_chunks]
        missing = self.n_chunks - len(chunk_document)
        extra = r.integers(0, n_documents, missing)
        self.chunk_document = np.sort(np.concatenate([chunk_document, extra])).astype(np.int64)
        self.chunk_class = self.document_class[self.chunk_document]

    def _draw_vectors(self) -> None:
        r, n_documents = self._random, len(self.document_class)
        centres = r.standard_normal((self.n_topics, self.dimensions)).astype(np.float32)
        areas = r.standard_normal((40, self.dimensions)).astype(np.float32)
        self.centres = _unit(0.6 * centres + 0.8 * areas[r.integers(0, 40, self.n_topics)])
        topic = np.array([self._topic(int(x)) for x in self.document_class])
        spread = np.float32(0.7 / np.sqrt(self.dimensions))
        offset = r.standard_normal((n_documents, self.dimensions)).astype(np.float32) * spread
        self.vectors: Floats = np.empty((self.n_chunks, self.dimensions), np.float32)
        for start in range(0, self.n_chunks, 50_000):
            documents = self.chunk_document[start : start + 50_000]
            noise = r.standard_normal((len(documents), self.dimensions)).astype(np.float32) * spread
            block = self.centres[topic[documents]] + offset[documents] + noise
            self.vectors[start : start + len(documents)] = _unit(block)

    def _topic(self, cls: int) -> int:
        owner = int(self.class_owner[cls])
        if self._random.random() >= 0.85:
            return int(self._random.integers(self.n_topics))
        department = self.parent[owner] if owner in self._team_set else owner
        topics = np.random.default_rng([self.seed, department + 1]).integers(
            0, self.n_topics, 6 if owner >= 0 else 200
        )
        return int(self._random.choice(topics))

    @property
    def _team_set(self) -> range:
        return range(self.teams[0], self.teams[-1] + 1)

    # ---- questions

    def users_by_band(self, per_band: int = 10) -> dict[float, list[int]]:
        """The users who may read a share of the corpus nearest to each band."""
        chunks = np.bincount(self.chunk_class, minlength=len(self.class_label))
        share = np.array([chunks[self.allowed(user)].sum() for user in range(self.n_users)]) / self.n_chunks
        found: dict[float, list[int]] = {}
        for band in BANDS:
            distance = np.abs(np.log10(np.maximum(share, 1e-9)) - np.log10(band))
            found[band] = [int(x) for x in np.argsort(distance, kind="stable")[:per_band]]
        return found

    def queries(self, per_band: int = 40, outside: float = 0.3) -> list[Query]:
        """Questions near something that the user may read, and a share on any topic, mostly somebody else's."""
        r = np.random.default_rng(self.seed + 1)
        found: list[Query] = []
        for band, users in self.users_by_band().items():
            for i in range(per_band):
                user = users[i % len(users)]
                inside = bool(r.random() >= outside)
                if inside:
                    near = self.vectors[r.choice(np.flatnonzero(self.allowed(user)[self.chunk_class]))]
                else:
                    near = self.centres[r.integers(self.n_topics)]
                noise = r.standard_normal(self.dimensions).astype(np.float32)
                vector = near + noise * np.float32(0.6 / np.sqrt(self.dimensions))
                found.append(Query(band, user, inside, _unit(vector[None])[0]))
        return found


@dataclass(frozen=True, slots=True)
class StoredWorld:
    """A world in a control database. Arrays map the world's numbers to database keys."""

    builder: IndexBuilder
    tenant: TenantKey
    classes: Ints
    documents: Ints
    first_chunks: Ints

    def scope_classes(self, allowed: NDArray[np.bool_]) -> Ints:
        """Class keys of a set of classes, sorted."""
        return np.sort(self.classes[allowed])


def store_world(world: World, directory: Path) -> StoredWorld:
    """Write a world into a new home. Only what a store reads is filled in; `benchmarks` add principals."""
    builder = IndexBuilder(directory, engine_id=ENGINE_ID, dimensions=world.dimensions)
    tenant = builder.tenant()
    source = builder.source(tenant)
    classes: list[ClassKey] = []
    with builder.transaction():
        for label, principals in zip(world.class_label.tolist(), world.class_principals, strict=True):
            lock = Lock.of((PrincipalKey(x + 1), NEVER) for x in principals)
            classes.append(builder.acl_class(source, lock, label=LABELS[label]))
    n = len(world.document_class)
    length = np.bincount(world.chunk_document, minlength=n)
    first = np.cumsum(length) - length + 1
    document_class = np.array(classes, np.int64)[world.document_class]
    rows = zip(document_class.tolist(), first.tolist(), length.tolist(), strict=True)
    with sqlite3.connect(builder.path) as connection:
        connection.executemany(
            "INSERT INTO document(id, tenant_id, source_id, native_id, public_id, class_id, state, version, title, "
            "mime, contributor, content_sha256, pipeline_id, origins, modified_at, acl_as_of, first_chunk, n_chunks, "
            "seq) VALUES (?, ?, ?, ?, ?, ?, 1, 1, ?, 'text/plain', 'user:author', '', 'bench', '[]', ?, ?, ?, ?, ?)",
            (
                (i, tenant, source, f"d{i}", f"d_{i}", cls, f"d{i}", START + i, START, at, size, i)
                for i, (cls, at, size) in enumerate(rows, 1)
            ),
        )
        connection.executemany(
            "INSERT INTO chunk(id, document_id, ord, public_id, start, end, headings, text) "
            "VALUES (?, ?, ?, ?, 0, 700, '[]', ?)",
            (
                (i, document + 1, i - int(first[document]), f"c_{i}", f"passage {i} " * 60)
                for i, document in enumerate(world.chunk_document.tolist(), 1)
            ),
        )
        connection.executemany(
            "INSERT INTO document_vectors(document_id, vectors) VALUES (?, ?)",
            (
                (i + 1, world.vectors[first[i] - 1 : first[i] - 1 + length[i]].tobytes())
                for i in range(n)
                if length[i]
            ),
        )
        connection.execute("UPDATE counter SET value = ? WHERE name = 'document_seq'", (n,))
    connection.close()
    return StoredWorld(builder, tenant, np.array(classes), np.arange(1, n + 1), first)


def _unit(rows: Floats | NDArray[np.float64]) -> Floats:
    unit: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
