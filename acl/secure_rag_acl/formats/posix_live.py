"""POSIX permissions of one file, read from the file system: owner, group, mode and the access list in its attribute.

Every object is opened beneath the root, one folder after another, without following links; the folders above the
root are found through `..`, which are the real ones whatever name the root was reached by. Everything is read
twice, and a difference withholds the file.

Not seen from here, so the source may be narrower or wider: what a security module (SELinux, AppArmor) or a file
server adds; readers with `CAP_DAC_OVERRIDE`; another hard link to the file in an opener folder. File systems whose
server decides by a list of its own (NFSv4, CIFS) are refused.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats._folder_locks import Guards, RefusedError, is_identifier, plain_segments, shown
from secure_rag_acl.formats._posix_rules import READ, SEARCH, AccessList, account
from secure_rag_acl.formats.native import LIMITS, ItemProblem, Limits, NativePermissions, NativePrincipal
from secure_rag_acl.formats.posix_acl import from_mode, from_xattr

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTRIBUTE: Final = "system.posix_acl_access"
_OTHER_LISTS: Final = ("system.nfs4_acl", "system.nfs4_dacl", "system.richacl", "system.cifs_acl")
_ABSENT: Final = (errno.ENODATA, errno.EOPNOTSUPP)
_MAX_ABOVE: Final = 256
_OVERFLOW: Final = 65_534


@dataclass(frozen=True, slots=True)
class Accounts:
    """Who a number of the file system is.

    Attributes:
        user: name of a user number; None keeps the number.
        group: name of a group number.
        hidden_user: the number that stands for every user who is not visible from here (a user namespace, an
            identity-mapped mount, a squashing server).
        hidden_group: the same for groups.
    """

    user: Callable[[int], str | None] = lambda _: None
    group: Callable[[int], str | None] = lambda _: None
    hidden_user: int = _OVERFLOW
    hidden_group: int = _OVERFLOW

    def principal(self, kind: str, number: int) -> NativePrincipal | None:
        """The principal; None when it cannot be told."""
        if number == (self.hidden_user if kind == "user" else self.hidden_group):
            return None
        name = (self.user if kind == "user" else self.group)(number)
        try:
            return account(kind, name if name and not name.isdigit() else str(number))
        except ValueError:
            return account(kind, str(number))


def system_accounts() -> Accounts:
    """Names as this system knows them now; ask anew for each run. A name that leads to another number is not used."""

    @cache
    def user(number: int) -> str | None:
        with contextlib.suppress(KeyError):
            name = pwd.getpwuid(number).pw_name
            return name if pwd.getpwnam(name).pw_uid == number else None
        return None

    @cache
    def group(number: int) -> str | None:
        with contextlib.suppress(KeyError):
            name = grp.getgrgid(number).gr_name
            return name if grp.getgrnam(name).gr_gid == number else None
        return None

    return Accounts(user, group, _overflow("uid"), _overflow("gid"))


def read_live(
    root: Path | int,
    path: str,
    *,
    below_root: bool = False,
    accounts: Accounts | None = None,
    limits: Limits = LIMITS,
) -> NativePermissions | ItemProblem:
    """Permissions of one file as they are now.

    Args:
        root: folder of the source, or a descriptor of it. A link at its end is followed, as when content is read.
        path: of the file, relative to the root.
        below_root: readers enter the source at its root (an export, a share); the folders above it do not count.
        accounts: who the numbers are; those of this system if none are given.
        limits: how deep the file may lie.

    Raises:
        ConfigError: the root cannot be opened.
    """
    who = system_accounts() if accounts is None else accounts
    parts = plain_segments(path)
    if not parts or path != "/".join(parts) or not is_identifier(path):
        return ItemProblem(shown(path), "not a path of a file relative to the root")
    if len(parts) > limits.max_depth + 1:
        return ItemProblem(path, f"lies in more than {limits.max_depth} folders")
    try:
        first = list(_way(root, parts, below_root=below_root))
        if list(_way(root, parts, below_root=below_root)) != first:
            return ItemProblem(path, "it, or a folder on the way, changed while its permissions were read")
        return _permissions(first, who)
    except RefusedError as error:
        return error.problem()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What decides about one object, and what tells whether it is still the same."""

    path: str
    device: int
    inode: int
    mode: int
    owner: int
    group: int
    access: bytes | None
    changed_ns: int


