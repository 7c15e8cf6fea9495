"""What guards the items of a source, from its manifest: the mapping, and its own permissions if it has some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from secure_rag.errors import ConfigError
from secure_rag.ports import LivePermissions
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.formats.exports import read_export
from secure_rag_acl.formats.native import LIMITS, Limits
from secure_rag_acl.formats.resolve import FormatPermissionMapper
from secure_rag_acl.known_names import KnownNames
from secure_rag_acl.mappings import parse_additions, parse_mapping, tables_beside
from secure_rag_acl.principals import PrincipalMapping
from secure_rag_ingestion.sources import SourceManifest, SourcePermissions

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OpenedPermissions:
    """A mapper, and for permissions of the file system what reads them."""

    mapper: FormatPermissionMapper
    live: LivePermissions | None = None


@dataclass(frozen=True, slots=True)
class MappingText:
    """A mapping that was read already. `name` stands in messages and origins."""

    data: bytes
    name: str
    read_table: Callable[[str], bytes]


def mapping_of(manifest: SourceManifest) -> MappingText:
    """The mapping file as it is on disk now.

    Raises:
        ConfigError: it cannot be read.
    """
    path = manifest.mapping
    return MappingText(read_bytes(path), str(path), tables_beside(path))


def open_permissions(
    manifest: SourceManifest,
    chosen: SourcePermissions,
    known: KnownNames,
    limits: Limits = LIMITS,
    mapping: MappingText | None = None,
) -> OpenedPermissions:
    """Read the mapping and the permissions of a source.

    An export that cannot be read or trusted does not raise: its mapper knows the permissions of no item, so that a
    run withholds them.

    Args:
        manifest: of the source.
        chosen: its `permissions`.
        known: aliases of the tenant's directory.
        limits: what one source may ask for.
        mapping: the mapping; None is the file.

    Raises:
        ConfigError: the mapping is wrong; names file and line.
    """
    given = mapping or mapping_of(manifest)
    principals, rules = parse_additions(
        given.data, given.name, manifest.id, known=known, read_table=given.read_table
    )
    if chosen.file is None:
        # Here, so that it is loaded only where a file system is the authority.
        from secure_rag_acl.formats.live import PosixPermissions

        live = PosixPermissions(below_root=chosen.below_root)
        return OpenedPermissions(FormatPermissionMapper.reading(principals, rules), live)
    try:
        export = read_export(chosen.file, chosen.format, below_root=chosen.below_root, limits=limits)
    except ConfigError as error:
        return OpenedPermissions(FormatPermissionMapper.failed(principals, rules, str(error)))
    except Exception as error:  # noqa: BLE001 -- a run that did not begin would leave what was readable before readable
        _log.error("export_reader_failed", source=manifest.id, error=type(error).__name__)
        failure = f"{chosen.file}: cannot be read: {type(error).__name__}"
        return OpenedPermissions(FormatPermissionMapper.failed(principals, rules, failure))
    return OpenedPermissions(FormatPermissionMapper.of(principals, rules, export.dump, export.as_of))


def open_principals(manifest: SourceManifest, known: KnownNames) -> PrincipalMapping:
    """The names of a source alone, as its mapping file is now.

    Raises:
        ConfigError: the mapping is wrong; names file and line.
    """
    path, tables = manifest.mapping, tables_beside(manifest.mapping)
    if manifest.permissions is not None:
        return parse_additions(read_bytes(path), str(path), manifest.id, known=known, read_table=tables)[0]
    return parse_mapping(read_bytes(path), str(path), manifest.id, known=known, read_table=tables).principals
