"""What of a home needs attention, and why answers of it may be empty. For operators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from secure_rag.audit.events import ALARMS
from secure_rag.audit.reading import tail
from secure_rag.config import Profile
from secure_rag.database import health
from secure_rag.database import tables as t
from secure_rag.database.health import SourceHealth
from secure_rag.database.tables import DocumentState
from secure_rag.errors import SecureRagError
from secure_rag.retrieval.authorize import is_stale
from secure_rag_api.change_control import proposals
from secure_rag_api.private_files import open_to_others
from secure_rag_ingestion.parsing.layers import unmet
from secure_rag_ingestion.parsing.sandbox import default_requirements
from secure_rag_ingestion.runs import Outcome, RunKind, RunStatus
from secure_rag_ingestion.sources import load_manifest

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_SHOWN: Final = 20
_ALARM_AGE: Final = 30 * 86_400_000_000
"""Alarms stay in the log; here they count for thirty days."""


@dataclass
class Diagnosis:
    """Facts by name, and sentences about what needs attention."""

    facts: dict[str, object] = field(default_factory=dict[str, object])
    sources: list[SourceHealth] = field(default_factory=list[SourceHealth])
    problems: list[str] = field(default_factory=list[str])


def diagnose(opened: Installation) -> Diagnosis:
    """Look at everything that an answer depends on."""
    found = Diagnosis()
    found.facts |= {"home": str(opened.home.root), "profile": opened.settings.profile.value}
    found.problems += _files(opened)
    found.problems += _alarms(opened)
    _machinery(opened, found)
    with opened.reader.connect() as connection, connection.begin():
        found.sources = health.sources(connection)
        found.problems += _directory(opened, connection)
        found.problems += _sources(opened, connection, found.sources)
        found.problems += proposals(connection)
        found.problems += _names(connection)
        found.problems += _vectors(connection)
    return found


def _files(opened: Installation) -> Iterator[str]:
    exposed = [str(path) for path in open_to_others(opened.home.root)]
    if exposed:
        yield f"others can reach files of the home; `chmod -R go= {opened.home.root}`: {_some(exposed)}"
    if not opened.audit.ready():
        yield "the audit log cannot be written: nothing is answered"


def _alarms(opened: Installation) -> Iterator[str]:
    since = opened.clock.now() - _ALARM_AGE
    try:
        kinds = [
            x.kind for kind in sorted(ALARMS) for x in tail(opened.home.audit, 1, kind=kind) if x.at > since
        ]
    except SecureRagError as error:
        yield str(error)
    else:
        yield from (f"alarm {kind}: `secure-rag audit tail --kind {kind}`" for kind in kinds)


def _machinery(opened: Installation, found: Diagnosis) -> None:
    """Model, sandbox and store; one that fails says why, and the others are still looked at."""
    try:
        engine = opened.embedder.engine_id
        found.facts["embedding"] = engine
        found.problems += _other_engines(opened, engine)
        opened.documents_changed()
    except SecureRagError as error:
        found.problems.append(str(error))
    try:
        layers = opened.ingest_tools.parser.layers
        found.facts["parse sandbox"] = ", ".join(x.name for x in layers if x.holds)
        needed = unmet(default_requirements(), layers)
        missing = {x.name: x.note for x in layers if not x.holds}
        if missing:
            found.facts["parse sandbox lacks"] = ", ".join(
                f"{name} ({note})" for name, note in missing.items()
            )
        if needed or (missing and opened.settings.profile is Profile.PRODUCTION):
            weak = ", ".join(needed or missing)
            found.problems.append(
                f"parse sandbox: {weak} does not hold on this host: {_some([*missing.values()])}"
            )
    except SecureRagError as error:
        found.problems.append(f"parse sandbox: {error}")


def _other_engines(opened: Installation, engine: str) -> Iterator[str]:
    e = t.embedding_space.c
    with opened.reader.connect() as connection:
        rows = connection.execute(
            sa.select(t.tenant.c.name, e.engine_id)
            .join(t.embedding_space, e.tenant_id == t.tenant.c.id)
            .where(e.engine_id != engine)
        ).all()
    for name, other in rows:
        yield f"tenant {name}: its index was made by {other}, not by {engine}: every query fails"


def _vectors(connection: sa.Connection) -> Iterator[str]:
    d, v, e = t.document.c, t.document_vectors.c, t.embedding_space.c
    floats = sa.func.coalesce(sa.func.length(v.vectors), 0)
    damaged = connection.execute(
        sa.select(sa.func.count())
        .select_from(t.document)
        .join(t.embedding_space, e.tenant_id == d.tenant_id)
        .outerjoin(t.document_vectors, v.document_id == d.id)
        .where(d.state == int(DocumentState.LIVE), floats != 4 * d.n_chunks * e.dimensions)
    ).scalar_one()
    if damaged:
        yield f"{documents(damaged)} with damaged vectors, never found until their content changes"


def _directory(opened: Installation, connection: sa.Connection) -> Iterator[str]:
    p = t.principal.c
    for name in health.tenants_without_directory(connection):
        known = connection.execute(
            sa.select(sa.func.count())
            .select_from(t.principal)
            .join(t.tenant, t.tenant.c.id == p.tenant_id)
            .where(t.tenant.c.name == name, p.state == "active", p.kind != "everyone")
        ).scalar_one()
        why = "this home was restored from a backup" if known else "no directory was imported yet"
        yield f"tenant {name}: {why}: nobody has rights until `secure-rag directory import`"
    for name, doubtful in health.uncertain_principals(connection).items():
        yield (
            f"tenant {name}: {len(doubtful)} principals are not known for certain; a deny that names one closes"
            f" its lock: {_some(doubtful)}"
        )
    for name, cleared in _without(opened, connection, t.clearance, ("member", "guest", "service")).items():
        yield f"tenant {name}: {len(cleared)} users have no clearance and see nothing: {_some(cleared)}"
    for name, granted in _without(opened, connection, t.grant, ("app", "agent")).items():
        yield f"tenant {name}: no grant that holds now, so nothing passes through: {_some(granted)}"
    apps = sa.select(p.tenant_id).where(p.kind == "app", p.state == "active")
    for name in connection.execute(
        sa.select(t.tenant.c.name).where(t.tenant.c.directory_as_of > 0, t.tenant.c.id.not_in(apps))
    ).scalars():
        yield f"tenant {name}: no active application: nobody can ask"


def _without(
    opened: Installation, connection: sa.Connection, rights: sa.Table, kinds: tuple[str, ...]
) -> dict[str, list[str]]:
    """Active principals of these kinds that have no row in a table of rights now, by tenant."""
    p, r, now = t.principal.c, rights.c, opened.clock.now()
    holding = sa.select(r.principal_id).where(r.valid_from <= now, r.valid_to > now)
    rows = connection.execute(
        sa.select(t.tenant.c.name, p.name)
        .join(t.tenant, t.tenant.c.id == p.tenant_id)
        .where(p.kind.in_(kinds), p.state == "active", p.id.not_in(holding))
        .order_by(t.tenant.c.name, p.name)
    ).all()
    found: dict[str, list[str]] = {}
    for tenant, name in rows:
        found.setdefault(tenant, []).append(name)
    return found


def _sources(opened: Installation, connection: sa.Connection, sources: list[SourceHealth]) -> Iterator[str]:
    if not sources:
        yield "no source is registered: `secure-rag ingest run PATH/source.yaml`"
    taxonomies = dict(
        connection.execute(
            sa.select(t.tenant.c.name, t.label.c.name)
            .join(t.taxonomy, t.taxonomy.c.tenant_id == t.tenant.c.id)
            .join(
                t.label,
                sa.and_(t.label.c.tenant_id == t.tenant.c.id, t.label.c.guid == t.taxonomy.c.default_label),
            )
        ).all()
    )
    for source in sources:
        name = f"source {source.tenant}/{source.name}"
        if is_stale(source.acl_as_of, source.max_acl_age, opened.clock.now()):
            never = source.acl_as_of <= 0
            since, way = ("were never confirmed", "run") if never else ("are too old", "permissions")
            yield f"{name}: its permissions {since}, so its documents are withheld: `secure-rag ingest {way}`"
        if source.states.get("quarantined"):
            yield f"{name}: {documents(source.states['quarantined'])} in quarantine: `secure-rag quarantine list`"
        if source.default_label_documents:
            label = taxonomies.get(source.tenant, "the default")
            yield (
                f"{name}: {documents(source.default_label_documents)} labelled {label}, the label of what has"
                " none; `default_label` in its source.yaml gives another"
            )
        yield from _last_runs(connection, source, name)


def _last_runs(connection: sa.Connection, source: SourceHealth, name: str) -> Iterator[str]:
    """The last run of content, and the last one of permissions that came after it."""
    r, s = t.run.c, t.source.c
    registered = connection.execute(
        sa.select(s.id, s.manifest)
        .join(t.tenant, t.tenant.c.id == s.tenant_id)
        .where(t.tenant.c.name == source.tenant, s.name == source.name)
    ).one()
    try:
        load_manifest(Path(registered.manifest))
    except SecureRagError as error:
        yield f"{name}: {error}"
    content, permissions = (
        connection.execute(
            sa.select(r.id, r.public_id, r.status, r.detail)
            .where(r.source_id == registered.id, (r.kind == RunKind.CONTENT.value) == of_content)
            .order_by(r.id.desc())
            .limit(1)
        ).one_or_none()
        for of_content in (True, False)
    )
    if content is None:
        yield f"{name}: never run: `secure-rag ingest run`"
    else:
        yield from _run(connection, name, "its last run", content)
    if permissions is not None and (content is None or permissions.id > content.id):
        yield from _run(connection, name, "its last run of permissions", permissions)


def _run(connection: sa.Connection, name: str, what: str, run: sa.Row[*tuple[Any, ...]]) -> Iterator[str]:
    i, d = t.run_item.c, t.document.c
    if run.status not in (RunStatus.COMPLETED, RunStatus.RUNNING):
        yield f"{name}: {what} {run.public_id} was {run.status}: {run.detail}"
    # A later run of the other kind may have brought some of them back.
    withheld = sa.or_(i.document_id.is_(None), d.state == int(DocumentState.WITHHELD))
    failed: dict[str, int] = dict(
        connection.execute(
            sa.select(i.reason, sa.func.count())
            .outerjoin(t.document, d.id == i.document_id)
            .where(i.run_id == run.id, i.outcome == Outcome.FAILED.value, withheld)
            .group_by(i.reason)
        ).all()
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items()))
    if failed:
        total = documents(sum(failed.values()))
        yield (
            f"{name}: {total} failed in {what} and are withheld ({reasons}):"
            f" `secure-rag runs show {run.public_id} --outcome failed`"
        )


def _names(connection: sa.Connection) -> Iterator[str]:
    unresolved = health.unresolved_names(connection)
    for x in unresolved[:_SHOWN]:
        effect = "grants nothing" if x.effect == "allow" else "closes the lock for everybody"
        yield (
            f"source {x.tenant}/{x.source}: {json.dumps(x.name, ensure_ascii=False)} is not mapped; in the"
            f" {x.effect} list of {documents(x.documents)} it {effect}"
        )
    if len(unresolved) > _SHOWN:
        yield f"and {len(unresolved) - _SHOWN} more names that are not mapped"


def documents(count: int) -> str:
    """A number of documents, for people."""
    return f"{count} document{'' if count == 1 else 's'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
