"""A folder as a source.

Every path is opened component by component beneath the root without following links, so that neither a link nor
a folder swapped during the run leads out of it. Content is read first, then the sidecar; a file that changed in
between is read again, and held if it keeps changing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_rag.errors import IngestionError
from secure_rag.model.ids import Micros
from secure_rag_ingestion.runs import ReasonCode

SIDECAR_SUFFIX: Final = ".acl.yaml"
MAX_SIDECAR: Final = 1 << 20
_READ_ATTEMPTS: Final = 3
_BLOCK: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ItemFailedError(IngestionError):
    """One item cannot be taken. `reason` is what the run item records."""

    def __init__(self, reason: ReasonCode, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a listing. `problem` says why it cannot be a document; `skip` that it need not be one."""

    native_id: str
    problem: ReasonCode | None = None
    skip: bool = False


@dataclass(frozen=True, slots=True)
class Fetched:
    """Content and, read after it, the sidecar of one item."""

    content: bytes
    sidecar: bytes | None
    modified_at: Micros


class FilesystemConnector:
    """Walks one folder. Use as a context manager; `complete` is known after `list` is exhausted."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes
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
        unreadable: list[str] = []
        yield from self._walk((), unreadable)
        self.complete = not unreadable

    def fetch(self, native_id: str) -> Fetched:
        """Read content, then permissions.

        Raises:
            ItemFailedError: unreadable, too large, not a plain file, or changing all the time.
        """
        for _ in range(_READ_ATTEMPTS):
            with self._open(native_id) as file:
                before = os.fstat(file)
                content = self._read(file, before, self._max_bytes)
                sidecar = self._sidecar(native_id)
                after = os.fstat(file)
            if _signature(before) == _signature(after) == self._signature_now(native_id):
                return Fetched(content, sidecar, Micros(before.st_mtime_ns // 1000))
        raise ItemFailedError(ReasonCode.CHANGED_WHILE_READ, "the file changed each time it was read")

    # ---- walking

    def _walk(self, parts: tuple[str, ...], unreadable: list[str]) -> Iterator[Listed]:
        try:
            with self._open_folder(parts) as folder, os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False), _kind(entry)) for entry in entries)
        except OSError:
            unreadable.append("/".join(parts))
            yield Listed(_shown("/".join(parts)) or ".", ReasonCode.UNREADABLE)
            return
        names = {name for name, _, _ in found}
        for name, is_folder, kind in found:
            path = (*parts, name)
            if is_folder:
                yield from self._walk(path, unreadable)
            else:
                yield self._entry("/".join(path), kind, names)

    @staticmethod
    def _entry(native_id: str, kind: ReasonCode | None, names: set[str]) -> Listed:
        if _shown(native_id) != native_id:
            return Listed(_shown(native_id), ReasonCode.BAD_NAME)
        if kind is not None:
            return Listed(native_id, kind, skip=True)
        if native_id.endswith(SIDECAR_SUFFIX):
            guarded = native_id.rsplit("/", 1)[-1].removesuffix(SIDECAR_SUFFIX)
            reason = ReasonCode.SIDECAR if guarded in names else ReasonCode.ORPHAN_SIDECAR
            return Listed(native_id, reason, skip=True)
        return Listed(native_id)

    # ---- reading

    def _read(self, file: int, status: os.stat_result, limit: int) -> bytes:
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

    def _sidecar(self, native_id: str) -> bytes | None:
        try:
            with self._open(native_id + SIDECAR_SUFFIX) as file:
                return self._read(file, os.fstat(file), MAX_SIDECAR)
        except ItemFailedError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            # Its permissions exist and cannot be read: the document must not fall back to the mapping alone.
            raise ItemFailedError(ReasonCode.BAD_SIDECAR, f"sidecar: {error.detail}") from error

    def _signature_now(self, native_id: str) -> tuple[int, ...] | None:
        with self._open(native_id) as file:
            return _signature(os.fstat(file))

    @contextlib.contextmanager
    def _open(self, native_id: str) -> Iterator[int]:
        *folders, name = native_id.split("/")
        try:
            with self._open_folder(tuple(folders)) as folder:
                file = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            reason = ReasonCode.LINK if error.errno in (errno.ELOOP, errno.EMLINK) else ReasonCode.UNREADABLE
            raise ItemFailedError(reason, error.strerror or "cannot be opened") from error
        try:
            yield file
        finally:
            os.close(file)

    @contextlib.contextmanager
    def _open_folder(self, parts: tuple[str, ...]) -> Iterator[int]:
        current = os.dup(self._descriptor)
        try:
            for part in parts:
                following = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)


def _kind(entry: os.DirEntry[str]) -> ReasonCode | None:
    if entry.is_symlink():
        return ReasonCode.LINK
    return None if entry.is_file(follow_symlinks=False) else ReasonCode.NOT_A_FILE


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _shown(text: str) -> str:
    """The text if it is valid Unicode without control characters, else an escaped form for reports."""
    clean = all(c.isprintable() and not "\ud800" <= c <= "\udfff" for c in text)
    return text if clean else text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").encode(
        "unicode_escape"
    ).decode("ascii")
