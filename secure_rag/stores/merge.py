"""Builds a new sorted base from a snapshot, a slice at a time, while searches go on in the old one."""

from __future__ import annotations

import numpy as np

from secure_rag.stores.matrix import Floats, Ints, Part, Snapshot, empty_part, make_base

_SLICE_DOCUMENTS = 500


class Merge:
    """One merge. Memory at its peak: the old base, its tail and the new base, never a third copy."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._old = snapshot
        base, tail = snapshot.base.part, snapshot.tail
        kept = (_alive(base), _alive(tail))
        keys = _joined(base.keys, tail.keys, kept)
        tenants = _joined(base.tenants, tail.tenants, kept)
        classes = _joined(base.classes, tail.classes, kept)
        order = np.lexsort((keys, classes, tenants))
        lengths = _joined(np.diff(base.offsets), np.diff(tail.offsets), kept)[order]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._from_tail = np.concatenate([np.zeros(len(kept[0]), bool), np.ones(len(kept[1]), bool)])[order]
        self._starts = _joined(base.offsets[:-1], tail.offsets[:-1], kept)[order]
        self._done = 0
        self._part = Part(
            vectors=np.empty((int(offsets[-1]), base.vectors.shape[1]), np.float32),
            keys=keys[order],
            tenants=tenants[order],
            classes=classes[order],
            first_chunks=_joined(base.first_chunks, tail.first_chunks, kept)[order],
            modified=_joined(base.modified, tail.modified, kept)[order],
            offsets=offsets,
            dead=np.empty(0, np.int64),
        )

    def advance(self) -> bool:
        """Copy some more documents. Small steps: they hold the interpreter lock. True when all are copied."""
        part, end = self._part, min(self._done + _SLICE_DOCUMENTS, len(self._part.keys))
        old: tuple[Floats, Floats] = (self._old.base.part.vectors, self._old.tail.vectors)
        span = slice(self._done, end)
        targets = part.offsets[self._done : end + 1].tolist()
        sources = zip(self._from_tail[span].tolist(), self._starts[span].tolist(), strict=True)
        for i, (from_tail, start) in enumerate(sources):
            a, b = targets[i], targets[i + 1]
            part.vectors[a:b] = old[from_tail][start : start + b - a]
        self._done = end
        return end == len(part.keys)

    def result(self) -> Snapshot:
        """The merged state as of the snapshot that the merge began with; later changes are still missing."""
        old = self._old
        empty = empty_part(self._part.vectors.shape[1])
        return Snapshot(make_base(self._part), empty, old.seq, old.spaces, old.malformed)


def _alive(part: Part) -> Ints:
    return np.setdiff1d(np.arange(len(part.keys), dtype=np.int64), part.dead, assume_unique=True)


def _joined(base: Ints, tail: Ints, kept: tuple[Ints, Ints]) -> Ints:
    return np.concatenate([base[kept[0]], tail[kept[1]]])
