"""Runs of one installation: finds manifests, loads the mapping, holds the source's lock, executes the run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import ConfigError, UnavailableError
from secure_rag_acl.mappings import load_mapping
from secure_rag_ingestion.pipeline import Run, RunReport
from secure_rag_ingestion.runs import RunItem
from secure_rag_ingestion.sources import load_manifest, register_source

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def find_manifests(opened: Installation, given: Sequence[Path]) -> list[Path]:
    """Manifests to run: those given, those below folders given, or all that are registered.

    Raises:
        ConfigError: a path does not exist, or nothing was found.
    """
    if not given:
        with opened.reader.connect() as connection:
            found = connection.execute(sa.select(t.source.c.manifest).order_by(t.source.c.id)).scalars().all()
        if not found:
            raise ConfigError("no source is registered yet: name a source.yaml")
        return [Path(x) for x in found]
    manifests: list[Path] = []
    for path in given:
        if path.is_dir():
            manifests += sorted(path.rglob("source.yaml"))
        elif path.is_file():
            manifests.append(path)
        else:
            raise ConfigError(f"{path}: no such file or folder")
    if not manifests:
        raise ConfigError(f"no source.yaml below {', '.join(str(x) for x in given)}")
    return manifests


def ingest_source(
    opened: Installation, manifest_path: Path, actor: str, on_item: Callable[[RunItem, int], None]
) -> RunReport:
    """Run one source.

    Raises:
        ConfigError: the manifest or the mapping is wrong, or the tenant is unknown.
        UnavailableError: another run of this source is going on.
    """
    manifest = load_manifest(manifest_path)
    mapper = load_mapping(
        manifest.mapping, manifest.id, authoritative_sidecars=manifest.sidecars == "authoritative"
    )
    tools = opened.ingest_tools
    with _locked(opened.home.locks / f"{manifest.tenant}.{manifest.id}.lock", manifest.id):
        with opened.views.open() as view:
            tenant = view.tenant_key(manifest.tenant)
            if tenant is None:
                raise ConfigError(
                    f"{manifest_path}: tenant {manifest.tenant!r} is unknown; import its directory first"
                )
            taxonomy = view.taxonomy(tenant)
        with write(opened.engine) as connection:
            source = register_source(connection, tenant, taxonomy, manifest, manifest_path)
        return Run(tools, source, taxonomy, mapper, actor, on_item).execute()


@contextmanager
def _locked(path: Path, source: str) -> Iterator[None]:
    """One run per source at a time. The lock ends with its process, however that ends."""
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
