"""What one process keeps in memory: documents with their vectors, as immutable parts.

Invariants
- A published part never changes; a newer tail may share its vector buffer, but writes only behind its rows.
- Rows of one document are consecutive, and so are its chunk keys: a row's chunk follows from its document.
- The base is sorted by (tenant, class, document), so that a class is one run of rows.
- Nothing here is authority: tenant, class, state and text of every hit are read from the database afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from secure_rag.stores.changes import Change

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]

UNIT_TOLERANCE = 1e-3
"""How far the squared length of a stored vector may be from 1."""
_BLOCK_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Part:
    """Documents in row order, with parallel arrays.

    Attributes:
        vectors: float32, at least `rows` rows; what follows belongs to nobody yet.
        keys: document keys.
        tenants: tenant keys.
        classes: class keys.
        first_chunks: key of each document's first chunk.
        modified: instants of last modification.
        offsets: first row of each document, and the number of rows at the end.
        dead: sorted positions of documents that no longer count.
    """

    vectors: Floats
    keys: Ints
    tenants: Ints
    classes: Ints
    first_chunks: Ints
    modified: Ints
    offsets: Ints
    dead: Ints

    @property
    def rows(self) -> int:
        """Rows of all documents, dead ones included."""
        return int(self.offsets[-1])

    @property
    def dead_rows(self) -> int:
        """Rows of dead documents."""
        return int((self.offsets[self.dead + 1] - self.offsets[self.dead]).sum())

    @property
    def nbytes(self) -> int:
        """Allocated bytes."""
        columns = (self.keys, self.tenants, self.classes, self.first_chunks, self.modified, self.offsets)
        return self.vectors.nbytes + self.dead.nbytes + sum(x.nbytes for x in columns)

    def chunk_keys(self, rows: Ints) -> Ints:
        """Chunk key of each row."""
        documents = np.searchsorted(self.offsets, rows, "right") - 1
        found: Ints = self.first_chunks[documents] + rows - self.offsets[documents]
        return found


@dataclass(frozen=True, slots=True)
class ClassRuns:
    """Where the classes of one tenant lie in the base: documents `first[i]` to `last[i]` (exclusive)."""

    classes: Ints
    first: Ints
    last: Ints


@dataclass(frozen=True, slots=True)
class Base:
    """The sorted part, with its indexes.

    Attributes:
        part: documents by (tenant, class, key).
        runs: by tenant.
        by_key: positions of documents in the order of their keys.
    """

    part: Part
    runs: Mapping[int, ClassRuns]
    by_key: Ints

    def positions(self, keys: Ints) -> Ints:
        """Positions of those documents that are here."""
        if not len(self.by_key):
            return self.by_key
        have = self.part.keys[self.by_key]
        at = np.minimum(np.searchsorted(have, keys), len(have) - 1)
        found: Ints = self.by_key[at[have[at] == keys]]
        return found


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One state of the index, swapped as a whole.

    Attributes:
        base: sorted documents.
        tail: documents that came or changed since the base was built.
        seq: every change up to this one is in.
        spaces: tenants with vectors; whether they are this engine's.
        malformed: live documents whose vectors cannot be used; they are never found until ingested again.
    """

    base: Base
    tail: Part
    seq: int
    spaces: Mapping[int, bool]
    malformed: frozenset[int] = field(default_factory=frozenset[int])

    @property
    def loose_rows(self) -> int:
        """Rows that a merge would move or drop."""
        return self.tail.rows + self.base.part.dead_rows

    @property
    def nbytes(self) -> int:
        """Allocated bytes of both parts."""
        return self.base.part.nbytes + self.base.by_key.nbytes + self.tail.nbytes


def empty_part(dimensions: int) -> Part:
    """A part without documents."""
    none = np.empty(0, np.int64)
    offsets = np.zeros(1, np.int64)
    return Part(np.empty((0, dimensions), np.float32), none, none, none, none, none, offsets, none)


def make_base(part: Part) -> Base:
    """Index a part that is sorted by (tenant, class, key)."""
    runs: dict[int, ClassRuns] = {}
    n = len(part.keys)
    if n:
        new = (part.tenants[1:] != part.tenants[:-1]) | (part.classes[1:] != part.classes[:-1])
        first = np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)
        last = np.append(first[1:], n).astype(np.int64)
        tenants = part.tenants[first]
        for tenant in np.unique(tenants).tolist():
            mine = tenants == tenant
            runs[tenant] = ClassRuns(part.classes[first[mine]], first[mine], last[mine])
    return Base(part, runs, np.argsort(part.keys, kind="stable").astype(np.int64))


def unusable_rows(vectors: Floats) -> Ints:
    """Rows that are not finite unit vectors: scores of such rows would poison a selection by rank."""
    found: list[Ints] = []
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", block, block)
            found.append(start + np.flatnonzero(~(np.abs(squares - 1) <= UNIT_TOLERANCE)))
    return np.concatenate(found).astype(np.int64) if found else np.empty(0, np.int64)


def advance(snapshot: Snapshot, changes: list[Change], dimensions: int) -> Snapshot:
    """The snapshot after some changes. The old one stays valid: its rows are not touched."""
    changed = np.array([change.document for change in changes], np.int64)
    base, tail = snapshot.base, snapshot.tail
    malformed = set(snapshot.malformed) - set(changed.tolist())
    usable: list[tuple[Change, Floats]] = []
    for change in changes:
        if change.n_chunks == 0:
            continue
        vectors = change.matrix(dimensions)
        if vectors is None or len(unusable_rows(vectors)):
            malformed.add(change.document)
        else:
            usable.append((change, vectors))
    dead = np.union1d(base.part.dead, base.positions(changed))
    gone = np.union1d(tail.dead, np.flatnonzero(np.isin(tail.keys, changed)))
    return Snapshot(
        base=replace(base, part=replace(base.part, dead=dead)),
        tail=_append(replace(tail, dead=gone), usable),
        seq=changes[-1].seq,
        spaces=snapshot.spaces,
        malformed=frozenset(malformed),
    )


def _append(tail: Part, fresh: list[tuple[Change, Floats]]) -> Part:
    if not fresh:
        return tail
    changes = [change for change, _ in fresh]
    lengths = np.array([len(vectors) for _, vectors in fresh], np.int64)
    ends = tail.rows + np.cumsum(lengths)
    buffer = _room(tail.vectors, tail.rows, int(ends[-1]))
    for (_, vectors), end in zip(fresh, ends.tolist(), strict=True):
        buffer[end - len(vectors) : end] = vectors

    def grown(column: Ints, values: list[int]) -> Ints:
        return np.concatenate([column, np.array(values, np.int64)])

    return Part(
        vectors=buffer,
        keys=grown(tail.keys, [x.document for x in changes]),
        tenants=grown(tail.tenants, [x.tenant for x in changes]),
        classes=grown(tail.classes, [x.class_key for x in changes]),
        first_chunks=grown(tail.first_chunks, [x.first_chunk for x in changes]),
        modified=grown(tail.modified, [x.modified_at for x in changes]),
        offsets=np.concatenate([tail.offsets, ends]),
        dead=tail.dead,
    )


def _room(buffer: Floats, used: int, needed: int) -> Floats:
    """The buffer itself if it has room behind the used rows, else a larger copy; untouched pages are free."""
    if needed <= len(buffer):
        return buffer
    larger = np.empty((max(needed, 2 * len(buffer), 1_024), buffer.shape[1]), np.float32)
    larger[:used] = buffer[:used]
    return larger
