"""Runs that read permissions only: synchronisations, and checks for drift."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError, NotFoundError, SecureRagError, StoreError
from secure_rag.model.ids import PrincipalId, TenantKey
from secure_rag_acl.management import Action
from secure_rag_api.ingesting import find_manifests, prepared_source
from secure_rag_api.rights import require, source_key
from secure_rag_api.stale_sources import alarm_stale_sources
from secure_rag_ingestion.permission_sync import Choose, PermissionSync, SyncReport, SyncTools
from secure_rag_ingestion.runs import RunItem, RunKind
from secure_rag_ingestion.sources import load_manifest

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def chosen_sources(opened: Installation, tenant: str | None, given: str | None) -> list[Path]:
    """Manifests of the source that is meant: by its name, by its manifest, or all that are registered.

    Raises:
        ConfigError: nothing is registered, or a manifest that is named is not registered.
        NotFoundError: there is no such source.
    """
    if given is None:
        return find_manifests(opened, [])
    s = t.source.c
    statement = sa.select(s.manifest, t.tenant.c.name).join(t.tenant, t.tenant.c.id == s.tenant_id)
    with opened.reader.connect() as connection:
        named = connection.execute(statement.where(s.name == given)).all()
        registered = set(connection.execute(sa.select(s.manifest)).scalars())
    found = [Path(row.manifest) for row in named if tenant in (None, row.name)]
    if len(found) == 1:
        return found
    if found:
        raise ConfigError(f"several tenants have a source {given!r}: name one with --tenant")
    path = Path(given)
    if not path.is_file():
        raise NotFoundError(f"there is no source {given!r}")
    if str(path.resolve()) not in registered:
        raise ConfigError(f"{path}: not registered: `secure-rag ingest run` comes first")
    return [path]


def sync_source(
    opened: Installation,
    manifest_path: Path,
    actor: PrincipalId,
    on_item: Callable[[RunItem], None],
    *,
    choose: Choose | None = None,
    kind: RunKind = RunKind.PERMISSIONS,
) -> SyncReport:
    """Read the permissions of one source anew and bring the index in line with them.

    Args:
        opened: the installation.
        manifest_path: of the source.
        actor: who does it.
        on_item: called with every document that changed or failed.
        choose: looks at a sample only.
        kind: what it is for; decides which right it needs.

    Raises:
        AuthenticationError: the actor may not for this source.
        ConfigError: the manifest or the mapping is wrong, or the tenant is unknown.
        UnavailableError: another run of this source is going on, or a database cannot be written.
        StoreError: it is done, and a vector store outside the database could not be brought in step.
    """
    manifest = load_manifest(manifest_path)
    tenant = opened.tenant_key(manifest.tenant)
    _require(opened, tenant, actor, manifest.id, kind)
    with suppress(SecureRagError):
        # An alarm that cannot be written must not keep anybody from making it needless.
        alarm_stale_sources(opened)
    tools = SyncTools(opened.engine, opened.audit, opened.clock)
    with prepared_source(opened, manifest_path, actor) as found:
        run = PermissionSync(
            tools,
            found.source,
            found.taxonomy,
            found.mapper,
            actor,
            found.started_at,
            on_item,
            found.live,
            choose=choose,
            kind=kind,
        )
        try:
            report = run.execute()
        except SecureRagError:
            with suppress(StoreError):
                opened.documents_changed()
            raise
    opened.documents_changed()
    return report


def _require(opened: Installation, tenant: TenantKey, actor: PrincipalId, source: str, kind: RunKind) -> None:
    """Who reports drift sees who may read what, and takes rights away; a synchronisation is a run like others."""
    key = source_key(opened, tenant, source)
    for action in (Action.POLICY_READ, Action.REVOKE) if kind is RunKind.DRIFT else (Action.INGEST_RUN,):
        require(opened, tenant, actor, action, key)
