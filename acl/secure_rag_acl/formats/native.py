"""What the permission entries of one source item come to, before anybody says who its names are.

A reader resolves inheritance, order and rights with the semantics of its source and leaves allow and deny lists of
native names: a lock opens for a set of names when nothing closes it, none of its denied names is in the set and one
of its allowed names is, before it ends. All locks must open.

Invariants
- Whoever opens all locks may read the item at the source. Where order cannot be kept, the locks are narrower than
  the source, and `narrowed` says where and why.
- A native name is never a canonical principal: it carries the kind that its source gives it, `sid:S-1-5-11`.
- What cannot be read for certain is an `ItemProblem`: the item is withheld, nothing is guessed or cut off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag.model.ids import NEVER, Micros
from secure_rag.model.locks import MAX_LOCK_ENTRIES, MAX_LOCKS


@dataclass(frozen=True, slots=True)
class NativePrincipal:
    """A name of the source, with what else the source says about it.

    Attributes:
        name: `KIND:VALUE`, for example `sid:S-1-5-21-1-2-3-1107` or `drive-user:ada@acme.example`.
        broad: everyone-like: all accounts, all of the organisation, anyone with a link. Only an exact line of the
            mapping may join it to a principal.
        mail: address that the source gives for it, lower case.
        object_id: immutable directory identifier that the source gives for it, lower case.
        display: for lists that people read; decides nothing.
    """

    name: str
    broad: bool = False
    mail: str | None = None
    object_id: str | None = None
    display: str | None = None


@dataclass(frozen=True, slots=True)
class NativeEntry:
    """One entry of the source that puts a name on a list.

    Attributes:
        principal: who.
        entry: as the source wrote it.
        place: where exactly: `file:line`, or `file#/json/pointer`.
        expires: the instant from which an allow no longer counts; a deny has none.
    """

    principal: NativePrincipal
    entry: str
    place: str
    expires: Micros = NEVER


@dataclass(frozen=True, slots=True)
class Closure:
    """An entry that may deny somebody, nobody knows whom: it closes its lock for all."""

    entry: str
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class NativeLock:
    """One list of the source that must admit the reader, such as a share, a folder above, or the file itself."""

    what: str
    allow: tuple[NativeEntry, ...]
    deny: tuple[NativeEntry, ...] = ()
    closed: tuple[Closure, ...] = ()


@dataclass(frozen=True, slots=True)
class Narrowing:
    """An entry through which the source may admit somebody whom these locks do not."""

    entry: str
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class NativePermissions:
    """The locks of one item.

    Raises:
        PolicyError: no lock, more than `MAX_LOCKS`, or more entries in one than `MAX_LOCK_ENTRIES`.
    """

    locks: tuple[NativeLock, ...]
    narrowed: tuple[Narrowing, ...] = ()

    def __post_init__(self) -> None:
        if not self.locks:
            raise PolicyError("permissions without a lock")
        if len(self.locks) > MAX_LOCKS:
            raise PolicyError(f"more than {MAX_LOCKS} locks")
        if any(len(x.allow) + len(x.deny) > MAX_LOCK_ENTRIES for x in self.locks):
            raise PolicyError(f"a list of more than {MAX_LOCK_ENTRIES} entries")


@dataclass(frozen=True, slots=True)
class ItemProblem:
    """Why the permissions of one item cannot be trusted; the item is withheld."""

    place: str
    why: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one source may ask of its reader. What is larger fails as a whole, it is never cut off."""

    max_bytes: int = 64 << 20
    max_items: int = 1_000_000
    max_entries: int = 5_000_000
    max_depth: int = 64
    """Folders above an item, and levels of nesting in a file."""


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class PermissionDump:
    """Permissions of a whole source, as exported.

    Attributes:
        items: by path relative to the source's root; what is not in it has no known permissions and is withheld.
        as_of: when the export was made, if it says so itself.
    """

    items: Mapping[str, NativePermissions | ItemProblem] = field(
        default_factory=lambda: MappingProxyType(dict[str, NativePermissions | ItemProblem]())
    )
    as_of: Micros | None = None


def distinct_locks(items: Mapping[str, NativePermissions | ItemProblem]) -> Collection[NativeLock]:
    """Every lock once: what is inherited is one lock of many items."""
    found = {
        id(lock): lock
        for permissions in items.values()
        if isinstance(permissions, NativePermissions)
        for lock in permissions.locks
    }
    return found.values()
