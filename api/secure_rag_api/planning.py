"""Making plans: a proposed file, compared with what is in force, becomes a stored plan with its effect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import ConfigError, InvalidRequestError, NotFoundError
from secure_rag.model.ids import Micros, PrincipalId, TenantKey
from secure_rag_acl.data_files import decode, read_bytes
from secure_rag_acl.known_names import read_known_names
from secure_rag_acl.labels import parse_labels
from secure_rag_acl.management import Action
from secure_rag_acl.mappings import tables_beside
from secure_rag_acl.plan_store import Draft, Plan, store_plan
from secure_rag_acl.policy_files import (
    LABELS,
    Bundle,
    latest,
    mapping_scope,
    source_of,
    source_scope,
    version,
)
from secure_rag_acl.yaml_files import parse_yaml
from secure_rag_api.change_control import bundled, guarded
from secure_rag_api.plan_report import approval_reasons, full_report
from secure_rag_api.prospects import Change, prospect
from secure_rag_api.source_permissions import MappingText, mapping_of
from secure_rag_ingestion.sources import SourceManifest, load_manifest

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_HOUR: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file that somebody proposes, and what it is about."""

    scope: str
    bundle: Bundle
    note: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """What a plan changes: the version in force, or what holds while there is none."""

    n: int
    bundle: Bundle

    def next_version(self, bundle: Bundle) -> int:
        """Number that a bundle gets. Without a version what holds becomes version 1, unless it is the same."""
        if self.n:
            return self.n + 1
        return 1 if bundle == self.bundle else 2


PLAN, APPLY, APPROVE = range(3)
_ACTIONS: Final = {
    True: (Action.LABELS_PLAN, Action.LABELS_APPLY, Action.LABELS_APPROVE),
    False: (Action.MAPPING_PLAN, Action.MAPPING_APPLY, Action.MAPPING_APPROVE),
}


def action(scope: str, step: int) -> Action:
    """The right that a step with a plan of a scope needs."""
    return _ACTIONS[scope == LABELS][step]


def read_proposal(
    opened: Installation, tenant: TenantKey, tenant_name: str, file: Path, *, source: str | None, labels: bool
) -> Proposal:
    """Read a proposed mapping, manifest or taxonomy.

    Raises:
        ConfigError: it is malformed, or about another tenant or source.
        NotFoundError: there is no such source.
        InvalidRequestError: `--labels` and `--source` together, or one that does not fit the file.
    """
    if labels and source is not None:
        raise InvalidRequestError("either --labels or --source")
    data = read_bytes(file)
    keys = parse_yaml(data, str(file)).data
    kinds = set(keys) if isinstance(keys, dict) else set[str]()
    if labels or "labels" in kinds:
        if source is not None:
            raise InvalidRequestError(f"{file}: these are labels, not a file of source {source!r}")
        document = parse_labels(data, str(file))
        if document.tenant != tenant_name:
            raise document.error(("tenant",), f"not tenant {tenant_name!r}")
        return Proposal(LABELS, Bundle(decode(data, str(file))))
    if "root" in kinds:
        proposed = load_manifest(file)
        if proposed.tenant != tenant_name or source not in (None, proposed.id):
            raise ConfigError(f"{file}: the manifest of source {proposed.id!r} of tenant {proposed.tenant!r}")
        return Proposal(source_scope(proposed.id), guarded(proposed))
    named = keys.get("source") if isinstance(keys, dict) else None
    name = source or (named if isinstance(named, str) else "")
    with opened.views.open() as view:
        manifest = manifest_of(view._connection, tenant, name)
        known = read_known_names(view._connection, tenant, view.now)
    text = MappingText(data, str(file), tables_beside(file))
    return Proposal(mapping_scope(name), bundled(manifest, text, known))


def stored_proposal(connection: sa.Connection, tenant: TenantKey, scope: str, n: int) -> Proposal:
    """An earlier version, proposed again.

    Raises:
        NotFoundError: there is no such version.
    """
    found = version(connection, tenant, scope, n)
    if found is None:
        raise NotFoundError(f"{scope} has no version {n}")
    return Proposal(scope, found.bundle, f"back to version {n}")


