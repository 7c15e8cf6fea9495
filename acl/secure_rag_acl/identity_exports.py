"""Exports of identity systems as directories: which reader, and by which rules."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from secure_rag.errors import ConfigError
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.formats.ldif import read_ldif
from secure_rag_acl.formats.native import LIMITS
from secure_rag_acl.formats.scim import read_scim
from secure_rag_acl.identity import ImportedIdentities, build_directory, load_rules


class DirectoryFormat(StrEnum):
    """What a directory is imported from."""

    NATIVE = "native"
    """`directory.yaml`, its JSON, or a folder with tables."""
    SCIM = "scim"
    LDIF = "ldif"


def load_identities(
    path: Path, kind: DirectoryFormat = DirectoryFormat.NATIVE, rules: Path | None = None
) -> ImportedIdentities:
    """Read a directory in any format.

    Args:
        path: the file or folder.
        kind: its format.
        rules: `identity.yaml`; for exports of identity systems only.

    Raises:
        ConfigError: it cannot be read or is malformed, or rules are missing or have nothing to say.
    """
    if kind is DirectoryFormat.NATIVE:
        if rules is not None:
            raise ConfigError(f"{rules}: only exports of identity systems have rules; say --format")
        return ImportedIdentities(load_directory(path), ())
    if rules is None:
        raise ConfigError(f"{path}: needs rules for ids and kinds; say --identity FILE")
    said, file = load_rules(rules)
    reader = read_scim if kind is DirectoryFormat.SCIM else read_ldif
    export = reader(
        read_bytes(path, LIMITS.max_bytes),
        str(path),
        absent_members_are_none=said.groups.absent_members == "empty",
    )
    return build_directory(export, said, file)
