"""What decides about a source: the applied version where there is one, the files beside it otherwise.

Invariants
- From the first applied version on, a file on disk is a proposal: it decides nothing, and every run says so.
- A version holds the tables that its mapping names, so that no file beside it decides either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError, SecureRagError
from secure_rag.model.ids import LabelId, Micros, PrincipalId, TenantKey
from secure_rag.model.labels import Taxonomy, Trust
from secure_rag.ports import LivePermissions, PermissionMapper
from secure_rag_acl.data_files import decode
from secure_rag_acl.known_names import KnownNames
from secure_rag_acl.mappings import parse_mapping
from secure_rag_acl.policy_files import (
    Bundle,
    PolicyFile,
    Recorder,
    latest,
    mapping_scope,
    source_scope,
    store,
    under_control,
)
from secure_rag_api.source_permissions import MappingText, mapping_of, open_permissions
from secure_rag_ingestion.sources import RegisteredSource, SourceManifest, load_manifest

_GUARDED: Final = ("trust", "default_label", "sidecars", "permissions", "max_acl_age")
"""What of a manifest says something about access."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What decides about a source now. `notes`: where files on disk say something else."""

    manifest: SourceManifest
    mapping: MappingText
    version: PolicyFile | None
    notes: tuple[str, ...] = ()


def guarded(manifest: SourceManifest) -> Bundle:
    """What a manifest says about access, as a version of it is stored."""
    plain = manifest.model_dump(mode="json", include=set(_GUARDED))
    return Bundle(json.dumps(plain, indent=1, sort_keys=True))


def with_guarded(manifest: SourceManifest, version: Bundle) -> SourceManifest:
    """A manifest with what a version says about access.

    Raises:
        ConfigError: the version does not fit.
    """
    try:
        fields = json.loads(version.text)
        kept = manifest.model_dump(mode="json", exclude=set(_GUARDED))
        return SourceManifest.model_validate({**kept, **{name: fields[name] for name in _GUARDED}})
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"the stored version of source {manifest.id!r} cannot be used") from error


def version_text(version: Bundle, manifest: SourceManifest, n: int) -> MappingText:
    """A stored mapping. Its name says which version a line number is of."""
    return MappingText(version.text.encode("utf-8"), f"{manifest.mapping} v{n}", version.table)


def in_force(connection: sa.Connection, tenant: TenantKey, manifest: SourceManifest) -> InForce:
    """What decides about a source, given its manifest as it is on disk.

    Raises:
        ConfigError: the mapping cannot be read, or a stored version does not fit.
    """
    notes: list[str] = []
    rules = latest(connection, tenant, mapping_scope(manifest.id))
    settings = latest(connection, tenant, source_scope(manifest.id))
    decided = manifest
    if settings is not None and guarded(manifest) != settings.bundle:
        decided = with_guarded(manifest, settings.bundle)
        notes.append(
            f"the manifest says something else about access than its applied version {settings.n}, which holds:"
            f" `secure-rag acl plan --source {manifest.id} -f source.yaml` makes a plan of it"
        )
    if rules is None:
        return InForce(decided, mapping_of(manifest), None, tuple(notes))
    if _differs(manifest, rules.bundle):
        notes.append(
            f"{manifest.mapping.name} differs from its applied version {rules.n}, which holds:"
            f" `secure-rag acl plan --source {manifest.id} -f {manifest.mapping.name}` makes a plan of it"
        )
    return InForce(decided, version_text(rules.bundle, manifest, rules.n), rules, tuple(notes))


def _differs(manifest: SourceManifest, version: Bundle) -> bool:
    try:
        disk = mapping_of(manifest)
        if decode(disk.data, disk.name) != version.text:
            return True
        return any(disk.read_table(name) != version.table(name) for name in version.beside)
    except ConfigError:
        return True


def open_mapper(
    manifest: SourceManifest, mapping: MappingText, known: KnownNames
) -> tuple[PermissionMapper, LivePermissions | None]:
    """What tells the permissions of the source's items.

    Raises:
        ConfigError: the mapping is wrong; names file and line.
    """
    if manifest.permissions is not None:
        found = open_permissions(manifest, manifest.permissions, known, mapping=mapping)
        return found.mapper, found.live
    authoritative = manifest.sidecars == "authoritative"
    mapper = parse_mapping(
        mapping.data,
        mapping.name,
        manifest.id,
        authoritative_sidecars=authoritative,
        known=known,
        read_table=mapping.read_table,
    )
    return mapper, None


def bundled(manifest: SourceManifest, mapping: MappingText, known: KnownNames) -> Bundle:
    """A mapping with the tables that it names.

    Raises:
        ConfigError: it is wrong; names file and line.
    """
    recorder = Recorder(mapping.read_table)
    open_mapper(manifest, MappingText(mapping.data, mapping.name, recorder), known)
    return Bundle(decode(mapping.data, mapping.name), recorder.tables)


