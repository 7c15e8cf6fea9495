"""What a change of permissions does: who gains and who loses what. Exact, from the compiled classes of both worlds.

Invariants
- A gain is a reader and a document such that the reader may read it at some instant from now on that was closed
  before: an entry that merely ends later is one.
- Everybody counts who could read, pass on, or come to read: people, services and agents; applications and agents in
  between; groups and other names on lists, whoever is in them today.
- Documents in quarantine or withheld count like live ones, and revocations do not: both can end without a plan.
"""

from __future__ import annotations

import base64
import binascii
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap64

from secure_rag.errors import PolicyError
from secure_rag.model.ids import DocumentKey, LabelId, Micros
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass
from secure_rag_acl.population import Population
from secure_rag_acl.reach import CLOSED, ClassIndex, Ends, Reader, distinct, gained


class Part(StrEnum):
    """As what somebody gains or loses."""

    READS = "reads"
    PASSES = "passes"
    """In between: an application, an agent, a delegation."""
    NAMED = "named"
    """On a list: a group, or somebody whom the directory does not have as active."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """A document with the class that guards it before and after; None is nobody."""

    key: DocumentKey
    source: str
    native_id: str
    before: AclClass | None
    after: AclClass | None

    @property
    def name(self) -> str:
        """`source/native id`."""
        return f"{self.source}/{self.native_id}"


@dataclass(frozen=True, slots=True)
class Share:
    """What one principal gains, or loses, in one part. `end`: until when; the latest of its documents counts."""

    documents: BitMap64
    end: Micros


Shares = Mapping[tuple[Part, str], tuple[Share, ...]]


@dataclass(frozen=True, slots=True)
class Effect:
    """All that a change does.

    Attributes:
        gains: by part and principal; a principal has one share for each end.
        losses: the same; the end is until when it would have lasted.
        names: `source/native id` of the documents in it.
        labels: of each document with a gain, the label that it has afterwards.
        lost_labels: of each document with a loss, the label that it had.
        widening: documents times the rank of their label, over all that gain them; the lowest label has rank 1.
        changed: documents whose class changes.
        total: documents that were looked at.
    """

    gains: Shares
    losses: Shares
    names: Mapping[DocumentKey, str]
    labels: Mapping[DocumentKey, LabelId]
    lost_labels: Mapping[DocumentKey, LabelId]
    widening: int
    changed: int
    total: int

    @property
    def widens(self) -> bool:
        """Whether anybody gains anything."""
        return bool(self.gains)


@dataclass(slots=True)
class _Pairs:
    """Documents with the same class before and the same class after."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    documents: NDArray[np.uint64]
    pair: NDArray[np.int64]
    """Of each document, the number of its pair."""


def effect(
    documents: Sequence[Guarded], population: Population, before: Taxonomy, after: Taxonomy, now: Micros
) -> Effect:
    """Compute what a change does.

    Args:
        documents: all that the change may concern.
        population: of their tenant, in the directory of now.
        before: the label taxonomy.
        after: the one that would be in force.
        now: the instant from which on gains and losses count.
    """
    same_labels = before.labels == after.labels
    concerned = [x for x in documents if not (same_labels and x.before == x.after)]
    numbers = distinct(cls for x in concerned for cls in (x.before, x.after) if cls is not None)
    index = ClassIndex(list(numbers))
    pairs = _pairs(concerned, numbers)
    weigh = _Weigher(index, pairs, before, after, now)
    for name, reader in population.readers.items():
        weigh.add(Part.READS, name, _narrowed(reader, index))
    for name, reader in population.passing.items():
        weigh.add(Part.PASSES, name, _narrowed(reader, index))
    for key in index.mentioned:
        who = population.principals.get(key)
        # An application on a list opens nothing: nobody asks as one.
        if who is not None and who.name not in population.readers and who.kind != "app":
            weigh.add(Part.NAMED, who.name, population.entry(key))
    return weigh.effect(concerned, len(documents))


def _narrowed(reader: Reader, index: ClassIndex) -> Reader:
    """The same reader without what decides nothing here, so that many are alike."""
    return Reader(
        None if reader.closure is None else reader.closure & index.mentioned,
        reader.denied & index.mentioned,
        reader.ceilings,
        None if reader.compartments is None else reader.compartments & index.compartments,
        reader.sources,
    )


def _pairs(documents: Sequence[Guarded], numbers: Mapping[AclClass, int]) -> _Pairs:
    """Documents by their two classes; the class number after the last one stands for nobody."""
    nobody = len(numbers)
    found: dict[tuple[int, int], int] = {}
    pair = [
        found.setdefault(
            (
                nobody if x.before is None else numbers[x.before],
                nobody if x.after is None else numbers[x.after],
            ),
            len(found),
        )
        for x in documents
    ]
    return _Pairs(
        np.asarray([b for b, _ in found], np.int64),
        np.asarray([a for _, a in found], np.int64),
        np.asarray([x.key for x in documents], np.uint64),
        np.asarray(pair, np.int64),
    )


