"""Exports of permissions as files: read whole and unchanged, or not at all, and as old as they say they are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from secure_rag_acl.formats.native import LIMITS, Limits, PermissionDump, distinct_locks
from secure_rag_acl.formats.registry import reader


@dataclass(frozen=True, slots=True)
class Export:
    """What an export says.

    Attributes:
        dump: permissions by path.
        as_of: when it was made: by its own word, or else when its file was last written.
    """

    dump: PermissionDump
    as_of: Micros


def read_export(path: Path, name: str, *, below_root: bool = False, limits: Limits = LIMITS) -> Export:
    """Read an export.

    Args:
        path: of the file.
        name: of its format.
        below_root: readers enter the source at its root.
        limits: what one source may ask for.

    Raises:
        ConfigError: it cannot be read or trusted as a whole, or asks for more than the limits; names the place.
    """
    read = reader(name, below_root=below_root)
    data, written = _whole(path, limits)
    dump = read(data, str(path), limits)
    _refuse_bombs(path, dump, limits)
    return Export(dump, written if dump.as_of is None else dump.as_of)


def _whole(path: Path, limits: Limits) -> tuple[bytes, Micros]:
    """Content and the instant of the last write; half of an export could be a valid one that says less."""
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(limits.max_bytes + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{path}: larger than {limits.max_bytes} bytes")
    if _state(before) != _state(after) or len(data) != after.st_size:
        raise ConfigError(f"{path}: changed while it was read")
    return data, Micros(max(0, after.st_mtime_ns // 1000))


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _refuse_bombs(path: Path, dump: PermissionDump, limits: Limits) -> None:
    """Readers keep to the limits themselves; that they do is not left to them alone."""
    if len(dump.items) > limits.max_items:
        raise ConfigError(f"{path}: more than {limits.max_items} items")
    if sum(len(x.allow) + len(x.deny) for x in distinct_locks(dump.items)) > limits.max_entries:
        raise ConfigError(f"{path}: more than {limits.max_entries} entries")
