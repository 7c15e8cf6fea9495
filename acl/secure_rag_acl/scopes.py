"""Compiled scopes: one index per tenant and a cache keyed by everything that a scope depends on.

Because classes are immutable and append-only, a scope is a pure function of the subject's content, the action, the
class high-water mark, the policy and the clock between two expiries. So nothing has to be invalidated: what
changes, changes the key.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.model.ids import ClassKey, Micros, TenantKey
from secure_rag.model.subject import Subject
from secure_rag.ports import CompiledScope
from secure_rag_acl.compiler import CompiledClasses
from secure_rag_acl.policy import PolicyRow

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

MAX_ENTRIES: Final = 2_048
MAX_BYTES: Final = 32 << 20

_Key = tuple[TenantKey, bytes, str, ClassKey, str, str]


@dataclass(frozen=True, slots=True)
class _Entry:
    scope: CompiledScope
    since: Micros


class ScopeCache:
    """The scopes used last, bounded by number and size. Thread-safe."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._bytes = 0
        self._guard = threading.Lock()

    def get(self, key: _Key, now: Micros) -> CompiledScope | None:
        """A scope that holds at this instant; a clock that went back finds nothing."""
        with self._guard:
            entry = self._entries.get(key)
            if entry is None or not entry.since <= now < entry.scope.valid_until:
                return None
            self._entries.move_to_end(key)
            return entry.scope

    def put(self, key: _Key, scope: CompiledScope, now: Micros) -> None:
        """Remember a scope computed at this instant."""
        with self._guard:
            self._drop(key)
            self._entries[key] = _Entry(scope, now)
            self._bytes += scope.classes.nbytes
            while self._entries and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
                self._drop(next(iter(self._entries)))

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.scope.classes.nbytes


class _TenantIndex:
    """Index of one tenant in one generation of the database."""

    def __init__(self, tenant: TenantKey, generation: str, rows: Sequence[PolicyRow]) -> None:
        self.generation = generation
        self._tenant = tenant
        self._rows = rows
        self._classes = CompiledClasses(tenant, rows)
        self._guard = threading.Lock()

    def compile(self, view: ReadView, subject: Subject, action: str, high_water: ClassKey) -> CompiledScope:
        with self._guard:
            if self._classes.high_water < high_water:
                self._extend(view)
            return self._classes.allowed(subject, action, view.now, high_water)

    def _extend(self, view: ReadView) -> None:
        try:
            self._classes.extend(view.classes_after(self._tenant, self._classes.high_water))
        except BaseException:
            # A class that was taken in only in part would give every later one the locks of its neighbour.
            self._classes = CompiledClasses(self._tenant, self._rows)
            raise


class ScopeCompiler:
    """Scopes of all tenants. Thread-safe."""

    def __init__(self, rows: Sequence[PolicyRow], model_digest: str, cache: ScopeCache | None = None) -> None:
        self._rows = tuple(rows)
        self._model_digest = model_digest
        self._cache = cache if cache is not None else ScopeCache()
        self._indexes: dict[TenantKey, _TenantIndex] = {}
        self._guard = threading.Lock()

    def compile(self, view: ReadView, subject: Subject, action: str) -> CompiledScope:
        """Every class of the view that the subject may read.

        Raises:
            PolicyError: a stored class is damaged.
        """
        generation, _ = view.policy_version(subject.tenant)
        high_water = view.class_high_water(subject.tenant)
        key = (subject.tenant, subject.content_digest(), action, high_water, generation, self._model_digest)
        scope = self._cache.get(key, view.now)
        if scope is None:
            scope = self._index(subject.tenant, generation).compile(view, subject, action, high_water)
            self._cache.put(key, scope, view.now)
        return scope

    def _index(self, tenant: TenantKey, generation: str) -> _TenantIndex:
        """The tenant's index; another generation means a restored database, whose ids mean other classes."""
        with self._guard:
            index = self._indexes.get(tenant)
            if index is None or index.generation != generation:
                index = self._indexes[tenant] = _TenantIndex(tenant, generation, self._rows)
            return index
