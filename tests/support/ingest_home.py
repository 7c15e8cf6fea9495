"""A small company with folders as sources, for tests of real ingest runs over real files."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.locks import Lock
from secure_rag.model.subject import CallerIdentity
from secure_rag.ports import Clock, Embedder
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.why import why_withheld
from secure_rag.stores.embedded import EmbeddedStore
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.labels import import_labels, parse_labels
from secure_rag_api.ingesting import ingest_source
from secure_rag_api.wiring import Installation, create_installation, open_installation
from secure_rag_ingestion.pipeline import RunReport
from secure_rag_ingestion.runs import RunItem

DIMENSIONS = 64
NAMES = ("Public", "Internal", "Confidential", "Restricted")
LABELS = {
    "tenant": "acme",
    "labels": [
        {"id": f"0000000{n}-0000-4000-8000-000000000000", "name": name, "priority": n}
        for n, name in enumerate(NAMES)
    ],
    "compartments": ["heron"],
    "default": "Restricted",
    "external_mix_threshold": "Confidential",
}
_GRANT = {
    "actions": ["read"],
    "label": "Restricted",
    "compartments": ["heron"],
    "sources": ["*"],
    "purposes": ["qa"],
    "expires": "2999-01-01",
}
DIRECTORY = {
    "tenant": "acme",
    "complete": True,
    "users": [
        {"id": "user:ann", "kind": "member", "clearance": "Confidential"},
        {"id": "user:ben", "kind": "member", "clearance": "Confidential"},
        {"id": "user:cleo", "kind": "member", "clearance": "Restricted", "compartments": ["heron"]},
        {"id": "user:dora", "kind": "member", "clearance": "Internal"},
        {"id": "user:gus", "kind": "guest", "clearance": "Internal"},
    ],
    "groups": [
        {"id": "group:staff", "members": ["user:ann", "user:cleo", "user:dora"]},
        {"id": "group:contractors", "members": ["user:ben"]},
    ],
    "applications": [{"id": "app:chat", "grant": _GRANT}],
    "agents": [],
}
STAFF = [{"path": "**", "allow": ["group:staff"], "label": "Internal"}]
STATES = {x.value: x.name.lower() for x in DocumentState}


@dataclass
class Source:
    """A folder of documents with the data owner's files beside it."""

    base: Path
    name: str
    tenant: str = "acme"
    rules: list[dict[str, Any]] = field(default_factory=lambda: list(STAFF))
    principals: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def folder(self) -> Path:
        return self.base / "documents" / self.name

    @property
    def manifest(self) -> Path:
        return self.base / "sources" / self.name / "source.yaml"

    def write(self, path: str, content: str | bytes) -> Path:
        """Write one document (or sidecar), as an editor does."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        target.write_bytes(data)
        return target

    def sidecar(self, path: str, **content: object) -> Path:
        return self.write(f"{path}.acl.yaml", yaml.safe_dump(content))

    def save(self) -> Path:
        """Write manifest and mapping as they are now."""
        self.manifest.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "id": self.name,
            "tenant": self.tenant,
            "kind": "filesystem",
            "root": str(self.folder),
            "mapping": "mapping.yaml",
            "trust": "internal",
            "max_acl_age": "30d",
            **self.settings,
        }
        mapping = {"source": self.name, "principals": self.principals, "rules": self.rules}
        self.manifest.write_text(yaml.safe_dump(manifest), encoding="utf-8")
        (self.manifest.parent / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
        return self.manifest


@dataclass
class Ran:
    """A run with its items by native id."""

    report: RunReport
    items: dict[str, RunItem]

    def outcome(self, path: str) -> tuple[str, str]:
        item = self.items[path]
        return item.outcome.value, item.reason


@dataclass
class World:
    """An opened home with its sources."""

    base: Path
    opened: Installation

    @property
    def root(self) -> Path:
        return self.opened.home.root

    def run(self, source: Source) -> Ran:
        """Run a source as its files are now."""
        source.save()
        return ingest(self.opened, source.manifest)

    def ask(self, who: str, query: str, k: int = 20) -> set[str]:
        """Documents (`source/native id`) that an answer holds."""
        store = self.opened.store
        assert isinstance(store, EmbeddedStore)
        store.refresh()
        return ask(self.opened, who, query, k)

    def why(self, who: str, path: str) -> str:
        """What an auditor reads about one document and one person."""
        source, _, native_id = path.partition("/")
        with self.opened.views.open() as view:
            tenant = view.tenant_key("acme")
            assert tenant is not None
            subject = view.subject(tenant, caller(who), "qa")
            return why_withheld(view, self.opened.policy, subject, source, native_id).value

    def state(self, path: str) -> str | None:
        """State of one document."""
        return states(self.opened).get(path)


@contextmanager
def company(
    base: Path,
    *,
    clock: Clock | None = None,
    embedder: Embedder | None = None,
    tenants: Iterable[str] = ("acme",),
) -> Generator[World]:
    """A fresh home below `base` with labels and directory, opened."""
    create_company(base, tenants, clock)
    with opened(base, clock=clock, embedder=embedder) as world:
        yield world


def create_company(base: Path, tenants: Iterable[str] = ("acme",), clock: Clock | None = None) -> None:
    """The same, closed."""
    operators = {"root": "user:operator"}
    settings = {"profile": "development", "tenant": "acme", "operators": operators}
    create_installation(base / "home", yaml.safe_dump(settings))
    with open_installation(base / "home", clock=clock) as fresh:
        for tenant in tenants:
            import_company(fresh, tenant)


def import_company(fresh: Installation, tenant: str = "acme") -> None:
    """Labels and directory of a tenant."""
    labels, directory = LABELS | {"tenant": tenant}, DIRECTORY | {"tenant": tenant}
    now = fresh.clock.now()
    import_labels(
        fresh.engine,
        parse_labels(yaml.safe_dump(labels).encode(), "labels.yaml"),
        actor="user:operator",
        now=now,
    )
    parsed = parse_directory(yaml.safe_dump(directory).encode(), "directory.yaml")
    import_directory(fresh.engine, parsed, actor="user:operator", now=now)


@contextmanager
def opened(base: Path, *, clock: Clock | None = None, embedder: Embedder | None = None) -> Generator[World]:
    """The home below `base`, opened like another process does."""
    with open_installation(
        base / "home", clock=clock, embedder=embedder or HashingEmbedder(DIMENSIONS)
    ) as found:
        yield World(base, found)


def ingest(installation: Installation, manifest: Path) -> Ran:
    """Run one source."""
    items: list[RunItem] = []
    report = ingest_source(installation, manifest, "user:operator", lambda item, _: items.append(item))
    return Ran(report, {item.native_id: item for item in items})


def caller(who: str) -> CallerIdentity:
    return CallerIdentity("acme", PrincipalId("app:chat"), PrincipalId(who))


def ask(installation: Installation, who: str, query: str, k: int = 20) -> set[str]:
    """Documents (`source/native id`) that an answer holds."""
    answer = installation.retrieval.retrieve(caller(who), RetrievalRequest(query=query, k=k))
    with installation.reader.connect() as connection:
        d, s = t.document.c, t.source.c
        rows = connection.execute(
            sa.select(d.public_id, s.name, d.native_id).join(t.source, s.id == d.source_id)
        ).all()
    path = {row.public_id: f"{row.name}/{row.native_id}" for row in rows}
    return {path[result.document_id] for result in answer.results}


def states(installation: Installation) -> dict[str, str]:
    """State by `source/native id`."""
    d, s = t.document.c, t.source.c
    with installation.reader.connect() as connection:
        rows = connection.execute(
            sa.select(s.name, d.native_id, d.state).join(t.source, s.id == d.source_id)
        ).all()
    return {f"{row.name}/{row.native_id}": STATES[row.state] for row in rows}


def index(installation: Installation) -> dict[str, dict[str, object]]:
    """Everything that the index holds, by content and not by key: two equal indexes compare equal."""
    with installation.reader.connect() as connection:
        names: dict[int, str] = dict(
            connection.execute(sa.select(t.principal.c.id, t.principal.c.name)).all()
        )
        rows = connection.execute(
            sa.select(t.document, t.source.c.name.label("source"), t.tenant.c.name.label("tenant"))
            .join(t.source, t.source.c.id == t.document.c.source_id)
            .join(t.tenant, t.tenant.c.id == t.document.c.tenant_id)
        ).all()
        return {
            f"{row.tenant}/{row.source}/{row.native_id}": {
                "state": STATES[row.state],
                "head": (row.title, row.mime, row.contributor, row.content_sha256, row.pipeline_id),
                "public_id": row.public_id,
                "version": row.version,
                "class": _class(connection, row.class_id, names),
                "permissions": (row.permission_digest, row.origins, row.unresolved),
                "chunks": _rows(connection, t.chunk, row.id, ("ord", "start", "end", "headings", "text")),
                "vectors": _rows(connection, t.document_vectors, row.id, ("vectors",)),
                "findings": _rows(
                    connection, t.finding, row.id, ("detector", "verdict", "score", "evidence", "rule")
                ),
            }
            for row in rows
            if row.state != int(DocumentState.DELETED)
        }


def _rows(
    connection: sa.Connection, table: sa.Table, key: int, columns: Iterable[str]
) -> list[tuple[object, ...]]:
    wanted = [table.c[x] for x in columns]
    found = connection.execute(sa.select(*wanted).where(table.c.document_id == key).order_by(*wanted)).all()
    return [tuple(row) for row in found]


def _class(connection: sa.Connection, key: int, names: dict[int, str]) -> object:
    c = t.acl_class.c
    row = connection.execute(sa.select(t.acl_class).where(c.id == key)).one()
    bodies = connection.execute(
        sa.select(t.acl_lock.c.body).where(t.acl_lock.c.id.in_(json.loads(row.locks)))
    ).scalars()
    locks = [Lock.from_body(body) for body in bodies]
    opened_by = sorted(
        (
            sorted((names[who], int(until)) for who, until in lock.allow),
            sorted(names[who] for who in lock.deny),
            lock.unresolved_deny,
        )
        for lock in locks
    )
    return opened_by, row.label, row.compartments, row.trust, row.source_id


def files_holding(root: Path, *needles: bytes) -> dict[str, list[bytes]]:
    """Which files below a folder hold which byte strings; names of files by path."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            hits = [needle for needle in needles if needle in data]
            if hits:
                found[str(path.relative_to(root))] = hits
    return found


def vectors_of(installation: Installation, native_id: str) -> bytes:
    """The stored vectors of one document."""
    d, v = t.document.c, t.document_vectors.c
    with installation.reader.connect() as connection:
        found = connection.execute(
            sa.select(v.vectors).join(t.document, d.id == v.document_id).where(d.native_id == native_id)
        ).scalar_one()
    return bytes(found)


def acl_as_of(installation: Installation, source: str) -> Micros:
    """When the permissions of a source were last confirmed."""
    s = t.source.c
    with installation.reader.connect() as connection:
        return Micros(connection.execute(sa.select(s.acl_as_of).where(s.name == source)).scalar_one())
