"""Exact search over the documents of the allowed classes.

Invariants
- Only rows of the scope's tenant and classes are ever multiplied; others influence neither result nor score.
- float32 scores only select finalists: their last bits depend on where a row happens to lie. What is returned
  is computed row by row in float64, rounded, and ties are broken by chunk key.
- Every row that could be among the best `k` after that is a finalist, so duplicates in any number change
  nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from secure_rag.model.ids import ChunkKey
from secure_rag.ports import AccessScope, Hit
from secure_rag.stores.matrix import Base, Floats, Ints, Part, Snapshot

DECIMALS = 6
_RESCORE_ROWS = 4_096
_BELOW_ALL = np.float32(-1.5)


@dataclass(frozen=True, slots=True)
class _Spans:
    """Disjoint spans of documents of one part, in order: `first[i]` to `last[i]` (exclusive)."""

    part: Part
    first: Ints
    last: Ints


def margin(dimensions: int) -> float:
    """How far below the k-th float32 score a row may lie and still be among the best k.

    A float32 score of unit vectors is off by at most `dimensions * 2**-24` (N. Higham, Accuracy and Stability
    of Numerical Algorithms, section 3.1), and rounding moves it by half a unit of the last decimal.
    """
    return max(1e-5, 10.0**-DECIMALS + 2 * dimensions * 2.0**-24)


def search(snapshot: Snapshot, scope: AccessScope, query: Floats, k: int) -> list[Hit]:
    """At most `k` hits of the scope, best first, ties by chunk key."""
    spans = [_base_spans(snapshot.base, scope), _tail_spans(snapshot.tail, scope)]
    spans = [_narrowed(x, scope) for x in spans]
    scored = [_scores(x, query) for x in spans]
    sizes = [len(scores) for scores, _, _ in scored]
    total = sum(sizes)
    if not total:
        return []
    scores = np.concatenate([x for x, _, _ in scored]) if sizes[1] else scored[0][0]
    floor = _BELOW_ALL
    if total > k:
        floor = np.partition(scores, total - k)[total - k] - np.float32(margin(len(query)))
    chosen = np.flatnonzero(scores >= floor)
    keys: list[Ints] = []
    values: list[np.ndarray[tuple[int], np.dtype[np.float64]]] = []
    for span, (_, starts, places), low in zip(spans, scored, (0, sizes[0]), strict=True):
        mine = chosen[(chosen >= low) & (chosen < low + int(places[-1]))] - low
        at = np.searchsorted(places, mine, "right") - 1
        rows = starts[at] + mine - places[at]
        keys.append(span.part.chunk_keys(rows))
        values.extend(_exact(span.part, rows, query))
    chunk, value = np.concatenate(keys), np.concatenate(values)
    best = np.lexsort((chunk, -value))[:k]
    found = zip(chunk[best].tolist(), value[best].tolist(), strict=True)
    return [Hit(ChunkKey(key), score) for key, score in found]


def _base_spans(base: Base, scope: AccessScope) -> _Spans:
    runs = base.runs.get(int(scope.tenant))
    if runs is None:
        return _Spans(base.part, base.by_key[:0], base.by_key[:0])
    at = np.minimum(np.searchsorted(runs.classes, scope.classes), len(runs.classes) - 1)
    at = at[runs.classes[at] == scope.classes]
    first, last = runs.first[at], runs.last[at]
    # A dead document splits its span in two; one outside of every span adds an inverted span, which is dropped.
    dead = base.part.dead
    if len(dead) and len(first):
        first = np.sort(np.concatenate([first, dead + 1]))
        last = np.sort(np.concatenate([last, dead]))
    return _Spans(base.part, *_coalesced(first, last))


def _tail_spans(tail: Part, scope: AccessScope) -> _Spans:
    at = np.minimum(np.searchsorted(scope.classes, tail.classes), len(scope.classes) - 1)
    allowed = (scope.classes[at] == tail.classes) & (tail.tenants == scope.tenant)
    allowed[tail.dead] = False
    documents = np.flatnonzero(allowed)
    return _Spans(tail, *_coalesced(documents, documents + 1))


def _narrowed(spans: _Spans, scope: AccessScope) -> _Spans:
    """Without documents that were not modified after the instant that the caller asked for."""
    if scope.modified_after is None or not len(spans.first):
        return spans
    lengths = spans.last - spans.first
    before = np.cumsum(lengths) - lengths
    documents = np.repeat(spans.first - before, lengths) + np.arange(int(lengths.sum()))
    documents = documents[spans.part.modified[documents] > scope.modified_after]
    return _Spans(spans.part, *_coalesced(documents, documents + 1))


def _coalesced(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Neighbouring spans joined and empty ones removed: each costs a call."""
    filled = last > first
    first, last = first[filled], last[filled]
    if not len(first):
        return first, last
    gap = first[1:] > last[:-1]
    return first[np.append(True, gap)], last[np.append(gap, True)]


def _scores(spans: _Spans, query: Floats) -> tuple[Floats, Ints, Ints]:
    """float32 scores of all rows, first row of each span, and where its scores begin (with the end added)."""
    starts, ends = spans.part.offsets[spans.first], spans.part.offsets[spans.last]
    places = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int64)
    scores = np.empty(int(places[-1]), np.float32)
    at = places.tolist()
    vectors = spans.part.vectors
    for a, b, x, y in zip(starts.tolist(), ends.tolist(), at, at[1:], strict=False):
        np.dot(vectors[a:b], query, out=scores[x:y])
    return scores, starts, places


def _exact(part: Part, rows: Ints, query: Floats) -> Iterator[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Scores in float64, a row at a time in a fixed order, so that their bits do not depend on other rows."""
    wide = query.astype(np.float64)
    for start in range(0, len(rows), _RESCORE_ROWS):
        block = part.vectors[rows[start : start + _RESCORE_ROWS]].astype(np.float64)
        yield np.round(np.multiply(block, wide, out=block).sum(axis=1), DECIMALS)
