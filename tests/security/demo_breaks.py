"""Ways to switch off one control of the product each, by replacing functions in this process.

Both decision paths are broken together: with `by_authority` the compiled scope is whatever the (broken) authority
allows, one class at a time, so that no other control is switched off by accident.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import pytest
import sqlalchemy as sa

from secure_rag.database import statements as q
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.subjects import PrincipalRow, SubjectReader
from secure_rag.database.views import ReadView, Views
from secure_rag.detection import NearDuplicates, QueryEcho
from secure_rag.detection.trust_mixing import ContextSide, MixResult, split
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.ids import (
    EVERYONE,
    NEVER,
    ClassKey,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.permissions import MappedLock, MappedPermissions
from secure_rag.model.subject import CallerIdentity, Hop, Subject
from secure_rag.ports import AccessScope, CompiledScope, Hit
from secure_rag.retrieval import candidates
from secure_rag.retrieval.conversation import Conversation, Conversations
from secure_rag.stores import embedded
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag_acl import directory_links, functions, mappings
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.mappings import FilePermissionMapper, parse_mapping
from secure_rag_acl.principals import PrincipalMapping
from secure_rag_acl.tenancy import Window
from secure_rag_api import change_control
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.wiring import Installation
from secure_rag_ingestion.tagging.tagger import Tagger

if TYPE_CHECKING:
    from secure_rag.ports import Vector

Breaks = Callable[[pytest.MonkeyPatch, Installation], None]


# ---- tools


def by_authority(patch: pytest.MonkeyPatch) -> None:
    """Compile by asking the authority about every class."""

    def compile_(engine: CasbinEngine, view: ReadView, subject: Subject, action: str) -> CompiledScope:
        classes = view.classes_after(subject.tenant, ClassKey(0))
        allowed = [x.key for x in classes if engine.decide(subject, action, x, view.now).allowed]
        return CompiledScope(np.array(allowed, np.int64), NEVER)

    patch.setattr(CasbinEngine, "compile", compile_)


def lock_function(name: str, broken: Callable[..., bool]) -> Breaks:
    """A function that the named ones call: Casbin's and the reasons' see the same."""

    def breaks(patch: pytest.MonkeyPatch, _: Installation) -> None:
        by_authority(patch)
        patch.setattr(functions, name, broken)

    return breaks


def named_function(name: str, broken: Callable[..., bool]) -> Breaks:
    """A function that the policy model calls by name."""

    def breaks(patch: pytest.MonkeyPatch, opened: Installation) -> None:
        by_authority(patch)
        enforcer = opened.policy._enforcer
        enforcer.add_function(name, broken)
        # The evaluator of this thread was made with the old ones, by the self-test.
        patch.setattr(enforcer, "_evaluators", threading.local())

    return breaks


def hops(permitted: Callable[[Sequence[Hop], Callable[[Hop], bool]], bool]) -> Breaks:
    """Another rule about which hops must permit."""

    def hops_allow(subject: Subject, action: str, cls: AclClass, now: Micros) -> bool:
        return permitted(subject.hops, lambda hop: functions.hop_allows(hop, subject, action, cls, now))

    return named_function("hops_allow", hops_allow)


def hop(without: str) -> Breaks:
    """One demand on hops less."""
    real = functions.hop_allows

    def hop_allows(one: Hop, subject: Subject, action: str, cls: AclClass, now: Micros) -> bool:
        granted = {
            "purpose": replace(one, purposes=one.purposes | {subject.purpose}),
            "source": replace(one, sources=one.sources | {cls.source}),
            "compartments": replace(one, compartments=one.compartments | cls.compartments),
            "label": replace(one, ceilings=(cls.label,)),
        }[without]
        return real(granted, subject, action, cls, now)

    return lock_function("hop_allows", hop_allows)


def subjects(change: Callable[[ReadView, Subject], Subject]) -> Breaks:
    """Subjects with more than they have."""

    def breaks(patch: pytest.MonkeyPatch, _: Installation) -> None:
        real = SubjectReader.subject

        def subject(view: ReadView, tenant: TenantKey, identity: CallerIdentity, purpose: str) -> Subject:
            return change(view, real(view, tenant, identity, purpose))

        patch.setattr(SubjectReader, "subject", subject)

    return breaks


def reader(name: str, broken: Callable[..., object]) -> Breaks:
    """A read of subject state."""

    def breaks(patch: pytest.MonkeyPatch, _: Installation) -> None:
        patch.setattr(SubjectReader, name, broken)

    return breaks


def at_ingest(change: Callable[[pytest.MonkeyPatch], None], *sources: str) -> Breaks:
    """Something of ingest: the sources are run again with it."""

    def breaks(patch: pytest.MonkeyPatch, opened: Installation) -> None:
        change(patch)
        for manifest in find_manifests(opened, []):
            if manifest.parent.name in sources and "acme" in manifest.parts:
                report = ingest_source(opened, manifest, "user:quinn.abara", lambda *_: None)
                assert "failed" not in report.outcomes

    return breaks


def detector(kind: type[object], *documents: str) -> Breaks:
    """A detector that finds nothing when these documents come again."""

    def breaks(patch: pytest.MonkeyPatch, opened: Installation) -> None:
        patch.setattr(kind, "inspect", lambda *_: ())
        d, sources = t.document.c, {x.split("/", 1)[0] for x in documents}
        with write(opened.engine) as connection:
            paths = [x.split("/", 1)[1] for x in documents]
            connection.execute(sa.update(t.document).where(d.native_id.in_(paths)).values(pipeline_id=""))
        at_ingest(lambda _: None, *sources)(patch, opened)

    return breaks


# ---- locks


def any_lock(row: str, subject: Subject, cls: AclClass, now: Micros) -> bool:
    if row == functions.OPEN:
        return any(functions.lock_opens(lock, subject, now) for lock in cls.locks)
    return functions.on_locks(row, subject, cls, now)


def denied_without_hops(lock: Lock, subject: Subject) -> bool:
    return functions.lock_unresolved(lock, subject) or not lock.deny.isdisjoint(subject.closure)


def opens_without_end(lock: Lock, subject: Subject, _: Micros) -> bool:
    return not functions.lock_denied(lock, subject) and any(p in subject.closure for p, _end in lock.allow)


# ---- subjects


def with_everyone(_: ReadView, subject: Subject) -> Subject:
    return replace(subject, closure=subject.closure | {subject.everyone}) if subject.closure else subject


def groups(
    view: SubjectReader, tenant: TenantKey, who: PrincipalKey, *, depth: int, ended: bool
) -> set[PrincipalKey]:
    """The closure, level by level."""
    m = t.membership.c
    found, level = {who}, {who}
    for _ in range(depth):
        statement = sa.select(m.group_id).where(m.tenant_id == tenant, m.member_id.in_(level))
        if not ended:
            statement = statement.where(m.valid_from <= view._now, view._now < m.valid_to)
        level = {PrincipalKey(x) for x in view._connection.execute(statement).scalars()} - found
        found |= level
    return found


def closure(depth: int = 9, *, ended: bool = False) -> Breaks:
    return reader(
        "closure",
        lambda view, tenant, who: frozenset(groups(view, tenant, who, depth=depth, ended=ended)),
    )


def ends_not_imported(patch: pytest.MonkeyPatch, opened: Installation) -> None:
    """The directory is imported again, as if nobody ever left a group."""
    patch.setattr(directory_links, "Window", lambda start, _end: Window(start))
    document = load_directory(find_manifests(opened, [])[0].parents[2] / "directory.yaml")
    assert document.tenant == "acme"
    import_directory(opened.engine, document, actor="user:quinn.abara", now=opened.clock.now())


def never_ending_grants(patch: pytest.MonkeyPatch, _: Installation) -> None:
    g = t.grant.c
    of_principal = sa.select(
        g.actions, g.label, g.compartments, g.sources, g.purposes, sa.literal(int(NEVER)).label("valid_to")
    ).where(g.tenant_id == sa.bindparam("tenant"), g.principal_id == sa.bindparam("who"))
    patch.setattr(q, "GRANT", of_principal.order_by(g.id.desc()).limit(1))


_clearance: Final = SubjectReader._clearance


def highest_clearance(view: SubjectReader, *of: Any) -> LabelId | None:
    found = _clearance(view, *of)
    top = sa.select(t.label.c.guid).order_by(t.label.c.priority.desc())
    return found or LabelId(str(view._connection.execute(top).scalars().first()))


def default_account(patch: pytest.MonkeyPatch, _: Installation) -> None:
    real = SubjectReader.principal

    def principal(view: SubjectReader, tenant: TenantKey, name: str) -> PrincipalRow | None:
        found = real(view, tenant, name)
        return real(view, tenant, "user:ada.marsh") if found is None and name.startswith("user:") else found

    patch.setattr(SubjectReader, "principal", principal)


def one_view_for_all(patch: pytest.MonkeyPatch, opened: Installation) -> None:
    """Nothing is ever read anew: the first view serves every query of a scenario."""
    real, kept = Views.open, list[ReadView]()

    @contextmanager
    def open_(views: Views) -> Generator[ReadView]:
        if not kept:
            manager = real(views)
            kept.append(manager.__enter__())
            opened.closing.callback(manager.__exit__, None, None, None)
        yield kept[0]

    patch.setattr(Views, "open", open_)


# ---- tenants


def tenants_off(patch: pytest.MonkeyPatch, opened: Installation) -> None:
    """Every wall between tenants at once: each of them alone stops what would pass the others."""
    by_authority(patch)
    a = t.acl_class.c
    patch.setattr(q, "CLASSES_AFTER", sa.select(t.acl_class).where(a.id > sa.bindparam("key")).order_by(a.id))
    keys: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)
    patch.setattr(q, "CLASSES_BY_KEY", sa.select(t.acl_class).where(a.id.in_(keys)))
    patch.setattr(q, "of_tenant", lambda _: sa.true())
    patch.setattr(q, "CHUNK_ROWS", q._chunk_rows())
    named_function("same_tenant", lambda *_: True)(patch, opened)

    def in_all(view: ReadView, subject: Subject) -> Subject:
        p = t.principal.c
        everyone = view._connection.execute(sa.select(p.id).where(p.name == EVERYONE)).scalars()
        sources = frozenset(
            SourceKey(x) for x in view._connection.execute(sa.select(t.source.c.id)).scalars()
        )
        closure = subject.closure | {PrincipalKey(x) for x in everyone}
        return replace(
            subject, closure=closure, hops=tuple(replace(x, sources=sources) for x in subject.hops)
        )

    subjects(in_all)(patch, opened)
    search = EmbeddedStore.search

    def everywhere(store: EmbeddedStore, scope: AccessScope, vector: Vector, k: int) -> list[Hit]:
        tenants = [TenantKey(x) for x in store._follower.snapshot.spaces]
        found = [hit for tenant in tenants for hit in search(store, replace(scope, tenant=tenant), vector, k)]
        return sorted(found, key=lambda x: (-x.score, x.chunk))[:k]

    patch.setattr(embedded.EmbeddedStore, "search", everywhere)


# ---- mappings


def everyone_if_unmapped(patch: pytest.MonkeyPatch) -> None:
    real = PrincipalMapping.resolve
    patch.setattr(PrincipalMapping, "resolve", lambda names, entry: real(names, entry) or EVERYONE)


def drop_unmapped_deny(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mappings, "MappedLock", lambda allow, deny, _closed: MappedLock(allow, deny, False))


def mapped(
    change: Callable[[FilePermissionMapper, str, bytes | None, str | None], MappedPermissions],
) -> Any:
    return lambda patch: patch.setattr(FilePermissionMapper, "map", change)


_map: Final = FilePermissionMapper.map


def first_rule(
    mapper: FilePermissionMapper, path: str, sidecar: bytes | None, name: str | None
) -> MappedPermissions:
    return _map(replace(mapper, rules=tuple(reversed(mapper.rules))), path, sidecar, name)


def no_sidecar(
    mapper: FilePermissionMapper, path: str, _: bytes | None, name: str | None
) -> MappedPermissions:
    return _map(mapper, path, None, name)


def sidecars(*, authoritative: bool) -> Callable[[pytest.MonkeyPatch], None]:
    def parse(data: bytes, name: str, source: str, **named: Any) -> FilePermissionMapper:
        named["authoritative_sidecars"] = authoritative
        return parse_mapping(data, name, source, **named)

    return lambda patch: patch.setattr(change_control, "parse_mapping", parse)


def open_without_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mappings, "NOBODY", MappedLock(((PrincipalId(EVERYONE), NEVER),)))


def lowest_default(patch: pytest.MonkeyPatch) -> None:
    real = Tagger.__init__

    def init(tagger: Tagger, source: Any, taxonomy: Taxonomy) -> None:
        lowest = min(taxonomy.labels.values(), key=lambda x: x.priority)
        real(tagger, source, replace(taxonomy, default=lowest.id))

    patch.setattr(Tagger, "__init__", init)


# ---- what was planted


def mixed(patch: pytest.MonkeyPatch, _: Installation) -> None:
    def together(rows: Sequence[ChunkRow], taxonomy: Taxonomy, context: ContextSide | None) -> MixResult:
        if context is not None:
            return split(rows, taxonomy, context)
        return MixResult(tuple(rows), (), (), split(rows, taxonomy, None).side)

    patch.setattr(candidates, "split", together)


def contexts_forgotten(patch: pytest.MonkeyPatch, _: Installation) -> None:
    patch.setattr(Conversations, "enter", lambda *_: Conversation(None, None))


def none_collapsed(patch: pytest.MonkeyPatch, _: Installation) -> None:
    patch.setattr(NearDuplicates, "collapse", lambda *_: cast("Mapping[Any, Any]", {}))


def no_echo(patch: pytest.MonkeyPatch, _: Installation) -> None:
    patch.setattr(QueryEcho, "inspect", lambda *_: cast("Mapping[Any, Any]", {}))
