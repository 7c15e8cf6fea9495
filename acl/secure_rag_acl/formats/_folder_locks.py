"""Locks of items that lie in folders: every folder on the way is searched, and the item itself is read.

A folder whose list admits every account of the source is no lock: nobody fails there. Folders with the same list
share one lock. What is left must all open.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from secure_rag.errors import PolicyError
from secure_rag.model.ids import NEVER
from secure_rag_acl.formats.native import ItemProblem, Limits, Narrowing, NativeLock, NativePermissions

EVERYBODY: Final = frozenset({"posix-other", "nfs4-everyone"})
"""Names that every account of such a source holds."""


class RefusedError(Exception):
    """The entries of one object cannot be trusted; never leaves a reader."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = place
        self.why = why

    def problem(self) -> ItemProblem:
        """As a value."""
        return ItemProblem(self.place, self.why)


@dataclass(frozen=True, slots=True)
class Guard:
    """One object's list for one right."""

    lock: NativeLock
    narrowed: tuple[Narrowing, ...] = ()


class Guarded(Protocol):
    """An object of the source: a folder or a file.

    Attributes:
        place: where its entries begin.
        is_folder: it is known to be one, so it is no document.
    """

    @property
    def place(self) -> str: ...
    @property
    def is_folder(self) -> bool: ...
    def search(self) -> Guard:
        """Who may go through it, if it is a folder."""
        ...

    def read(self) -> Guard:
        """Who may read it, if it is a file."""
        ...


@dataclass(frozen=True, slots=True)
class Guards:
    """What has to open on the way to an item."""

    locks: tuple[NativeLock, ...] = ()
    narrowed: tuple[Narrowing, ...] = ()

    def through(self, folder: Guard) -> Guards:
        """One folder further."""
        return self if _admits_everybody(folder.lock) else self._with(folder)

    def to(self, item: Guard, place: str) -> NativePermissions | ItemProblem:
        """The permissions of an item at the end of the way. Its own lock always counts."""
        joined = self._with(item)
        try:
            return NativePermissions(joined.locks, joined.narrowed)
        except PolicyError as error:
            return ItemProblem(place, str(error))

    def _with(self, guard: Guard) -> Guards:
        narrowed = (*self.narrowed, *guard.narrowed)
        sense = _sense(guard.lock)
        for number, lock in enumerate(self.locks):
            if _sense(lock) == sense:
                both = replace(lock, what=f"{lock.what}, {guard.lock.what}")
                return Guards((*self.locks[:number], both, *self.locks[number + 1 :]), narrowed)
        return Guards((*self.locks, guard.lock), narrowed)


def _admits_everybody(lock: NativeLock) -> bool:
    return (
        not lock.deny
        and not lock.closed
        and any(x.principal.name in EVERYBODY and x.expires >= NEVER for x in lock.allow)
    )


def _sense(lock: NativeLock) -> tuple[object, ...]:
    return (
        frozenset((x.principal.name, x.expires) for x in lock.allow),
        frozenset(x.principal.name for x in lock.deny),
        lock.closed,
    )


class FolderTree:
    """Objects of a dump by path from the top of the dump; `""` is the top itself.

    Args:
        objects: what the dump holds.
        top: path of the first folder that counts: the source's root, or `""` when those above it count too.
        root: path of the source's root.
        limits: how deep an item may lie below the root.
    """

    def __init__(
        self, objects: Mapping[str, Guarded | ItemProblem], *, top: str, root: str, limits: Limits
    ) -> None:
        self._objects = objects
        self._top = top
        self._root = root
        self._limits = limits
        self._known: dict[str, Guards | ItemProblem] = {}

    def items(self) -> dict[str, NativePermissions | ItemProblem]:
        """Everything below the root that is not known to be a folder, by path relative to the root."""
        folders = {_parent(path) for path in self._objects}
        prefix = f"{self._root}/" if self._root else ""
        found: dict[str, NativePermissions | ItemProblem] = {}
        for path, item in self._objects.items():
            if path == self._root or not path.startswith(prefix):
                continue
            relative = path.removeprefix(prefix)
            if isinstance(item, ItemProblem):
                found[relative if is_identifier(relative) else shown(relative)] = item
            elif path not in folders and not item.is_folder:
                found[relative] = self._item(path, relative, item)
        return found

    def _item(self, path: str, relative: str, item: Guarded) -> NativePermissions | ItemProblem:
        if relative.count("/") > self._limits.max_depth:
            return ItemProblem(item.place, f"lies in more than {self._limits.max_depth} folders")
        above = self._above(_parent(path))
        if isinstance(above, ItemProblem):
            return above
        try:
            return above.to(item.read(), item.place)
        except RefusedError as error:
            return error.problem()

    def _above(self, folder: str) -> Guards | ItemProblem:
        known = self._known.get(folder)
        if known is None:
            before = Guards() if folder == self._top else self._above(_parent(folder))
            known = self._known[folder] = self._searched(folder, before)
        return known

    def _searched(self, folder: str, before: Guards | ItemProblem) -> Guards | ItemProblem:
        if isinstance(before, ItemProblem):
            return before
        found = self._objects.get(folder)
        if found is None:
            return ItemProblem(shown(folder), "this folder of an item is not in the dump")
        if isinstance(found, ItemProblem):
            return ItemProblem(found.place, f"folder {shown(folder)}: {found.why}")
        try:
            return before.through(found.search())
        except RefusedError as error:
            return error.problem()


def plain_segments(path: str) -> tuple[str, ...] | None:
    """Folders and name of a path; `()` for the top; None when a segment is empty, `.` or `..`."""
    if path in (".", "/"):
        return ()
    parts = tuple(path.removeprefix("./").removeprefix("/").removesuffix("/").split("/"))
    return None if any(x in ("", ".", "..") for x in parts) else parts


def is_identifier(path: str) -> bool:
    """Whether a path can name a document: UTF-8 without control, format or surrogate characters."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in path)


def shown(path: str) -> str:
    """A path for reports: itself, or an escaped form that is no path of any item."""
    if is_identifier(path):
        return path or "."
    return "./" + "".join(c if is_identifier(c) and c != "\\" else _escaped(c) for c in path)


def _escaped(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]
