"""Names of sources that mean nobody: listed for who may read the source's policy, confirmed by who may edit it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError, NotFoundError, UnavailableError
from secure_rag.model.ids import PrincipalId, SourceKey, TenantKey
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.formats.native import NativePrincipal
from secure_rag_acl.known_names import KnownNames, read_known_names
from secure_rag_acl.management import Action, ManagementPolicy, manager
from secure_rag_acl.mapping_edits import NewLine, with_lines
from secure_rag_acl.mappings import parse_additions, parse_mapping, tables_beside
from secure_rag_acl.principals import PrincipalMapping
from secure_rag_acl.unresolved import Unresolved, unresolved
from secure_rag_api.change_control import in_force
from secure_rag_api.source_permissions import open_permissions, open_principals
from secure_rag_ingestion.sources import SourceManifest, load_manifest

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_LINES_PER_EVENT: Final = 200
"""An audit event is bounded; a bulk confirmation is on record in several."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A registered source of a tenant."""

    key: SourceKey
    name: str
    manifest: Path


@dataclass(frozen=True, slots=True)
class SourceNames:
    """The names of one source that mean nobody. `warning`: why what the source says of its names is not known."""

    source: SourceRow
    manifest: SourceManifest
    names: tuple[Unresolved, ...]
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Where lines were written. `proposal`: an applied version decides, and the file only proposes another one."""

    path: Path
    proposal: bool


def readable_sources(
    opened: Installation, tenant: TenantKey, actor: PrincipalId, source: str | None, action: Action
) -> list[SourceRow]:
    """Sources that somebody may manage so; all that she may when none is named.

    Raises:
        AuthenticationError: she may not for the source that is named, whether or not it exists.
        NotFoundError: there is no such source.
    """
    policy, s = ManagementPolicy(), t.source.c
    with opened.views.open() as view:
        who = manager(view, tenant, actor)
        rows = view._connection.execute(
            sa.select(s.id, s.name, s.manifest).where(s.tenant_id == tenant).order_by(s.name)
        ).all()
    found = [SourceRow(SourceKey(r.id), r.name, Path(r.manifest)) for r in rows]
    if source is None:
        return [x for x in found if policy.may(who, action, x.key)]
    named = next((x for x in found if x.name == source), None)
    policy.require(who, action, None if named is None else named.key)
    if named is None:
        raise NotFoundError(f"there is no source {source!r}")
    return [named]


def names_of(opened: Installation, tenant: TenantKey, source: SourceRow, *, suggest: bool) -> SourceNames:
    """What means nobody in one source, with suggestions if they are wanted.

    Raises:
        ConfigError: the manifest or the mapping is wrong.
    """
    manifest = load_manifest(source.manifest)
    with opened.views.open() as view:
        known = read_known_names(view._connection, tenant, view.now)
        principals = open_principals(manifest, known)
        hints, warning = _hints(manifest, known)
        found = unresolved(
            view._connection, source.key, principals, known if suggest else KnownNames(), hints
        )
    return SourceNames(source, manifest, tuple(found), warning)


def _hints(manifest: SourceManifest, known: KnownNames) -> tuple[Mapping[str, NativePrincipal], str | None]:
    """What the source's export says about its names: addresses, identifiers."""
    if manifest.permissions is None or manifest.permissions.file is None:
        return {}, None
    mapper = open_permissions(manifest, manifest.permissions, known).mapper
    return mapper.names(), mapper.failure


def confirm(
    opened: Installation,
    tenant: TenantKey,
    actor: PrincipalId,
    source: SourceRow,
    lines: Sequence[NewLine],
) -> Confirmed:
    """Write lines into the mapping of a source. They take effect with its next run, or as its next applied version.

    Raises:
        AuthenticationError: the actor may not edit this mapping.
        ConfigError: the mapping with the lines would be wrong; nothing was written.
        UnavailableError: somebody else edits it now, or the audit log cannot be written.
    """
    readable_sources(opened, tenant, actor, source.name, Action.MAPPING_EDIT)
    manifest = load_manifest(source.manifest)
    if manifest.id != source.name:
        raise ConfigError(f"{source.manifest}: no longer the manifest of {source.name!r}")
    path = manifest.mapping
    with _editing(opened.home.locks / f"{manifest.tenant}.{manifest.id}.mapping.lock", path):
        before = read_bytes(path)
        after = with_lines(before, str(path), lines)
        with opened.views.open() as view:
            known = read_known_names(view._connection, tenant, view.now)
            decided = in_force(view._connection, tenant, manifest)
        _check(manifest, after, known)
        _record(opened, manifest, actor, lines, before, after)
        _replace(path, before, after)
    return Confirmed(path, decided.version is not None)


def _check(manifest: SourceManifest, data: bytes, known: KnownNames) -> PrincipalMapping:
    path, tables = str(manifest.mapping), tables_beside(manifest.mapping)
    if manifest.permissions is not None:
        return parse_additions(data, path, manifest.id, known=known, read_table=tables)[0]
    return parse_mapping(data, path, manifest.id, known=known, read_table=tables).principals


def _record(
    opened: Installation,
    manifest: SourceManifest,
    actor: PrincipalId,
    lines: Sequence[NewLine],
    before: bytes,
    after: bytes,
) -> None:
    """On record before it is done: who joined which names to whom, and the digests of the file."""
    event = opened.new_id()
    for first in range(0, len(lines), _LINES_PER_EVENT):
        part = lines[first : first + _LINES_PER_EVENT]
        body = {
            "by": actor,
            "source": manifest.id,
            "part": first // _LINES_PER_EVENT,
            "lines": len(lines),
            "names": [[x.native, x.principal, x.merge] for x in part],
            "before": hashlib.sha256(before).hexdigest(),
            "after": hashlib.sha256(after).hexdigest(),
        }
        opened.audit.record(
            manifest.tenant, "mapping_names_confirmed", f"{event}-{first // _LINES_PER_EVENT}", body
        )


@contextmanager
def _editing(lock: Path, path: Path) -> Generator[None]:
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UnavailableError(f"{path}: somebody else edits it now") from error
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, before: bytes, after: bytes) -> None:
    """Put the new file into the place of the old one at once, with its owner and mode.

    Raises:
        ConfigError: it cannot be written, or was changed meanwhile; it stays as it is.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        status = path.stat()
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(after)
            os.fchmod(file.fileno(), status.st_mode & 0o777)
            mine = os.fstat(file.fileno())
            if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.flush()
            os.fsync(file.fileno())
        if read_bytes(path) != before:
            raise ConfigError(f"{path}: changed while it was edited; nothing was written")
        draft.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
