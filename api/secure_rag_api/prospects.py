"""The world after a change: permissions of every document that it concerns, and what that does to everybody.

The same computation makes a plan and applies it, the latter under the write lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database import tables as t
from secure_rag.database.documents import StoredDocument
from secure_rag.database.views import ReadView
from secure_rag.errors import ConfigError, IngestionError, NotFoundError
from secure_rag.model.ids import DocumentKey, Micros, PrincipalId, PrincipalKey, SourceKey, TenantKey
from secure_rag.model.labels import Label, Taxonomy
from secure_rag.model.locks import NOT_INTERNED, AclClass
from secure_rag_acl.effect import Effect, Guarded, effect
from secure_rag_acl.known_names import read_known_names
from secure_rag_acl.labels import LabelsFile, loosened_by_labels, parse_labels
from secure_rag_acl.policy_files import LABELS, Bundle, mapping_scope, source_of, source_scope
from secure_rag_acl.population import Population, read_population
from secure_rag_api.change_control import (
    InForce,
    default_label,
    in_force,
    loosened,
    loosened_since_run,
    open_mapper,
    version_text,
    with_guarded,
)
from secure_rag_ingestion.retagging import Retagged, retag
from secure_rag_ingestion.sources import RegisteredSource, SourceManifest, load_manifest
from secure_rag_ingestion.tagging.tagger import Tagger


@dataclass(frozen=True, slots=True)
class Change:
    """What would be in force: a file of a scope, and which version of it this would be."""

    scope: str
    bundle: Bundle
    version: int


@dataclass(frozen=True, slots=True)
class AfterSource:
    """One source afterwards."""

    source: RegisteredSource
    tagger: Tagger
    tagged: list[Retagged]
    confirmed_at: Micros


@dataclass(frozen=True, slots=True)
class Prospect:
    """All that a change comes to.

    Attributes:
        effect: who gains and who loses what.
        population: everybody that it was computed for.
        taxonomy: afterwards.
        sources: with the permissions of their documents.
        documents: with their classes on both sides.
        unknown: names on lists that the database does not have yet.
        loosened: what else it lets happen.
        left: sources that are left as they are, and why.
        labels: the taxonomy's file, when that is what changes.
    """

    effect: Effect
    population: Population
    taxonomy: Taxonomy
    sources: list[AfterSource]
    documents: list[Guarded]
    unknown: frozenset[PrincipalId]
    loosened: tuple[str, ...]
    left: tuple[str, ...]
    labels: LabelsFile | None


def prospect(
    connection: sa.Connection, tenant: TenantKey, tenant_name: str, change: Change, now: Micros
) -> Prospect:
    """Compute the world after a change.

    Args:
        connection: a snapshot, or the write transaction that will make it true.
        tenant: whose.
        tenant_name: its name, which the files must have.
        change: what changes.
        now: an instant before anything is read; permissions count as confirmed then.

    Raises:
        ConfigError: a file is wrong, or does not fit.
        NotFoundError: there is no such source.
        IngestionError: the source cannot be opened.
    """
    return _Computing(connection, tenant, tenant_name, change, now).prospect()


@dataclass
class _Computing:
    connection: sa.Connection
    tenant: TenantKey
    tenant_name: str
    change: Change
    now: Micros
    said: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])

    def prospect(self) -> Prospect:
        view = ReadView(self.connection, self.now)
        before = after = view.taxonomy(self.tenant)
        labels = None
        if self.change.scope == LABELS:
            labels = parse_labels(self.change.bundle.text.encode("utf-8"), "labels")
            after = self._taxonomy(labels, before)
            self.said += loosened_by_labels(self.connection, self.tenant, labels)
        sources = [x for x in (self._source(row, after) for row in self._registered()) if x is not None]
        documents, unknown = self._documents(view, sources, labels is not None)
        population = read_population(self.connection, self.tenant, self.now, unknown)
        return Prospect(
            effect(documents, population, before, after, self.now),
            population,
            after,
            sources,
            documents,
            frozenset(unknown),
            tuple(self.said),
            tuple(self.left),
            labels,
        )

    # ---- what would be in force

    def _taxonomy(self, document: LabelsFile, before: Taxonomy) -> Taxonomy:
        if document.tenant != self.tenant_name:
            raise document.error(
                ("tenant",), f"these are the labels of another tenant than {self.tenant_name!r}"
            )
        return Taxonomy.of(
            [Label(x.id, x.name, x.priority, x.parent) for x in document.labels],
            document.label_of("default").id,
            document.label_of("external_mix_threshold").id,
            before.version + 1,
        )

    def _registered(self) -> list[tuple[SourceKey, Path]]:
        """Sources that the change is about."""
        s = t.source.c
        chosen = sa.select(s.id, s.manifest).where(s.tenant_id == self.tenant).order_by(s.id)
        one = source_of(self.change.scope)
        if one is not None:
            chosen = chosen.where(s.name == one)
        rows = self.connection.execute(chosen).all()
        if one is not None and not rows:
            raise NotFoundError(f"there is no source {one!r}; `secure-rag ingest run` registers one")
        return [(SourceKey(key), Path(manifest)) for key, manifest in rows]

    def _source(self, row: tuple[SourceKey, Path], after: Taxonomy) -> AfterSource | None:
        """A source afterwards. A change of labels leaves alone what cannot be read: its next run withholds it."""
        key, path = row
        try:
            decided = self._decided(load_manifest(path))
            manifest = decided.manifest
            source = RegisteredSource(self.tenant, key, manifest, default_label(manifest, after))
            tagger = Tagger(source, after)
            known = read_known_names(self.connection, self.tenant, self.now)
            mapper, live = open_mapper(manifest, decided.mapping, known)
            tagged = retag(source, stored_guarded(self.connection, key), tagger, mapper, live)
        except (ConfigError, IngestionError) as error:
            if self.change.scope != LABELS:
                raise
            self.left.append(f"{path}: the permissions of this source stay as they are: {error}")
            return None
        exported = mapper.confirmed_at
        confirmed = self.now if exported is None else min(self.now, exported)
        return AfterSource(source, tagger, tagged, confirmed)

    def _decided(self, manifest: SourceManifest) -> InForce:
        decided, change = in_force(self.connection, self.tenant, manifest), self.change
        if change.scope == mapping_scope(manifest.id):
            self.said += loosened_since_run(self.connection, self.tenant, decided.manifest)
            return replace(decided, mapping=version_text(change.bundle, manifest, change.version))
        self.said += loosened_since_run(self.connection, self.tenant, decided.manifest)
        if change.scope == source_scope(manifest.id):
            planned = with_guarded(decided.manifest, change.bundle)
            self.said += loosened(decided.manifest, planned)
            return replace(decided, manifest=planned)
        return decided

    # ---- documents on both sides

    def _documents(
        self, view: ReadView, sources: list[AfterSource], every: bool
    ) -> tuple[list[Guarded], dict[PrincipalId, PrincipalKey]]:
        """Documents with both classes, and names that the database does not have, with keys that no row has."""
        named = {name for x in sources for y in x.tagged if y.tag is not None for name in y.tag.principals}
        keys, unknown = principal_keys(self.connection, self.tenant, named)
        before = self._classes(view, sources, every)
        found = [x for source in sources for x in _guarded(source, before, keys)]
        if every:
            done = {x.key for x in found}
            found += [x for x in self._others(before) if x.key not in done]
        return found, unknown

    def _classes(self, view: ReadView, sources: list[AfterSource], every: bool) -> dict[int, AclClass]:
        wanted = {y.stored.class_key for x in sources for y in x.tagged if y.stored.class_key is not None}
        if every:
            d = t.document.c
            rows = self.connection.execute(
                sa.select(d.class_id).where(d.tenant_id == self.tenant, d.class_id.is_not(None)).distinct()
            )
            wanted.update(rows.scalars())
        return {key: replace(cls, key=NOT_INTERNED) for key, cls in view.classes(self.tenant, wanted).items()}

    def _others(self, before: Mapping[int, AclClass]) -> Iterator[Guarded]:
        """Documents of sources that stay as they are: another order of labels changes what they demand, too."""
        d, s = t.document.c, t.source.c
        rows = self.connection.execute(
            sa.select(d.id, s.name, d.native_id, d.class_id)
            .join(t.source, s.id == d.source_id)
            .where(
                d.tenant_id == self.tenant,
                d.class_id.is_not(None),
                d.state != int(t.DocumentState.DELETED),
            )
        )
        for row in rows.all():
            cls = before[row.class_id]
            yield Guarded(DocumentKey(row.id), row.name, row.native_id, cls, cls)


def principal_keys(
    connection: sa.Connection, tenant: TenantKey, named: Iterable[PrincipalId]
) -> tuple[dict[PrincipalId, PrincipalKey], dict[PrincipalId, PrincipalKey]]:
    """Keys of all principals, and of the named ones that the database does not have: keys that no row has."""
    p = t.principal.c
    rows = connection.execute(sa.select(p.name, p.id).where(p.tenant_id == tenant)).all()
    keys = {PrincipalId(name): PrincipalKey(key) for name, key in rows}
    missing = sorted(set(named) - keys.keys())
    unknown = {name: PrincipalKey(-n) for n, name in enumerate(missing, 1)}
    return keys | unknown, unknown


def stored_guarded(connection: sa.Connection, source: SourceKey) -> dict[str, StoredDocument]:
    """Documents of a source that a class guards, by native id."""
    found = db.stored_documents(connection, source)
    return {name: x for name, x in found.items() if x.class_key is not None}


def _guarded(
    after: AfterSource, before: Mapping[int, AclClass], keys: Mapping[PrincipalId, PrincipalKey]
) -> Iterator[Guarded]:
    known: dict[bytes, AclClass] = {}
    for x in after.tagged:
        cls = None
        if x.tag is not None:
            if x.tag.digest not in known:
                known[x.tag.digest] = after.tagger.acl_class(x.tag, keys)
            cls = known[x.tag.digest]
        old = None if x.stored.class_key is None else before[x.stored.class_key]
        yield Guarded(x.stored.key, after.source.manifest.id, x.stored.native_id, old, cls)
