"""Runs of one installation: finds manifests, holds the source's lock, loads the mapping, executes the run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import ConfigError, SecureRagError, StoreError, UnavailableError
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.labels import Taxonomy
from secure_rag.ports import LivePermissions, PermissionMapper
from secure_rag_acl.known_names import read_known_names
from secure_rag_api.change_control import in_force, open_mapper, refuse_widening, take_over
from secure_rag_api.stale_sources import alarm_stale_sources
from secure_rag_ingestion.pipeline import Run, RunReport
from secure_rag_ingestion.runs import RunItem
from secure_rag_ingestion.sources import RegisteredSource, SourceManifest, load_manifest, register_source

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

MANIFEST = "source.yaml"


def find_manifests(opened: Installation, given: Sequence[Path]) -> list[Path]:
    """Manifests to run: those given, those below folders given, or all that are registered.

    Raises:
        ConfigError: a path does not exist, nothing was found, or a manifest lies among the documents of a source.
    """
    registered = _registered(opened)
    if not given:
        if not registered:
            raise ConfigError(f"no source is registered yet: name a {MANIFEST}")
        return registered
    manifests: list[Path] = []
    for path in given:
        if path.is_dir():
            manifests += sorted(path.rglob(MANIFEST))
        elif path.is_file():
            manifests.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder")
    if not manifests:
        raise ConfigError(f"no {MANIFEST} below {', '.join(str(x) for x in given)}")
    # A path that is registered was named by an operator before.
    new = [path for path in manifests if path.resolve() not in registered]
    if new:
        roots = _roots(manifests) | _roots(x for x in registered if x.exists())
        for path in new:
            _refuse_below(roots, path, "a manifest")
    return list(dict.fromkeys(manifests))


def ingest_source(
    opened: Installation, manifest_path: Path, actor: str, on_item: Callable[[RunItem, int], None]
) -> RunReport:
    """Run one source.

    Raises:
        ConfigError: the manifest or the mapping is wrong, or the tenant is unknown.
        UnavailableError: another run of this source is going on, or a database cannot be written.
        IngestionError: the source cannot be opened.
        StoreError: the index of the tenant was made by another embedding engine, or the run is done and a vector
            store outside the database could not be brought in step.
    """
    tools = opened.ingest_tools
    with suppress(SecureRagError):
        # An alarm that cannot be written must not keep anybody from making it needless.
        alarm_stale_sources(opened)
    with prepared_source(opened, manifest_path, actor) as found:
        run = Run(
            tools, found.source, found.taxonomy, found.mapper, actor, found.started_at, on_item, found.live
        )
        try:
            report = run.execute()
        except SecureRagError:
            # A run that broke off has committed whole documents. Its own failure is what counts.
            with suppress(StoreError):
                opened.documents_changed()
            raise
        report = _noted(opened, report, found.notes)
    opened.documents_changed()
    return report


@dataclass(frozen=True, slots=True)
class PreparedSource:
    """A source whose lock is held, with what a run needs to know of it.

    Attributes:
        source: as registered now.
        taxonomy: labels of its tenant.
        mapper: what guards its items.
        live: reads what guards each item at the source, if it goes by that.
        started_at: an instant before any of it was read.
        notes: what decides differently than the files on disk say.
    """

    source: RegisteredSource
    taxonomy: Taxonomy
    mapper: PermissionMapper
    live: LivePermissions | None
    started_at: Micros
    notes: tuple[str, ...]


@contextmanager
def prepared_source(opened: Installation, manifest_path: Path, actor: str) -> Generator[PreparedSource]:
    """Hold the lock of a source, check its files, read its permissions and register it.

    Raises:
        ConfigError: the manifest or the mapping is wrong, or the tenant is unknown.
        UnavailableError: another run of this source is going on, or the database cannot be written.
    """
    named = load_manifest(manifest_path)
    with locked_source(opened, named.tenant, named.id):
        # Under the lock and after the clock: a run that waited must not bring back an older mapping as the newest.
        started_at = opened.clock.now()
        manifest = load_manifest(manifest_path)
        if (manifest.tenant, manifest.id) != (named.tenant, named.id):
            raise UnavailableError(f"{manifest_path}: changed while it was read")
        _refuse_below({manifest.root: manifest.id}, manifest_path, "its manifest")
        _refuse_below({manifest.root: manifest.id}, manifest.mapping, "its mapping")
        _refuse_below({manifest.root: manifest.id}, opened.home.root, "the home")
        if manifest.root.is_relative_to(opened.home.root):
            raise ConfigError(f"{manifest_path}: root: the home with its keys is no place for documents")
        if manifest.permissions is not None and manifest.permissions.file is not None:
            _refuse_below({manifest.root: manifest.id}, manifest.permissions.file, "its exported permissions")
        with opened.views.open() as view:
            tenant = view.tenant_key(manifest.tenant)
            if tenant is None:
                raise ConfigError(
                    f"{manifest_path}: tenant {manifest.tenant!r} is unknown; import its directory first"
                )
            taxonomy = view.taxonomy(tenant)
            known = read_known_names(view._connection, tenant, view.now)
            refuse_widening(view._connection, tenant, taxonomy, manifest)
            decided = in_force(view._connection, tenant, manifest)
        mapper, live = open_mapper(decided.manifest, decided.mapping, known)
        with write(opened.engine) as connection:
            if manifest.change_control and decided.version is None:
                take_over(connection, tenant, manifest, known, author=PrincipalId(actor), now=started_at)
            source = register_source(connection, tenant, taxonomy, decided.manifest, manifest_path)
            _refuse_older(connection, source, mapper.confirmed_at)
        yield PreparedSource(source, taxonomy, mapper, live, started_at, tuple(decided.notes))


def _refuse_older(connection: sa.Connection, source: RegisteredSource, exported: Micros | None) -> None:
    """An export from before the last one would give back what was taken away in between."""
    as_of = connection.execute(
        sa.select(t.source.c.acl_as_of).where(t.source.c.id == source.key)
    ).scalar_one()
    if exported is not None and exported < as_of:
        raise ConfigError(
            f"the permissions of source {source.manifest.id!r} are older than the export that was used last; "
            "export them again"
        )


def _noted(opened: Installation, report: RunReport, notes: Sequence[str]) -> RunReport:
    """The report, and the run on record, with what decided differently than the files on disk say."""
    if not notes:
        return report
    detail = "; ".join([*([report.detail] if report.detail else []), *notes])
    with write(opened.engine) as connection:
        connection.execute(sa.update(t.run).where(t.run.c.public_id == report.run_id).values(detail=detail))
    return replace(report, detail=detail)


def _registered(opened: Installation) -> list[Path]:
    with opened.reader.connect() as connection:
        found = connection.execute(sa.select(t.source.c.manifest).order_by(t.source.c.id)).scalars().all()
    return [Path(x) for x in found]


def _roots(manifests: Iterable[Path]) -> dict[Path, str]:
    loaded: list[SourceManifest] = [load_manifest(x) for x in manifests]
    return {x.root: x.id for x in loaded}


def _refuse_below(roots: dict[Path, str], path: Path, what: str) -> None:
    """Whoever can write documents must not thereby decide who reads them, or claim to be another source."""
    for root, source in roots.items():
        if path.resolve().is_relative_to(root):
            raise ConfigError(
                f"{path}: {what} must not lie among the documents of source {source!r} ({root})"
            )


@contextmanager
def locked_source(opened: Installation, tenant: str, source: str) -> Generator[None]:
    """One run, or one applied plan, per source at a time. The lock ends with its process, however that ends.

    Raises:
        UnavailableError: somebody else holds it.
    """
    path = opened.home.locks / f"{tenant}.{source}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UnavailableError(f"another run of source {source!r} is going on") from error
    try:
        yield
    finally:
        os.close(descriptor)
