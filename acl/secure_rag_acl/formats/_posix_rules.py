"""POSIX access lists (POSIX.1e, `acl(5)`): who comes out of the ordered check with a right.

The check takes the first of: the owner; a named user (masked); the owning group and named groups that match
(masked; any that grants, else refusal); other. As one lock: whoever is granted is allowed, and whoever is refused
on the way and could still come through a later step is denied.

It is narrower in one place. Members of a refusing group must not come through `other`, so the group is denied, and
with it those of its members whom the owner entry, a named user or another group admits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from secure_rag_acl import fields
from secure_rag_acl.formats._folder_locks import Guard, RefusedError
from secure_rag_acl.formats.native import Closure, Narrowing, NativeEntry, NativeLock, NativePrincipal

READ: Final = 4
SEARCH: Final = 1
OTHER: Final = NativePrincipal("posix-other", broad=True)
_NO_ID: Final = 0xFFFFFFFF
_LATER_STEPS: Final = "its members are kept out of `other`, also those admitted by another entry than `other`"
_EMPTY_MASK: Final = "with a mask of no rights Linux passes over the list, and its names come through `other`"
_NOBODY_KNOWN: Final = "nobody knows whom it names: the account is not visible from here"


@dataclass(frozen=True, slots=True)
class Access:
    """One entry.

    Attributes:
        principal: whom it names; None when the source cannot say.
        rights: read 4, write 2, search 1, before the mask.
        entry: as written.
        place: where.
    """

    principal: NativePrincipal | None
    rights: int
    entry: str
    place: str

    def listed(self) -> NativeEntry | None:
        """As an entry of a list; None when nobody knows whom it names."""
        return None if self.principal is None else NativeEntry(self.principal, self.entry, self.place)


@dataclass(frozen=True, slots=True)
class AccessList:
    """The access entries of one object; default entries are not among them.

    Raises:
        RefusedError: named entries without a mask, or two of one name.
    """

    owner: Access
    group: Access
    other: Access
    users: tuple[Access, ...] = ()
    groups: tuple[Access, ...] = ()
    mask: int | None = None

    def __post_init__(self) -> None:
        if self.mask is None and (self.users or self.groups):
            raise RefusedError(self.owner.place, "entries for named users or groups, but no mask")
        for entries in (self.users, self.groups):
            _no_name_twice(entries)

    def guard(self, right: int, what: str) -> Guard:
        """Who has a right."""
        mask = 7 if self.mask is None else self.mask
        lists = _Lists()
        other = bool(self.other.rights & right)
        granting = {_name(x) for x in (self.group, *self.groups) if x.rights & mask & right}
        owner = _name(self.owner)
        users = [self.owner, *(x for x in self.users if x.principal is None or _name(x) != owner)]
        later = other or bool(granting)
        for number, user in enumerate(users):
            if user.rights & (mask if number else 7) & right:
                lists.admit(user)
            elif later or user.principal is None:  # whom nobody knows, any entry may admit
                lists.refuse(user)
        sure = bool(lists.allow) or bool(granting)
        for group in (self.group, *self.groups):
            if group.rights & mask & right:
                lists.admit(group)
            elif other and (group.principal is None or _name(group) not in granting):
                lists.refuse(group)
                if sure:
                    lists.narrow(group, _LATER_STEPS)
        if other:
            lists.admit(self.other)
        if other and self.mask == 0:
            for named in (*self.users, *self.groups):
                lists.narrow(named, _EMPTY_MASK)
        return lists.guard(what)


@dataclass(slots=True)
class _Lists:
    allow: list[NativeEntry] = field(default_factory=list[NativeEntry])
    deny: list[NativeEntry] = field(default_factory=list[NativeEntry])
    closed: list[Closure] = field(default_factory=list[Closure])
    narrowed: list[Narrowing] = field(default_factory=list[Narrowing])

    def admit(self, access: Access) -> None:
        entry = access.listed()
        if entry is None:
            self.narrow(access, _NOBODY_KNOWN)
        else:
            self.allow.append(entry)

    def refuse(self, access: Access) -> None:
        entry = access.listed()
        if entry is None:
            self.closed.append(Closure(access.entry, access.place, _NOBODY_KNOWN))
        else:
            self.deny.append(entry)

    def narrow(self, access: Access, why: str) -> None:
        self.narrowed.append(Narrowing(access.entry, access.place, why))

    def guard(self, what: str) -> Guard:
        lock = NativeLock(what, tuple(self.allow), tuple(self.deny), tuple(self.closed))
        return Guard(lock, tuple(self.narrowed))


def account(kind: str, text: str) -> NativePrincipal:
    """A user or group as the source writes it: digits are a number, as `getfacl` prints what has no name.

    Args:
        kind: `user` or `group`.
        text: name or number.

    Raises:
        ValueError: it is neither.
    """
    if not text.isascii() or not text.isdigit():
        return NativePrincipal(f"posix-{kind}:{fields.native_name(text)}")
    if len(text) > 10 or text != str(int(text)) or int(text) >= _NO_ID:
        raise ValueError(f"not a number of a {kind}: {text!r}")
    return NativePrincipal(f"posix-{'uid' if kind == 'user' else 'gid'}:{text}")


def _name(access: Access) -> str | None:
    return None if access.principal is None else access.principal.name


def _no_name_twice(entries: Iterable[Access]) -> None:
    seen = set[str]()
    for access in entries:
        if access.principal is None:
            continue
        if access.principal.name in seen:
            raise RefusedError(access.place, f"a second entry for {access.principal.name}")
        seen.add(access.principal.name)