def make_plan(
    opened: Installation, tenant: TenantKey, tenant_name: str, proposal: Proposal, author: PrincipalId
) -> Plan:
    """Compute the effect of a proposal, and store it as a plan.

    Raises:
        ConfigError: a file is wrong.
        InvalidRequestError: nothing would change.
        NotFoundError: there is no such source.
        UnavailableError: a database cannot be read or written.
    """
    now = opened.clock.now()
    with opened.views.open() as view:
        connection = view._connection
        base = base_of(connection, tenant, tenant_name, proposal.scope, view.now)
        if base.n and proposal.bundle == base.bundle:
            raise InvalidRequestError(
                f"version {base.n} of {proposal.scope}, which is in force, says the same"
            )
        change = Change(proposal.scope, proposal.bundle, base.next_version(proposal.bundle))
        found = prospect(connection, tenant, tenant_name, change, max(now, view.now))
        report = full_report(connection, tenant, found, view.now)
    draft = Draft(
        scope=proposal.scope,
        base=base.n,
        base_sha256=base.bundle.sha256,
        bundle=proposal.bundle,
        gains=found.effect.gains,
        report=report,
        loosened=found.loosened,
        approval=approval_reasons(found, opened.settings.access),
        widening=found.effect.widening,
        note=proposal.note,
    )
    expires = Micros(now + opened.settings.access.plan_valid_h * _HOUR)
    with write(opened.engine) as connection:
        plan = store_plan(connection, tenant, draft, author=author, now=now, expires=expires)
        body = {"plan": plan.id, "digest": plan.digest, "scope": draft.scope, "base": draft.base}
        said = body | {"widening": draft.widening, "by": author}
        opened.audit.record(tenant_name, "access_plan_made", f"{plan.id}-made", said)
    return plan


def base_of(connection: sa.Connection, tenant: TenantKey, tenant_name: str, scope: str, now: Micros) -> Base:
    """What holds for a scope now.

    Raises:
        ConfigError: a file on disk that holds is wrong.
        NotFoundError: there is no such source.
    """
    found = latest(connection, tenant, scope)
    if found is not None:
        return Base(found.n, found.bundle)
    if scope == LABELS:
        return Base(0, stored_labels(connection, tenant, tenant_name))
    manifest = manifest_of(connection, tenant, source_of(scope) or "")
    if scope == source_scope(manifest.id):
        return Base(0, guarded(manifest))
    known = read_known_names(connection, tenant, now)
    return Base(0, bundled(manifest, mapping_of(manifest), known))


def manifest_of(connection: sa.Connection, tenant: TenantKey, name: str) -> SourceManifest:
    """Manifest of a registered source, as it is on disk.

    Raises:
        NotFoundError: there is no such source.
        ConfigError: the manifest is wrong.
    """
    s = t.source.c
    path = connection.execute(sa.select(s.manifest).where(s.tenant_id == tenant, s.name == name)).scalar()
    if path is None:
        raise NotFoundError(f"there is no source {name!r}; `secure-rag ingest run` registers one")
    return load_manifest(Path(path))


def stored_labels(connection: sa.Connection, tenant: TenantKey, tenant_name: str) -> Bundle:
    """The taxonomy of a tenant as a file.

    Raises:
        NotFoundError: it has none.
    """
    x = t.label.c
    rows = connection.execute(sa.select(t.label).where(x.tenant_id == tenant).order_by(x.priority)).all()
    head = connection.execute(sa.select(t.taxonomy).where(t.taxonomy.c.tenant_id == tenant)).one_or_none()
    if head is None:
        raise NotFoundError(f"tenant {tenant_name!r} has no labels; `secure-rag labels import` brings them")
    names = {r.guid: r.name for r in rows}
    c = t.compartment.c
    rooms = (
        connection.execute(sa.select(c.name).where(c.tenant_id == tenant).order_by(c.name)).scalars().all()
    )
    content = {
        "tenant": tenant_name,
        "labels": [
            {"id": r.guid, "name": r.name, "priority": r.priority}
            | ({"parent": r.parent} if r.parent else {})
            for r in rows
        ],
        "compartments": list(rooms),
        "default": names[head.default_label],
        "external_mix_threshold": names[head.mix_threshold],
    }
    return Bundle(json.dumps(content, indent=1, ensure_ascii=False))
