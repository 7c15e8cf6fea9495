"""Which classes may a subject read? The policy rows, answered for all classes of a tenant at once.

Invariants
- Same rows, same meaning as the named functions; a property test compares both with an independent oracle.
- Classes are immutable, so the index only appends, and an older view simply sees fewer rows of it.
- Locks are interned. First the locks that open, then the classes all of whose locks do: a union over principals
  would be two to four times too wide as soon as classes have several locks.
- Not thread-safe; `secure_rag_acl.scopes` holds a lock per tenant.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pyroaring import BitMap

from secure_rag.errors import PolicyError
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import MAX_HOPS, Subject
from secure_rag.ports import CompiledScope
from secure_rag_acl.functions import DENIED, OPEN
from secure_rag_acl.policy import ALLOW, PolicyRow

_Value = TypeVar("_Value", bound=Hashable)
_FIRST_CAPACITY: Final = 256


class _Column:
    """A growing column of integers."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._data: NDArray[np.int64] = np.empty(_FIRST_CAPACITY, dtype)
        self._size = 0

    def append(self, value: int) -> None:
        if self._size == len(self._data):
            grown = np.empty(2 * self._size, self._data.dtype)
            grown[: self._size] = self._data
            self._data = grown
        self._data[self._size] = value
        self._size += 1

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> NDArray[np.int64]:
        return self._data[: self._size]


class _Coded(Generic[_Value]):
    """One attribute of every class, stored as a small number; there are few distinct values."""

    def __init__(self) -> None:
        self._codes: dict[_Value, int] = {}
        self._column = _Column(np.int32)

    def append(self, value: _Value) -> None:
        self._column.append(self._codes.setdefault(value, len(self._codes)))

    def where(self, chosen: Collection[_Value], rows: int) -> NDArray[np.bool_]:
        """Mask over the first rows whose value is one of those chosen."""
        hit = np.fromiter((value in chosen for value in self._codes), np.bool_, len(self._codes))
        return hit[self._column.values[:rows]]

    def values(self) -> Iterable[_Value]:
        return self._codes.keys()


class _Timed:
    """The ending allow entries of one principal."""

    def __init__(self) -> None:
        self.locks = _Column(np.int64)
        self.ends = _Column(np.int64)

    def append(self, lock: int, end: Micros) -> None:
        self.locks.append(lock)
        self.ends.append(end)


