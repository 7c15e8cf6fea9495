"""Until when may who read what? Classes of two worlds, answered for one reader at a time.

Rights only end with time: allow entries expire, denies never do. So one number per reader and class, the instant up
to which it is open, says all about the present and the future of a world whose directory stays as it is.

Invariants
- The same rules as the compiled path; a test holds both, and an independent oracle, against each other.
- A class that cannot be decided is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from secure_rag.errors import PolicyError
from secure_rag.model.ids import NEVER, Compartment, LabelId, Micros, PrincipalKey, SourceKey
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass, Lock

CLOSED: Final = 0
"""The instant up to which a closed class is open."""
Ends = NDArray[np.int64]
_Value = TypeVar("_Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Reader:
    """Everything about one reader that decides, or about what passes content on.

    Attributes:
        closure: itself and its groups, `everyone` among them where it belongs. None opens every lock: for an
            application or agent in between, which is asked only what it stops.
        denied: whose denies count for it.
        ceilings: highest labels, each of which must reach the content. None reaches every label.
        compartments: None is in all of them.
        sources: None reaches all of them.
    """

    closure: frozenset[PrincipalKey] | None
    denied: frozenset[PrincipalKey]
    ceilings: tuple[LabelId | None, ...] | None
    compartments: frozenset[Compartment] | None
    sources: frozenset[SourceKey] | None = None


class _Coded(Generic[_Value]):
    """One attribute of every class; there are few distinct values, so each is asked about once."""

    def __init__(self, values: Sequence[_Value]) -> None:
        codes: dict[_Value, int] = {}
        self._codes = np.asarray([codes.setdefault(x, len(codes)) for x in values], np.int64)
        self._values = tuple(codes)

    def where(self, holds: Callable[[_Value], bool]) -> NDArray[np.bool_]:
        return np.fromiter((holds(x) for x in self._values), np.bool_, len(self._values))[self._codes]


class ClassIndex:
    """Classes with their locks interned; numbered from 0 in the order that they came in."""

    def __init__(self, classes: Sequence[AclClass]) -> None:
        """Index classes.

        Raises:
            PolicyError: a class has no lock.
        """
        self._classes = tuple(classes)
        self._labels = _Coded([x.label for x in classes])
        self._rooms = _Coded([x.compartments for x in classes])
        self._sources = _Coded([x.source for x in classes])
        numbers: dict[Lock, int] = {}
        starts: list[int] = []
        locks: list[int] = []
        for cls in classes:
            if not cls.locks:
                raise PolicyError("a class needs at least one lock")
            starts.append(len(locks))
            locks += sorted({numbers.setdefault(lock, len(numbers)) for lock in cls.locks})
        self._starts = np.asarray(starts, np.int64)
        self._locks = np.asarray(locks, np.int64)
        self._n_locks = len(numbers)
        self._allow: dict[PrincipalKey, tuple[NDArray[np.int64], Ends]] = {}
        self._deny: dict[PrincipalKey, NDArray[np.int64]] = {}
        self._unresolved = np.asarray([n for x, n in numbers.items() if x.unresolved_deny], np.int64)
        self._collect(numbers)
        self.mentioned = frozenset(self._allow) | frozenset(self._deny)
        """Principals that some lock names; no other decides anything."""
        self.compartments = frozenset(x for cls in classes for x in cls.compartments)

    def _collect(self, numbers: dict[Lock, int]) -> None:
        allow: dict[PrincipalKey, list[tuple[int, int]]] = {}
        deny: dict[PrincipalKey, list[int]] = {}
        for lock, number in numbers.items():
            for principal, end in lock.allow:
                allow.setdefault(principal, []).append((number, end))
            for principal in lock.deny:
                deny.setdefault(principal, []).append(number)
        for principal, entries in allow.items():
            pairs = np.asarray(entries, np.int64)
            self._allow[principal] = (pairs[:, 0], pairs[:, 1])
        self._deny = {principal: np.asarray(found, np.int64) for principal, found in deny.items()}

    def __len__(self) -> int:
        return len(self._classes)

    def ends(self, reader: Reader, taxonomy: Taxonomy) -> Ends:
        """For each class, until when the reader may read it (exclusive); `CLOSED` when it may not."""
        if not self._classes:
            return np.empty(0, np.int64)
        opened = np.minimum.reduceat(self._lock_ends(reader)[self._locks], self._starts)
        opened[~self._reached(reader, taxonomy)] = CLOSED
        return opened

    def _lock_ends(self, reader: Reader) -> Ends:
        if reader.closure is None:
            ends = np.full(self._n_locks, int(NEVER), np.int64)
        else:
            ends = np.full(self._n_locks, CLOSED, np.int64)
            for principal in reader.closure & self._allow.keys():
                locks, until = self._allow[principal]
                # Locks hold one entry of a principal, so no index occurs twice here.
                ends[locks] = np.maximum(ends[locks], until)
        for principal in reader.denied & self._deny.keys():
            ends[self._deny[principal]] = CLOSED
        ends[self._unresolved] = CLOSED
        return ends

    def _reached(self, reader: Reader, taxonomy: Taxonomy) -> NDArray[np.bool_]:
        reached = np.ones(len(self._classes), np.bool_)
        if reader.ceilings is not None:
            ranks = [taxonomy.rank_of_clearance(x) for x in reader.ceilings]
            reached &= self._labels.where(lambda x: bool(ranks) and taxonomy.rank_of_content(x) <= min(ranks))
        if reader.compartments is not None:
            mine = reader.compartments
            reached &= self._rooms.where(lambda x: x <= mine)
        if reader.sources is not None:
            reachable = reader.sources
            reached &= self._sources.where(lambda x: x in reachable)
        return reached


def gained(before: Ends, after: Ends, now: Micros) -> NDArray[np.bool_]:
    """Where something may be read, now or at any later instant, that could not be read then before."""
    return after > np.maximum(before, now)


def distinct(classes: Iterable[AclClass]) -> dict[AclClass, int]:
    """Classes by content, numbered in order; the key that interning gave is no content."""
    numbers: dict[AclClass, int] = {}
    for cls in classes:
        numbers.setdefault(cls, len(numbers))
    return numbers
