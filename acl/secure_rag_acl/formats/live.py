"""Permissions of the file system as the kernel's port for live ones."""

from __future__ import annotations

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import ItemProblem, NativePermissions
from secure_rag_acl.formats.posix_live import read_live, system_accounts


class PosixPermissions:
    """Owner, group, mode and access list of files. Make a new one for each run: it keeps names of accounts."""

    def __init__(self, *, below_root: bool) -> None:
        """`below_root`: readers enter the source at its root."""
        self._below_root = below_root
        self._accounts = system_accounts()

    def read(self, root: int, path: str) -> NativePermissions | ItemProblem:
        """Permissions of one file as they are now; what cannot be read for certain is a problem of this file."""
        try:
            return read_live(root, path, below_root=self._below_root, accounts=self._accounts)
        except (ConfigError, OSError) as error:
            return ItemProblem(path, str(error))