class CompiledClasses:
    """Index of one tenant's classes."""

    def __init__(self, tenant: TenantKey, rows: Sequence[PolicyRow]) -> None:
        self._tenant = tenant
        self._policy = tuple(rows)
        self._lock_numbers: dict[Lock, int] = {}
        self._allow: dict[PrincipalKey, BitMap] = {}
        self._timed: dict[PrincipalKey, _Timed] = {}
        self._deny: dict[PrincipalKey, BitMap] = {}
        self._unresolved = BitMap()
        self._keys = _Column(np.int64)
        self._starts = _Column(np.int64)
        self._locks = _Column(np.int64)
        """Numbers of the locks of all classes, one class after the other; `_starts` says where each begins."""
        self._labels: _Coded[LabelId] = _Coded()
        self._compartments: _Coded[frozenset[Compartment]] = _Coded()
        self._sources: _Coded[SourceKey] = _Coded()

    @property
    def high_water(self) -> ClassKey:
        """Largest class key in the index, 0 while it is empty."""
        return ClassKey(int(self._keys.values[-1])) if len(self._keys) else ClassKey(0)

    def extend(self, classes: Iterable[AclClass]) -> None:
        """Append classes in key order.

        Raises:
            PolicyError: a class of another tenant, without locks, or out of order.
        """
        for cls in classes:
            if cls.tenant != self._tenant or not cls.locks or cls.key <= self.high_water:
                raise PolicyError("a class does not belong at the end of this index")
            numbers = sorted({self._lock_number(lock) for lock in cls.locks})
            self._starts.append(len(self._locks))
            for number in numbers:
                self._locks.append(number)
            self._labels.append(cls.label)
            self._compartments.append(cls.compartments)
            self._sources.append(cls.source)
            self._keys.append(cls.key)

    def allowed(self, subject: Subject, action: str, now: Micros, high_water: ClassKey) -> CompiledScope:
        """Classes up to a key that the subject may read, and until when that holds."""
        rows = int(np.searchsorted(self._keys.values, high_water, side="right"))
        if subject.tenant != self._tenant or subject.revoked or not _hops_permit(subject, action, now):
            return _scope(np.empty(0, np.int64), NEVER)
        opened, until = self._opened(subject, now)
        closed = self._closed(subject)
        chosen = self._chosen(action, opened, closed, rows)
        chosen &= self._reach(subject, rows)
        return _scope(self._keys.values[:rows][chosen], until)

    # ---- locks

    def _lock_number(self, lock: Lock) -> int:
        known = self._lock_numbers.get(lock)
        if known is not None:
            return known
        number = self._lock_numbers[lock] = len(self._lock_numbers)
        if lock.unresolved_deny:
            self._unresolved.add(number)
        for principal, end in lock.allow:
            if end >= NEVER:
                self._allow.setdefault(principal, BitMap()).add(number)
            else:
                self._timed.setdefault(principal, _Timed()).append(number, end)
        for principal in lock.deny:
            self._deny.setdefault(principal, BitMap()).add(number)
        return number

    def _opened(self, subject: Subject, now: Micros) -> tuple[BitMap, Micros]:
        """Locks with a live allow entry of the subject, and when the first of these entries ends."""
        opened = _union(self._allow[p] for p in self._allow.keys() & subject.closure)
        until = min(hop.expires for hop in subject.hops)
        for principal in self._timed.keys() & subject.closure:
            timed = self._timed[principal]
            live = timed.ends.values > now
            if live.any():
                opened |= BitMap(timed.locks.values[live].tolist())
                until = min(until, Micros(int(timed.ends.values[live].min())))
        return opened, until

    def _closed(self, subject: Subject) -> BitMap:
        """Locks with a deny that applies, or that might."""
        denied = subject.closure | subject.uncertain | {subject.everyone}
        denied = denied.union(*(hop.closure for hop in subject.hops))
        return _union(self._deny[p] for p in self._deny.keys() & denied) | self._unresolved

    # ---- classes

    def _chosen(self, action: str, opened: BitMap, closed: BitMap, rows: int) -> NDArray[np.bool_]:
        """The policy rows: what they allow, minus what they deny."""
        starts = self._starts.values[:rows]
        end = len(self._locks) if rows == len(self._keys) else int(self._starts.values[rows])
        locks = self._locks.values[:end]
        # No class is without locks, so no segment is empty: reduceat would answer wrongly for one.
        hits = {
            OPEN: np.logical_and.reduceat(self._mask(opened - closed)[locks], starts),
            DENIED: np.logical_or.reduceat(self._mask(closed)[locks], starts),
        }
        allowed, denied = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
        for row in self._policy:
            if row.action != action:
                continue
            if row.effect == ALLOW:
                allowed |= hits[row.check]
            else:
                denied |= hits[row.check]
        return allowed & ~denied

    def _reach(self, subject: Subject, rows: int) -> NDArray[np.bool_]:
        """Label, compartments and sources that the subject and every hop reach."""
        taxonomy = subject.taxonomy
        clearances = [subject.clearance, *(ceiling for hop in subject.hops for ceiling in hop.ceilings)]
        rank = min(taxonomy.rank_of_clearance(x) for x in clearances)
        labels = {x for x in self._labels.values() if taxonomy.rank_of_content(x) <= rank}
        shared = subject.compartments.intersection(*(hop.compartments for hop in subject.hops))
        compartments = {x for x in self._compartments.values() if x <= shared}
        sources = frozenset[SourceKey].intersection(*(hop.sources for hop in subject.hops))
        sources -= subject.revoked_sources
        return (
            self._labels.where(labels, rows)
            & self._compartments.where(compartments, rows)
            & self._sources.where(sources, rows)
        )

    def _mask(self, locks: BitMap) -> NDArray[np.bool_]:
        mask = np.zeros(len(self._lock_numbers), np.bool_)
        mask[np.frombuffer(locks.to_array(), np.uint32)] = True
        return mask


def _hops_permit(subject: Subject, action: str, now: Micros) -> bool:
    """What a hop permits or not whatever the class."""
    return 1 <= len(subject.hops) <= MAX_HOPS and all(
        action in hop.actions and subject.purpose in hop.purposes and now < hop.expires and bool(hop.ceilings)
        for hop in subject.hops
    )


def _union(parts: Iterable[BitMap]) -> BitMap:
    return BitMap.union(BitMap(), *parts)


def _scope(keys: NDArray[np.int64], until: Micros) -> CompiledScope:
    keys.flags.writeable = False
    return CompiledScope(keys, until)