def take_over(
    connection: sa.Connection,
    tenant: TenantKey,
    manifest: SourceManifest,
    known: KnownNames,
    *,
    author: PrincipalId,
    now: Micros,
) -> None:
    """Store what is on disk as first versions where there are none: from now on the source is under change control."""
    note = "as it was when change control began"
    if latest(connection, tenant, mapping_scope(manifest.id)) is None:
        first = bundled(manifest, mapping_of(manifest), known)
        store(connection, tenant, mapping_scope(manifest.id), first, author=author, now=now, note=note)
    if latest(connection, tenant, source_scope(manifest.id)) is None:
        scope = source_scope(manifest.id)
        store(connection, tenant, scope, guarded(manifest), author=author, now=now, note=note)


def default_label(manifest: SourceManifest, taxonomy: Taxonomy) -> LabelId | None:
    """Default label of a source.

    Raises:
        ConfigError: the taxonomy does not know it.
    """
    if manifest.default_label is None:
        return None
    found = next((x.id for x in taxonomy.labels.values() if x.name == manifest.default_label), None)
    if found is None:
        raise ConfigError(f"source {manifest.id}: default_label: unknown label {manifest.default_label!r}")
    return found


def loosened(before: SourceManifest, after: SourceManifest) -> Iterator[str]:
    """Sentences about what a manifest lets happen that another one did not; labels show in the classes."""
    if after.trust.level > before.trust.level:
        yield f"trust is raised from {before.trust} to {after.trust}"
    if after.max_acl_age_us > before.max_acl_age_us:
        yield f"permissions may be {after.max_acl_age} old instead of {before.max_acl_age}"
    if after.sidecars != before.sidecars and after.sidecars == "authoritative":
        yield "sidecars beside the documents replace the mapping instead of adding to it"
    if before.permissions is not None and after.permissions != before.permissions:
        yield "the permissions that the source itself gives are read from elsewhere, or not at all"


def registered(connection: sa.Connection, source: RegisteredSource) -> None:
    """Bring the row of a source in line with what is in force."""
    s, manifest = t.source.c, source.manifest
    values = {
        "trust": manifest.trust.value,
        "default_label": source.default_label,
        "max_acl_age": manifest.max_acl_age_us,
    }
    row = connection.execute(
        sa.select(s.trust, s.default_label, s.max_acl_age).where(s.id == source.key)
    ).one()
    if row._asdict() != values:
        connection.execute(sa.update(t.source).where(s.id == source.key).values(values))


def loosened_since_run(
    connection: sa.Connection, tenant: TenantKey, manifest: SourceManifest
) -> Iterator[str]:
    """The same for a manifest that was changed since its source was registered, before there is a version of it."""
    s = t.source.c
    row = connection.execute(
        sa.select(s.trust, s.max_acl_age).where(s.tenant_id == tenant, s.name == manifest.id)
    ).one_or_none()
    if row is not None and manifest.trust.level > Trust(row.trust).level:
        yield f"trust is raised from {row.trust} to {manifest.trust}"
    if row is not None and manifest.max_acl_age_us > row.max_acl_age:
        yield f"permissions may be {manifest.max_acl_age} old, which is longer than before"


def refuse_widening(
    connection: sa.Connection, tenant: TenantKey, taxonomy: Taxonomy, manifest: SourceManifest
) -> None:
    """Refuse a manifest that would widen a source without a version of its own, in a tenant under change control.

    Raises:
        ConfigError: trust is higher, or the default label lower, than what is registered.
    """
    s = t.source.c
    row = connection.execute(
        sa.select(s.trust, s.default_label, s.max_acl_age).where(s.tenant_id == tenant, s.name == manifest.id)
    ).one_or_none()
    if row is None or latest(connection, tenant, source_scope(manifest.id)) is not None:
        return
    if not under_control(connection, tenant):
        return
    before = taxonomy.rank_of_content(LabelId(row.default_label or taxonomy.default))
    after = taxonomy.rank_of_content(default_label(manifest, taxonomy) or taxonomy.default)
    wider = (
        manifest.trust.level > Trust(row.trust).level
        or after < before
        or manifest.max_acl_age_us > row.max_acl_age
    )
    if wider:
        raise ConfigError(
            f"source {manifest.id!r}: trust, default_label or max_acl_age would widen access, and the tenant is under"
            f" change control: `secure-rag acl plan --source {manifest.id} -f source.yaml`"
        )


def proposals(connection: sa.Connection) -> Iterator[str]:
    """Sentences about files of registered sources that say something else than what was applied."""
    rows = connection.execute(
        sa.select(t.tenant.c.id, t.tenant.c.name, t.source.c.name, t.source.c.manifest)
        .join(t.source, t.source.c.tenant_id == t.tenant.c.id)
        .order_by(t.source.c.id)
    ).all()
    for tenant, tenant_name, name, manifest in rows:
        try:
            found = in_force(connection, TenantKey(tenant), load_manifest(Path(manifest)))
        except SecureRagError:
            # What cannot be read at all is a problem of its own, and `doctor` has it.
            continue
        yield from (f"source {tenant_name}/{name}: {note}" for note in found.notes)
