"""A folder as a source.

Every path is opened component by component beneath the root without following links, so that neither a link nor
a folder swapped during the run leads out of it. Content is read first, then the sidecar, both in the same opened
folder, then the permissions of the file system if the source goes by them; if any of it, or what the path leads to,
changed in between, all is read again, and held if that goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_rag.errors import IngestionError
from secure_rag.model.ids import NEVER, Micros
from secure_rag.ports import LivePermissions
from secure_rag_ingestion.connectors.names import SIDECAR_SUFFIX, Sidecars, is_identifier, shown
from secure_rag_ingestion.failures import ItemFailedError
from secure_rag_ingestion.runs import ReasonCode

__all__ = ["MAX_DEPTH", "SIDECAR_SUFFIX", "Fetched", "FilesystemConnector", "ItemFailedError", "Listed"]

MAX_SIDECAR: Final = 1 << 20
MAX_DEPTH: Final = 64
"""Folders deeper than this are no part of the source: nothing below them was ever ingested, so nothing is missing."""
_READ_ATTEMPTS: Final = 3
_BLOCK: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_Signature = tuple[int, ...]
# Neither is ever equal to a signature, to the other, or to None, which is an absent file.
_TORN: Final[_Signature] = (-1,)
_UNREADABLE: Final[_Signature] = (-2,)


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a listing. `problem` says why it cannot be a document; `skip` that it need not be one."""

    native_id: str
    problem: ReasonCode | None = None
    skip: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Content and, read after it, the sidecar of one item and what guards it at the source now, if that is read."""

    content: bytes
    sidecar: bytes | None
    modified_at: Micros
    live: object = None
    signature: str = ""
    """Of the file while it was read; `FilesystemConnector.signature` gives the same while it is the same."""


class FilesystemConnector:
    """Walks one folder. Use as a context manager; `complete` is known after `list` is exhausted."""

    def __init__(self, root: Path, max_bytes: int, live: LivePermissions | None = None) -> None:
        self._root = root
        self._max_bytes = max_bytes
        self._live = live
        self._descriptor = -1
        self.complete = False

    def __enter__(self) -> FilesystemConnector:
        try:
            self._descriptor = os.open(self._root, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise IngestionError(f"{self._root}: the source cannot be opened: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def list(self) -> Iterator[Listed]:
        """Every entry below the root, in name order. An unreadable folder makes the listing incomplete."""
        self.complete = False
        complete = True
        below: list[Iterator[tuple[str, ...] | Listed]] = [iter([()])]
        while below:
            entry = next(below[-1], None)
            if entry is None:
                below.pop()
            elif isinstance(entry, Listed):
                yield entry
            elif len(entry) > MAX_DEPTH:
                yield Listed(
                    _folder_name(entry), ReasonCode.TOO_DEEP, detail=f"more than {MAX_DEPTH} folders"
                )
            else:
                try:
                    below.append(iter(self._entries(entry)))
                except OSError as error:
                    complete = False
                    yield Listed(
                        _folder_name(entry), ReasonCode.UNREADABLE, detail=f"folder: {error.strerror}"
                    )
        self.complete = complete

    def beside(self, native_id: str) -> Sequence[Listed]:
        """What the folder of an item holds now, as `list` would show it; nothing when there is no such folder.

        Raises:
            ItemFailedError: the folder cannot be read.
        """
        try:
            found = self._entries(tuple(native_id.split("/")[:-1]))
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except OSError as error:
            raise _failure(error) from error
        return [x for x in found if isinstance(x, Listed)]

    def fetch(self, native_id: str) -> Fetched:
        """Read content, then permissions.

        Raises:
            ItemFailedError: gone, unreadable, too large, not a plain file, or changing all the time.
        """
        *folders, name = native_id.split("/")
        if any(part in ("", ".", "..") for part in (*folders, name)):
            raise ItemFailedError(ReasonCode.BAD_NAME, "not a path below the root")
        for _ in range(_READ_ATTEMPTS):
            with self._folder(tuple(folders)) as folder, _opened(folder, name) as file:
                before = os.fstat(file)
                content = _read(file, before, self._max_bytes)
                sidecar, sidecar_signature = _sidecar(folder, name + SIDECAR_SUFFIX)
            guarded = self._guards(native_id)
            # By path once more, from the root: a change of either, another file or another folder in its place shows.
            now = self._signatures(tuple(folders), name)
            # Once more too, since rights of a folder above leave no trace on the file.
            if now == (_signature(before), sidecar_signature) and self._guards(native_id) == guarded:
                return Fetched(
                    content, sidecar, _instant(before.st_mtime_ns), guarded, _stored_signature(before)
                )
        raise ItemFailedError(
            ReasonCode.CHANGED_WHILE_READ, "file, sidecar or permissions changed each time they were read"
        )

    def guards(self, native_id: str) -> tuple[bytes | None, object]:
        """What guards an item now, without its content: the sidecar beside it, and what the source says live.

        Raises:
            ItemFailedError: the folder or sidecar is unreadable, or changing all the time.
        """
        *folders, name = native_id.split("/")
        if any(part in ("", ".", "..") for part in (*folders, name)):
            raise ItemFailedError(ReasonCode.BAD_NAME, "not a path below the root")
        for _ in range(_READ_ATTEMPTS):
            with self._folder(tuple(folders)) as folder:
                sidecar, signature = _sidecar(folder, name + SIDECAR_SUFFIX)
            guarded = self._guards(native_id)
            now = self._signature(tuple(folders), name + SIDECAR_SUFFIX)
            if now == signature and self._guards(native_id) == guarded:
                return sidecar, guarded
        raise ItemFailedError(
            ReasonCode.CHANGED_WHILE_READ, "sidecar or permissions changed each time they were read"
        )

    @property
    def guarded(self) -> bool:
        """Whether the source says live what guards its items."""
        return self._live is not None

    def signature(self, native_id: str) -> str:
        """What the file of an item is now, without opening it.

        Raises:
            ItemFailedError: gone, a link, not a plain file, or its folder cannot be entered.
        """
        *folders, name = native_id.split("/")
        with self._folder(tuple(folders)) as folder:
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                raise _failure(error) from error
        if not stat.S_ISREG(status.st_mode):
            link = stat.S_ISLNK(status.st_mode)
            raise ItemFailedError(ReasonCode.LINK if link else ReasonCode.NOT_A_FILE, "not a plain file")
        return _stored_signature(status)

    def _guards(self, native_id: str) -> object:
        return None if self._live is None else self._live.read(self._descriptor, native_id)

    # ---- walking

    def _entries(self, parts: tuple[str, ...]) -> Sequence[tuple[str, ...] | Listed]:
        """What one folder holds: paths of folders, and everything else as listed. Nothing stays open."""
        with self._opened_folder(parts) as folder, os.scandir(folder) as entries:
            found = sorted(
                (entry.name, entry.is_dir(follow_symlinks=False), _kind(entry)) for entry in entries
            )
        sidecars = Sidecars.among(name for name, _, _ in found)
        return [
            (*parts, name) if is_folder else _listed("/".join((*parts, name)), name, kind, sidecars)
            for name, is_folder, kind in found
        ]

    # ---- opening

    def _signatures(self, folders: tuple[str, ...], name: str) -> tuple[_Signature | None, _Signature | None]:
        """What file and sidecar are now; None for what is not there."""
        return self._signature(folders, name), self._signature(folders, name + SIDECAR_SUFFIX)

    def _signature(self, folders: tuple[str, ...], wanted: str) -> _Signature | None:
        try:
            with self._folder(folders) as folder, _opened(folder, wanted) as file:
                return _signature(os.fstat(file))
        except ItemFailedError as error:
            return None if error.reason is ReasonCode.VANISHED else _UNREADABLE

    @contextlib.contextmanager
    def _folder(self, parts: tuple[str, ...]) -> Generator[int]:
        with contextlib.ExitStack() as opened:
            try:
                folder = opened.enter_context(self._opened_folder(parts))
            except OSError as error:
                raise _failure(error) from error
            yield folder

    @contextlib.contextmanager
    def _opened_folder(self, parts: tuple[str, ...]) -> Generator[int]:
        current = os.dup(self._descriptor)
        try:
            for part in parts:
                following = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)


def _folder_name(parts: tuple[str, ...]) -> str:
    """A folder in reports; the slash at its end keeps it apart from every document."""
    return shown("/".join(parts) or ".") + "/"


def _listed(native_id: str, name: str, kind: ReasonCode | None, sidecars: Sidecars) -> Listed:
    if not is_identifier(native_id):
        return Listed(shown(native_id), ReasonCode.BAD_NAME, detail="control characters, or not UTF-8")
    if kind is not None:
        return Listed(native_id, kind, skip=True)
    if name in sidecars.proper:
        return Listed(native_id, ReasonCode.SIDECAR, skip=True)
    if name in sidecars.stray:
        return Listed(native_id, ReasonCode.ORPHAN_SIDECAR, skip=True)
    meant = sidecars.meant_for(name)
    if meant is not None:
        # Whoever wrote it wanted to restrict this file: it must not be read as if nobody had.
        return Listed(
            native_id, ReasonCode.BAD_SIDECAR, detail=f"{shown(meant)} is not named {name}{SIDECAR_SUFFIX}"
        )
    return Listed(native_id)


def _sidecar(folder: int, name: str) -> tuple[bytes | None, _Signature | None]:
    try:
        with _opened(folder, name) as file:
            before = os.fstat(file)
            content = _read(file, before, MAX_SIDECAR)
            after = _signature(os.fstat(file))
    except ItemFailedError as error:
        if error.reason is ReasonCode.VANISHED:
            return None, None
        # Its permissions exist and cannot be read: the document must not fall back to the mapping alone.
        raise ItemFailedError(ReasonCode.BAD_SIDECAR, f"sidecar: {error.detail}") from error
    # Half of a sidecar can be a valid one that says less: what was written meanwhile matches nothing.
    return content, after if after == _signature(before) else _TORN


@contextlib.contextmanager
def _opened(folder: int, name: str) -> Generator[int]:
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        raise _failure(error) from error
    try:
        yield file
    finally:
        os.close(file)


def _failure(error: OSError) -> ItemFailedError:
    reasons = {
        errno.ENOENT: ReasonCode.VANISHED,
        errno.ELOOP: ReasonCode.LINK,
        errno.EMLINK: ReasonCode.LINK,
        errno.ENXIO: ReasonCode.NOT_A_FILE,
    }
    reason = reasons.get(error.errno or 0, ReasonCode.UNREADABLE)
    return ItemFailedError(reason, error.strerror or "cannot be opened")


def _read(file: int, status: os.stat_result, limit: int) -> bytes:
    if not stat.S_ISREG(status.st_mode):
        raise ItemFailedError(ReasonCode.NOT_A_FILE, "not a plain file")
    if status.st_size > limit:
        raise ItemFailedError(ReasonCode.TOO_LARGE, f"{status.st_size} bytes; the limit is {limit}")
    blocks: list[bytes] = []
    left = limit + 1
    try:
        while left > 0 and (block := os.read(file, min(_BLOCK, left))):
            blocks.append(block)
            left -= len(block)
    except OSError as error:
        raise ItemFailedError(ReasonCode.UNREADABLE, error.strerror or "read error") from error
    if left <= 0:
        raise ItemFailedError(ReasonCode.TOO_LARGE, f"more than {limit} bytes")
    return b"".join(blocks)


def _kind(entry: os.DirEntry[str]) -> ReasonCode | None:
    if entry.is_symlink():
        return ReasonCode.LINK
    return None if entry.is_file(follow_symlinks=False) else ReasonCode.NOT_A_FILE


def _signature(status: os.stat_result) -> _Signature:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stored_signature(status: os.stat_result) -> str:
    """What is compared with later. Without the time of change, which a change of permissions moves too."""
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


def _instant(nanoseconds: int) -> Micros:
    """A file may bear any time; the database holds 64 bits."""
    return Micros(max(0, min(nanoseconds // 1000, NEVER - 1)))
