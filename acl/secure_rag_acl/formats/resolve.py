"""From the permissions of a source to locks: its names resolved, the data owner's rules and sidecars added.

Invariants
- Rules and sidecars add locks, compartments and labels; nothing that they say opens what the source keeps closed.
- A name that means nobody grants nothing in an allow list and closes the lock in a deny list; so does an entry that
  may deny somebody nobody knows.
- An item whose permissions are not known is withheld, and so is every item when the export cannot be trusted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from secure_rag.errors import PermissionsUnknownError, PolicyError
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.locks import MAX_LOCKS
from secure_rag.model.permissions import (
    ALLOW,
    DENY,
    MappedLock,
    MappedPermissions,
    Narrowed,
    Origin,
    UnresolvedName,
)
from secure_rag_acl.formats.native import (
    ItemProblem,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
    PermissionDump,
    distinct_locks,
)
from secure_rag_acl.mappings import Rule, matching_rule, with_locks, with_sidecar
from secure_rag_acl.principals import PrincipalMapping, Resolution, is_broad


def _nothing() -> Mapping[str, NativePermissions | ItemProblem]:
    return MappingProxyType({})


@dataclass(slots=True)
class Resolver:
    """Resolves the names of one source; each of them once."""

    principals: PrincipalMapping
    _known: dict[NativePrincipal, Resolution] = field(default_factory=dict[NativePrincipal, Resolution])

    def resolution(self, native: NativePrincipal) -> Resolution:
        """Whom a name means."""
        found = self._known.get(native)
        if found is None:
            found = self._known[native] = self.principals.look_up(native)
        return found

    def resolve(self, permissions: NativePermissions) -> MappedPermissions:
        """Locks of principals, with the entry of the source that each came from."""
        locks: list[MappedLock] = []
        origins: list[Origin] = []
        unresolved: dict[UnresolvedName, None] = {}
        for number, lock in enumerate(permissions.locks):
            locks.append(self._lock(lock, unresolved))
            origins += self._origins(number, lock)
        narrowed = [Narrowed(x.entry, x.place, x.why) for x in permissions.narrowed]
        narrowed += [
            Narrowed(x.entry, x.place, f"closes its lock: {x.why}")
            for lock in permissions.locks
            for x in lock.closed
        ]
        return MappedPermissions(
            tuple(locks), (), (), tuple(origins), tuple(unresolved), narrowed=tuple(dict.fromkeys(narrowed))
        )

    def _lock(self, lock: NativeLock, unresolved: dict[UnresolvedName, None]) -> MappedLock:
        allow: list[tuple[PrincipalId, Micros]] = []
        deny: list[PrincipalId] = []
        closed = bool(lock.closed)
        for entry in lock.allow:
            who = self.resolution(entry.principal).principal
            if who is None:
                unresolved[UnresolvedName(entry.principal.name, ALLOW)] = None
            else:
                allow.append((who, entry.expires))
        for entry in lock.deny:
            who = self.resolution(entry.principal).principal
            if who is None:
                unresolved[UnresolvedName(entry.principal.name, DENY)] = None
                closed = True
            else:
                deny.append(who)
        return MappedLock(tuple(allow), tuple(deny), closed)

    def _origins(self, number: int, lock: NativeLock) -> Iterator[Origin]:
        for entry in lock.allow:
            who = self.resolution(entry.principal).principal
            yield Origin(number, ALLOW, _written(entry), entry.place, who or "")
        for entry in lock.deny:
            who = self.resolution(entry.principal).principal
            yield Origin(number, DENY, entry.entry, entry.place, who or "")
        for closure in lock.closed:
            yield Origin(number, DENY, closure.entry, closure.place)


def _written(entry: NativeEntry) -> str:
    """As the source wrote it; an everyone-like entry with the name that it comes to, so that it is seen as one."""
    name = entry.principal.name
    return f"{entry.entry} [{name}]" if entry.principal.broad or is_broad(name) else entry.entry


@dataclass(frozen=True, slots=True)
class FormatPermissionMapper:
    """Permissions that the source itself gives, with what the data owner adds.

    Attributes:
        resolver: names of the source.
        rules: of the mapping; each adds.
        items: exported permissions by path; none when they are read live.
        confirmed_at: when they were exported; None when they are read live.
        failure: why no export could be read, with its place.
        live: whether permissions come with each item.
    """

    resolver: Resolver
    rules: tuple[Rule, ...]
    items: Mapping[str, NativePermissions | ItemProblem] = field(default_factory=_nothing)
    confirmed_at: Micros | None = None
    failure: str | None = None
    live: bool = False

    @staticmethod
    def of(
        principals: PrincipalMapping, rules: tuple[Rule, ...], dump: PermissionDump, confirmed_at: Micros
    ) -> FormatPermissionMapper:
        """For an export that was read."""
        return FormatPermissionMapper(Resolver(principals), rules, dump.items, confirmed_at)

    @staticmethod
    def failed(principals: PrincipalMapping, rules: tuple[Rule, ...], failure: str) -> FormatPermissionMapper:
        """For an export that cannot be trusted: the permissions of no item are known."""
        return FormatPermissionMapper(Resolver(principals), rules, failure=failure)

    @staticmethod
    def reading(principals: PrincipalMapping, rules: tuple[Rule, ...]) -> FormatPermissionMapper:
        """For permissions that are read live."""
        return FormatPermissionMapper(Resolver(principals), rules, live=True)

    def map(
        self, path: str, sidecar: bytes | None, sidecar_name: str | None, live: object = None
    ) -> MappedPermissions:
        """Permissions of one item.

        Raises:
            ConfigError: the sidecar is malformed, or there would be too many locks.
            PermissionsUnknownError: the source does not say for certain who may read the item.
            PolicyError: the path is not relative to the root, or there would be too many locks.
        """
        rule = matching_rule(self.rules, path)
        mapped = self._added(self.resolver.resolve(self._native(path, live)), rule)
        if sidecar is None:
            return mapped
        return with_sidecar(self.resolver.principals, mapped, sidecar, sidecar_name or f"{path}.acl.yaml")

    def names(self) -> dict[str, NativePrincipal]:
        """Every name in the export, with all that the source says about it."""
        found: dict[str, NativePrincipal] = {}
        for lock in distinct_locks(self.items):
            found.update((x.principal.name, x.principal) for x in (*lock.allow, *lock.deny))
        return found

    def _native(self, path: str, live: object) -> NativePermissions:
        if self.failure is not None:
            raise PermissionsUnknownError(self.failure)
        found = live if self.live else self.items.get(path)
        if isinstance(found, ItemProblem):
            raise PermissionsUnknownError(f"{found.place}: {found.why}")
        if not isinstance(found, NativePermissions):
            raise PermissionsUnknownError("the permissions of the source do not mention this item")
        return found

    @staticmethod
    def _added(mapped: MappedPermissions, rule: Rule | None) -> MappedPermissions:
        if rule is None:
            return mapped
        added = rule.permissions
        if len(mapped.locks) + len(added.locks) > MAX_LOCKS:
            raise PolicyError(f"{rule.place}: with those of the source more than {MAX_LOCKS} locks")
        return replace(with_locks(mapped, added), labels=added.labels, compartments=added.compartments)
