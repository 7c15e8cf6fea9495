"""POSIX access lists: what `getfacl` prints for a whole source, and the extended attribute of one file.

Export with `getfacl -p`, absolute, with the folders above the root; see `docs/formats/posix_acl.md`. Default entries
never grant: they are only copied to what is created below. Sticky, set-user and set-group bits decide nothing here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from secure_rag_acl.formats._acl_text import Block, Line, read_dump, unescaped
from secure_rag_acl.formats._folder_locks import Guard, RefusedError
from secure_rag_acl.formats._posix_rules import OTHER, READ, SEARCH, Access, AccessList, account
from secure_rag_acl.formats.native import LIMITS, Limits, NativePrincipal, PermissionDump

_RIGHTS: Final = "[r-][w-][x-]"
_ENTRY: Final = re.compile(
    rf"(default:)?(user|group|mask|other):([^:]*):({_RIGHTS})(?:[\t ]+#effective:({_RIGHTS}))?"
)
_HEAD: Final = re.compile(r"# (owner|group|flags): (.+)")
_FLAGS: Final = re.compile("[s-][s-][t-]")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_NO_ID: Final = 0xFFFFFFFF
_VERSION: Final = 2
NameOf = Callable[[int], NativePrincipal | None]
"""The user or group of a number; None when it cannot be told whose it is."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object with its access list.

    Attributes:
        path: for reports.
        place: where its entries begin.
        is_folder: it has default entries, which only folders have.
        access: the list.
    """

    path: str
    place: str
    is_folder: bool
    access: AccessList

    def search(self) -> Guard:
        """Who may go through it."""
        return self.access.guard(SEARCH, f"search on {self.path}")

    def read(self) -> Guard:
        """Who may read it."""
        return self.access.guard(READ, f"read on {self.path}")


def read(data: bytes, name: str, limits: Limits = LIMITS, *, below_root: bool = False) -> PermissionDump:
    """Permissions from what `getfacl` printed.

    Args:
        data: the dump, with our envelope before it if need be.
        name: of the file, for places.
        limits: of the source.
        below_root: readers enter the source at its root; folders above it do not count.

    Raises:
        ConfigError: the dump cannot be trusted as a whole; names file and line.
    """
    return read_dump(data, name, limits, _read_block, below_root=below_root)


def from_xattr(
    value: bytes,
    place: str,
    owner: NativePrincipal | None,
    group: NativePrincipal | None,
    users: NameOf,
    groups: NameOf,
) -> AccessList:
    """The access list in `system.posix_acl_access`, version 2.

    Args:
        value: of the attribute.
        place: of the file.
        owner: of the file.
        group: of the file.
        users: who a user number is.
        groups: who a group number is.

    Raises:
        RefusedError: another version, a truncated value, or no valid list.
    """
    if len(value) < 4 or len(value) % 8 != 4 or struct.unpack_from("<I", value)[0] != _VERSION:
        raise RefusedError(place, "not an access list of version 2")
    builder = _Builder(place, owner, group)
    numbers = set[tuple[int, int]]()
    for number, (tag, rights, identity) in enumerate(struct.iter_unpack("<HHI", value[4:]), start=1):
        where = f"{place} entry {number}"
        named = tag in (_USER, _GROUP)
        if rights > 7 or (named and (tag, identity) in numbers):
            raise RefusedError(where, "unknown rights, or a second entry for one number")
        numbers.add((tag, identity))
        known = named and identity != _NO_ID
        who = (users if tag == _USER else groups)(identity) if known else None
        written = f"{_WORDS.get(tag, tag)}:{identity if named else ''}:{_letters(rights)}"
        builder.put(tag, who, rights, Line(written, where))
    return builder.build()


def from_mode(
    mode: int, place: str, owner: NativePrincipal | None, group: NativePrincipal | None
) -> AccessList:
    """The access list that the nine permission bits of a file are."""
    builder = _Builder(place, owner, group)
    for tag, shift in ((_USER_OBJ, 6), (_GROUP_OBJ, 3), (_OTHER, 0)):
        rights = mode >> shift & 7
        builder.put(tag, None, rights, Line(f"{_WORDS[tag]}::{_letters(rights)}", f"{place} mode"))
    return builder.build()


_WORDS: Final = {
    _USER_OBJ: "user",
    _USER: "user",
    _GROUP_OBJ: "group",
    _GROUP: "group",
    _MASK: "mask",
    _OTHER: "other",
}


class _Builder:
    """Collects the entries of one object, each tag in its place."""

    def __init__(self, place: str, owner: NativePrincipal | None, group: NativePrincipal | None) -> None:
        self._place = place
        self._single: dict[int, NativePrincipal | None] = {
            _USER_OBJ: owner, _GROUP_OBJ: group, _MASK: None, _OTHER: OTHER,
        }  # fmt: skip
        self._found: dict[int, Access] = {}
        self._named: dict[int, list[Access]] = {_USER: [], _GROUP: []}

    def put(self, tag: int, who: NativePrincipal | None, rights: int, line: Line) -> None:
        if tag in self._named:
            self._named[tag].append(Access(who, rights, line.text, line.place))
        elif tag not in self._single:
            raise RefusedError(line.place, "an entry of unknown kind")
        elif tag in self._found:
            raise RefusedError(line.place, f"a second entry for {_WORDS[tag]}::")
        else:
            self._found[tag] = Access(self._single[tag], rights, line.text, line.place)

    def build(self) -> AccessList:
        for tag in (_USER_OBJ, _GROUP_OBJ, _OTHER):
            if tag not in self._found:
                raise RefusedError(self._place, f"no entry {_WORDS[tag]}::")
        mask = self._found.get(_MASK)
        return AccessList(
            owner=self._found[_USER_OBJ],
            group=self._found[_GROUP_OBJ],
            other=self._found[_OTHER],
            users=tuple(self._named[_USER]),
            groups=tuple(self._named[_GROUP]),
            mask=None if mask is None else mask.rights,
        )


def _read_block(block: Block, path: str) -> Listed:
    head = dict[str, str]()
    entries: list[tuple[re.Match[str], Line]] = []
    for line in block.lines:
        found = _HEAD.fullmatch(line.text)
        if found is None:
            entries.append((_entry(line), line))
        elif found[1] in head or entries:
            raise RefusedError(line.place, f"a second `# {found[1]}:`, or one after entries")
        else:
            head[found[1]] = found[2]
    if "owner" not in head or "group" not in head:
        raise RefusedError(block.place, "no `# owner:` or no `# group:`")
    if not _FLAGS.fullmatch(head.get("flags", "---")):
        raise RefusedError(block.place, f"unknown flags {head['flags']!r}")
    owner = _account("user", head["owner"], block.place)
    group = _account("group", head["group"], block.place)
    access = [(match, line) for match, line in entries if not match[1]]
    builder = _Builder(block.place, owner, group)
    for match, line in access:
        tag, who = _tag(match, line)
        builder.put(tag, who, _BITS[match[4]], line)
    listed = builder.build()
    _effective_agrees(access, listed.mask)
    return Listed(path, block.place, len(access) < len(entries), listed)


def _entry(line: Line) -> re.Match[str]:
    found = _ENTRY.fullmatch(line.text)
    if found is None:
        raise RefusedError(line.place, "not an entry as `getfacl` prints it")
    if found[2] in ("mask", "other") and found[3]:
        raise RefusedError(line.place, f"{found[2]} names nobody")
    return found


def _tag(match: re.Match[str], line: Line) -> tuple[int, NativePrincipal | None]:
    if match[2] in ("mask", "other"):
        return _MASK if match[2] == "mask" else _OTHER, None
    if not match[3]:
        return _USER_OBJ if match[2] == "user" else _GROUP_OBJ, None
    return _USER if match[2] == "user" else _GROUP, _account(match[2], match[3], line.place)


def _effective_agrees(entries: list[tuple[re.Match[str], Line]], mask: int | None) -> None:
    """Refuse a comment that says something else than the mask: one of the two was edited."""
    for match, line in entries:
        is_masked = match[2] == "group" or (match[2] == "user" and bool(match[3]))
        rights = _BITS[match[4]] & (mask if is_masked and mask is not None else 7)
        if match[5] is not None and _BITS[match[5]] != rights:
            raise RefusedError(line.place, "#effective and the mask disagree")


def _account(kind: str, text: str, place: str) -> NativePrincipal:
    try:
        return _unescaped_account(kind, text)
    except ValueError as error:
        raise RefusedError(place, str(error)) from error


@lru_cache(maxsize=65_536)
def _unescaped_account(kind: str, text: str) -> NativePrincipal:
    return account(kind, unescaped(text.encode()).decode())


def _letters(rights: int) -> str:
    return "".join(letter if rights & bit else "-" for bit, letter in zip((4, 2, 1), "rwx", strict=True))


_BITS: Final = {_letters(rights): rights for rights in range(8)}