class _Weigher:
    """Adds up over readers; equal readers are computed once."""

    def __init__(
        self, index: ClassIndex, pairs: _Pairs, before: Taxonomy, after: Taxonomy, now: Micros
    ) -> None:
        self._index = index
        self._pairs = pairs
        self._before, self._after = before, after
        self._now = now
        self._known: dict[Reader, tuple[tuple[Share, ...], tuple[Share, ...]]] = {}
        self._gains: dict[tuple[Part, str], tuple[Share, ...]] = {}
        self._losses: dict[tuple[Part, str], tuple[Share, ...]] = {}

    def add(self, part: Part, name: str, reader: Reader) -> None:
        found = self._known.get(reader)
        if found is None:
            found = self._known[reader] = self._compare(reader)
        if found[0]:
            self._gains[part, name] = found[0]
        if found[1]:
            self._losses[part, name] = found[1]

    def _compare(self, reader: Reader) -> tuple[tuple[Share, ...], tuple[Share, ...]]:
        closed = np.asarray([CLOSED], np.int64)
        old = np.concatenate([self._index.ends(reader, self._before), closed])[self._pairs.before]
        new = np.concatenate([self._index.ends(reader, self._after), closed])[self._pairs.after]
        return self._shares(old, new), self._shares(new, old)

    def _shares(self, before: Ends, after: Ends) -> tuple[Share, ...]:
        hit = gained(before, after, self._now)
        return tuple(
            Share(self._bitmap(hit & (after == end)), Micros(int(end))) for end in np.unique(after[hit])
        )

    def _bitmap(self, pairs: NDArray[np.bool_]) -> BitMap64:
        return BitMap64(array("Q", self._pairs.documents[pairs[self._pairs.pair]].tobytes()))

    def effect(self, concerned: Sequence[Guarded], total: int) -> Effect:
        gaining = _union(self._gains.values())
        losing = _union(self._losses.values())
        names = {x.key: x.name for x in concerned if x.key in gaining or x.key in losing}
        labels = {x.key: x.after.label for x in concerned if x.after is not None and x.key in gaining}
        lost = {x.key: x.before.label for x in concerned if x.before is not None and x.key in losing}
        ranks = ranked(self._after)
        weighing: dict[int, BitMap64] = {}
        for key, label in labels.items():
            # What is labelled as nobody knows it is worth more than the highest label.
            weighing.setdefault(ranks.get(label, len(ranks) + 1), BitMap64()).add(key)
        return Effect(
            gains=self._gains,
            losses=self._losses,
            names=names,
            labels=labels,
            lost_labels=lost,
            widening=_widening(self._gains.values(), weighing),
            changed=sum(x.before != x.after for x in concerned),
            total=total,
        )


def ranked(taxonomy: Taxonomy) -> dict[LabelId, int]:
    """Rank of each label, 1 for the lowest."""
    ordered = sorted(taxonomy.labels.values(), key=lambda x: x.priority)
    return {label.id: rank for rank, label in enumerate(ordered, 1)}


def _widening(shares: Iterable[Sequence[Share]], weighing: Mapping[int, BitMap64]) -> int:
    known: dict[int, int] = {}
    total = 0
    for found in shares:
        # Readers that are alike hold the very same shares.
        if id(found) not in known:
            known[id(found)] = sum(
                rank * share.documents.intersection_cardinality(labelled)
                for share in found
                for rank, labelled in weighing.items()
            )
        total += known[id(found)]
    return total


def _union(shares: Iterable[Sequence[Share]]) -> BitMap64:
    seen: dict[int, BitMap64] = {}
    for found in shares:
        for share in found:
            seen.setdefault(id(share), share.documents)
    return BitMap64.union(BitMap64(), *seen.values()) if seen else BitMap64()


# ---- what a plan keeps


def gains_to_plain(gains: Shares) -> list[dict[str, object]]:
    """Gains as plain values: principals that gain the same stand together."""
    together: dict[tuple[Part, tuple[tuple[int, str], ...]], list[str]] = {}
    for (part, name), shares in gains.items():
        body = tuple((int(x.end), base64.b64encode(x.documents.serialize()).decode("ascii")) for x in shares)
        together.setdefault((part, body), []).append(name)
    return [
        {"part": part.value, "principals": sorted(names), "shares": [list(x) for x in body]}
        for (part, body), names in sorted(together.items(), key=lambda x: (x[0][0], sorted(x[1])))
    ]


def gains_from_plain(stored: object) -> Shares:
    """Inverse of `gains_to_plain`.

    Raises:
        PolicyError: what is stored is damaged.
    """
    found: dict[tuple[Part, str], tuple[Share, ...]] = {}
    try:
        if not isinstance(stored, list):
            raise PolicyError("the stored gains of a plan cannot be read")
        for entry in stored:
            shares = tuple(
                Share(BitMap64.deserialize(base64.b64decode(body, validate=True)), Micros(int(end)))
                for end, body in entry["shares"]
            )
            found |= {(Part(entry["part"]), str(name)): shares for name in entry["principals"]}
    except (TypeError, KeyError, ValueError, binascii.Error) as error:
        raise PolicyError("the stored gains of a plan cannot be read") from error
    return found


@dataclass(frozen=True, slots=True)
class Excess:
    """A gain that a plan does not have."""

    part: Part
    principal: str
    documents: tuple[DocumentKey, ...]


def excess(planned: Shares, found: Shares) -> Iterator[Excess]:
    """Gains that are not in a plan, or that would last longer than it says."""
    for (part, name), shares in sorted(found.items()):
        allowed = planned.get((part, name), ())
        beyond = BitMap64()
        for share in shares:
            covering = [x.documents for x in allowed if x.end >= share.end]
            beyond |= share.documents - BitMap64.union(BitMap64(), *covering)
        if beyond:
            yield Excess(part, name, tuple(DocumentKey(x) for x in beyond))
