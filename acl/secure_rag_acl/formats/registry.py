"""The formats by name. A reader is imported when a source uses it, and written out here, never found by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import Limits, PermissionDump

Reader = Callable[[bytes, str, Limits], PermissionDump]
"""Permissions of a whole source from the bytes of an export; `ConfigError` when it cannot be trusted as a whole."""
LIVE: Final = "posix-live"
"""Read item by item from the file system instead of an export."""


def _posix(data: bytes, name: str, limits: Limits, *, below_root: bool) -> PermissionDump:
    from secure_rag_acl.formats.posix_acl import read

    return read(data, name, limits, below_root=below_root)


def _nfs4(data: bytes, name: str, limits: Limits, *, below_root: bool) -> PermissionDump:
    from secure_rag_acl.formats.nfs4_acl import read

    return read(data, name, limits, below_root=below_root)


def _ntfs(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.ntfs_export import read

    return read(data, name, limits)


def _graph(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.graph import read

    return read(data, name, limits)


def _drive(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.drive import read

    return read(data, name, limits)


def _confluence(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.confluence import read

    return read(data, name, limits)


def _adls(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.adls import read

    return read(data, name, limits)


def _prefix(data: bytes, name: str, limits: Limits) -> PermissionDump:
    from secure_rag_acl.formats.prefix_acl import read

    return read(data, name, limits)


READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "ntfs": _ntfs,
        "graph": _graph,
        "drive": _drive,
        "confluence": _confluence,
        "adls": _adls,
        "prefix": _prefix,
    }
)
_FOLDER_READERS: Final = MappingProxyType({"posix": _posix, "nfs4": _nfs4})
"""Formats in which the folders above the source's root may count."""
FORMATS: Final = (*_FOLDER_READERS, LIVE, *READERS)


def reader(name: str, *, below_root: bool = False) -> Reader:
    """The reader of a format.

    Args:
        name: of the format.
        below_root: readers enter the source at its root; the folders above it do not count.

    Raises:
        ConfigError: there is no such format, or it knows no folders above the root.
    """
    folders = _FOLDER_READERS.get(name)
    if folders is not None:
        return lambda data, file, limits: folders(data, file, limits, below_root=below_root)
    found = READERS.get(name)
    if found is None:
        raise ConfigError(f"no format of exported permissions: {name!r} ({', '.join(FORMATS)})")
    if below_root:
        raise ConfigError(f"below_root: the format {name} knows no folders above the root")
    return found