def _permissions(way: list[_Seen], accounts: Accounts) -> NativePermissions | ItemProblem:
    *folders, file = way
    guards = Guards()
    for folder in folders:
        guards = guards.through(_list(folder, accounts).guard(SEARCH, f"search on {folder.path}"))
    return guards.to(_list(file, accounts).guard(READ, f"read on {file.path}"), file.path)


def _list(seen: _Seen, accounts: Accounts) -> AccessList:
    owner = accounts.principal("user", seen.owner)
    group = accounts.principal("group", seen.group)
    if seen.access is None:
        return from_mode(seen.mode, seen.path, owner, group)
    place = f"{seen.path} {_ATTRIBUTE}"
    found = from_xattr(
        seen.access,
        place,
        owner,
        group,
        lambda number: accounts.principal("user", number),
        lambda number: accounts.principal("group", number),
    )
    middle = found.group.rights if found.mask is None else found.mask
    if (found.owner.rights << 6 | middle << 3 | found.other.rights) != seen.mode & 0o777:
        raise RefusedError(place, "the access list and the permission bits disagree")
    return found


def _way(root: Path | int, parts: tuple[str, ...], *, below_root: bool) -> Iterator[_Seen]:
    """From `/`, or from the root, down to the file."""
    with contextlib.ExitStack() as opened:
        current = opened.enter_context(_root(root))
        if not below_root:
            yield from reversed(list(_above(current)))
        yield _seen(current, ".")
        for number, part in enumerate(parts[:-1], start=1):
            current = opened.enter_context(_opened(part, _FOLDER, current, "/".join(parts[:number])))
            yield _seen(current, "/".join(parts[:number]))
        path = "/".join(parts)
        file = opened.enter_context(_opened(parts[-1], _FILE, current, path))
        yield _seen(file, path, is_folder=False)


def _above(root: int) -> Iterator[_Seen]:
    """Folders above the root, nearest first. Only `/` is its own parent at the end of the way."""
    top = _identity(Path("/").stat())
    with contextlib.ExitStack() as opened:
        current = root
        for _ in range(_MAX_ABOVE):
            parent = opened.enter_context(_opened("..", _FOLDER, current, "a folder above the root"))
            if _identity(os.fstat(parent)) == _identity(os.fstat(current)) == top:
                return
            # The name is for reports only; a folder is known by its descriptor.
            yield _seen(parent, shown(str(Path(f"/proc/self/fd/{parent}").readlink())))
            current = parent
    raise RefusedError("..", f"no way up to / in {_MAX_ABOVE} folders")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _seen(descriptor: int, path: str, *, is_folder: bool = True) -> _Seen:
    status = os.fstat(descriptor)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        raise RefusedError(path, "a link, or no plain file")
    for name in _OTHER_LISTS:
        if _attribute(descriptor, name, path) is not None:
            raise RefusedError(path, f"its server decides by {name}: export that list instead")
    return _Seen(
        path,
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        _attribute(descriptor, _ATTRIBUTE, path),
        # A folder changes with every file created in it, which moves no permission.
        0 if is_folder else status.st_ctime_ns,
    )


def _attribute(descriptor: int, name: str, path: str) -> bytes | None:
    try:
        # A descriptor that needs no right to read has no attributes of its own; its entry in /proc is the same inode.
        return os.getxattr(f"/proc/self/fd/{descriptor}", name)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise RefusedError(path, f"{name} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _root(root: Path | int) -> Generator[int]:
    try:
        descriptor = (
            os.dup(root)
            if isinstance(root, int)
            else os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        )
    except OSError as error:
        raise ConfigError(f"{root}: the source cannot be opened: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(name: str, flags: int, folder: int, path: str) -> Generator[int]:
    try:
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError as error:
        raise RefusedError(path, f"cannot be opened without following links: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _overflow(kind: str) -> int:
    try:
        return int(Path(f"/proc/sys/kernel/overflow{kind}").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _OVERFLOW
