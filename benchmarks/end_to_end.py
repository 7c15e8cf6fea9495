"""Measures whole answers on the world of `benchmarks.world`: latency without embedding, layer cost, final check, leaks.

Every answer is compared with a closure and an evaluation of this file's own; `leaks` counts results that they deny.
"""

from __future__ import annotations

import getpass
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from benchmarks.world import BANDS, Query, StoredWorld, World
from secure_rag.audit.signing import create_keys
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.model.ids import NEVER, Micros, PrincipalKey, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.authorize import authorize_chunks
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.retrieval.scope import compile_scope
from secure_rag.testing.index_builder import ENGINE_ID, START, label_of
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.labels import import_labels, load_labels
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.wiring import Installation, create_installation, open_installation

K = 10
QUERIES_PER_BAND = 12
ROUNDS = 5
APP = principal_id("app:bench")
NO_MATTER_WHEN = 0
_OPERATOR = principal_id("user:quinn.abara")


class PreparedEmbedder:
    """Gives the vector of the query that is being measured, so that embedding costs nothing."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.engine_id = ENGINE_ID
        self.vector: NDArray[np.float32] = np.zeros(dimensions, np.float32)

    def embed_document(self, text: str) -> NDArray[np.float32]:
        """Never used here."""
        raise NotImplementedError(text)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """The prepared vector."""
        del text
        return self.vector


class StandingClock:
    """The world's permissions are as of one instant."""

    def now(self) -> Micros:
        """That instant."""
        return Micros(START + 1)


def run(world: World, stored: StoredWorld) -> dict[str, float]:
    """Add people to a stored world, ask, and return the figures. Changes memberships and undoes that."""
    prepare(world, stored)
    home = stored.builder.home
    embedder = PreparedEmbedder(world.dimensions)
    with open_installation(home.root, clock=StandingClock(), embedder=embedder) as opened:
        asked = _Asked(world, stored, opened, embedder)
        figures = _answers(asked) | _final_check(asked) | _revocation(asked)
    return figures


def prepare(world: World, stored: StoredWorld) -> None:
    """Add people, keys and settings to a stored world."""
    _add_people(world, stored)
    home = stored.builder.home
    create_keys(home.keys)
    home.settings.write_text(
        "profile: development\ntenant: acme\nrequests_per_minute: 1000000\n", encoding="utf-8"
    )


@dataclass(frozen=True)
class _Asked:
    world: World
    stored: StoredWorld
    opened: Installation
    embedder: PreparedEmbedder

    def ask(self, query: Query) -> list[str]:
        """Chunk ids of one answer."""
        self.embedder.vector = query.vector
        answer = self.opened.retrieval.retrieve(self.caller(query), RetrievalRequest("bench", k=K))
        return [x.chunk_id for x in answer.results]

    def caller(self, query: Query) -> CallerIdentity:
        """Who asks."""
        return CallerIdentity("acme", APP, principal_id(f"user:u{query.user}"))


def _answers(asked: _Asked) -> dict[str, float]:
    world = asked.world
    leaks = short = 0
    figures: dict[str, float] = {}
    queries = world.queries(QUERIES_PER_BAND)
    for band in BANDS:
        mine = [x for x in queries if x.band == band]
        for query in mine:
            allowed = _allowed_chunks(world, query.user)
            found = [int(x.removeprefix("c_")) - 1 for x in asked.ask(query)]
            leaks += int(np.count_nonzero(~allowed[found])) if found else 0
            short += len(found) < min(K, int(allowed.sum()))
        rounds = [
            statistics.median(_ms(lambda q=query: asked.ask(q)) for query in mine) for _ in range(ROUNDS)
        ]
        figures[f"answer_ms_at_{band}"] = statistics.median(rounds)
    figures["leaks"] = leaks
    figures["short_answers"] = short
    figures["layer_cpu_us"] = _layer_cpu(asked, queries)
    return figures


def _layer_cpu(asked: _Asked, queries: list[Query]) -> float:
    """CPU of whole answers less that of their vector searches, per query."""
    service, store = asked.opened.retrieval, asked.opened.retrieval.store
    searching = 0.0

    class Timed:
        def search(self, scope: object, vector: object, k: int) -> object:
            nonlocal searching
            started = time.thread_time()
            hits = store.search(scope, vector, k)  # type: ignore[arg-type]  # passed through
            searching += time.thread_time() - started
            return hits

        def ready(self) -> bool:
            return store.ready()

    timed = replace(service, store=Timed())  # type: ignore[arg-type]  # same two methods
    costs: list[float] = []
    for _ in range(ROUNDS):
        searching, started = 0.0, time.thread_time()
        for query in queries:
            asked.embedder.vector = query.vector
            timed.retrieve(asked.caller(query), RetrievalRequest("bench", k=K))
        costs.append((time.thread_time() - started - searching) / len(queries) * 1e6)
    return statistics.median(costs)


def _final_check(asked: _Asked) -> dict[str, float]:
    """A fresh view, the subject, Casbin once per distinct class, and the scope once more, for ten chunks."""
    query = next(x for x in asked.world.queries(1) if x.band == BANDS[1])
    asked.embedder.vector = query.vector
    opened, request = asked.opened, RetrievalRequest("bench", k=K)
    with opened.reader.connect() as connection:
        ids = asked.ask(query)
        rows = connection.execute(sa.select(t.chunk.c.id).where(t.chunk.c.public_id.in_(ids))).scalars().all()

    def check() -> None:
        with opened.views.open() as view:
            subject = view.subject(asked.stored.tenant, asked.caller(query), "qa")
            authorize_chunks(view, opened.policy, subject, list(rows))
            compile_scope(view, opened.policy, subject, request)

    return {
        "final_check_ms": statistics.median(_ms(check) for _ in range(50)),
        "final_check_chunks": len(rows),
    }


def _revocation(asked: _Asked) -> dict[str, float]:
    """From the commit of an ended membership to the end of the first answer without it."""
    query = next(x for x in asked.world.queries(1) if x.band == BANDS[2])
    key = asked.world.n_groups + query.user + 1
    by_name = _allowed_chunks(asked.world, query.user, groups=False)
    m = t.membership.c
    times: list[float] = []
    for _ in range(ROUNDS):
        before = asked.ask(query)
        with write(asked.opened.engine) as connection:
            connection.execute(sa.update(t.membership).where(m.member_id == key).values(valid_to=START))
        started = time.perf_counter()
        after = asked.ask(query)
        times.append((time.perf_counter() - started) * 1e3)
        if before == after or not all(by_name[int(x.removeprefix("c_")) - 1] for x in after):
            raise RuntimeError("a revocation had no effect")
        with write(asked.opened.engine) as connection:
            connection.execute(sa.update(t.membership).where(m.member_id == key).values(valid_to=NEVER))
    return {"revocation_to_effect_ms": statistics.median(times)}


def _allowed_chunks(world: World, user: int, *, groups: bool = True) -> NDArray[np.bool_]:
    """Which chunks a user may read, by a closure of this file's own; without `groups`, only by name."""
    reached: set[int] = {world.n_groups + user}
    todo = list(world.user_direct[user]) if groups else []
    while todo:
        group = todo.pop()
        if group >= 0 and group not in reached:
            reached.add(group)
            todo.append(world.parent[group])
    classes = np.array(
        [
            label <= world.clearance[user] and not reached.isdisjoint(principals)
            for label, principals in zip(world.class_label.tolist(), world.class_principals, strict=True)
        ]
    )
    return classes[world.document_class][world.chunk_document]


def _add_people(world: World, stored: StoredWorld) -> None:
    """Principals, memberships and clearances; the world's number n is row n + 1.

    Row 1 is `everyone`, which stands for the company here: people are guests, so that only their links reach it.
    """
    tenant = stored.tenant
    groups = [
        {"id": n + 1, "tenant_id": tenant, "name": f"group:g{n}", "kind": "group", "state": "active"}
        for n in range(1, world.n_groups)
    ]
    people = [
        {
            "id": world.n_groups + n + 1,
            "tenant_id": tenant,
            "name": f"user:u{n}",
            "kind": "guest",
            "state": "active",
        }
        for n in range(world.n_users)
    ]
    nested = [(n, parent) for n, parent in enumerate(world.parent) if parent >= 0 and n > 0]
    direct = [(world.n_groups + n, group) for n, found in enumerate(world.user_direct) for group in found]
    links = [
        {"tenant_id": tenant, "member_id": member + 1, "group_id": group + 1, "valid_from": NO_MATTER_WHEN}
        for member, group in (*nested, *direct)
    ]
    names = ("Public", "General", "Internal", "Confidential", "Restricted")
    clearances = [
        {
            "tenant_id": tenant,
            "principal_id": world.n_groups + n + 1,
            "label": label_of("acme", names[rank]),
            "valid_from": NO_MATTER_WHEN,
        }
        for n, rank in enumerate(world.clearance.tolist())
    ]
    with write(stored.builder.engine) as connection:
        connection.execute(sa.update(t.tenant).values(directory_as_of=START))
        for table, rows in ((t.principal, groups + people), (t.membership, links), (t.clearance, clearances)):
            connection.execute(sa.insert(table), rows)
        app = connection.execute(
            sa.insert(t.principal)
            .values(tenant_id=tenant, name=APP, kind="app", state="active")
            .returning(t.principal.c.id)
        ).scalar_one()
        connection.execute(
            sa.insert(t.grant).values(
                tenant_id=tenant,
                principal_id=PrincipalKey(app),
                actions='["read"]',
                label=label_of("acme", "Restricted"),
                compartments="[]",
                sources='["*"]',
                purposes='["qa"]',
                valid_from=NO_MATTER_WHEN,
            )
        )


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def ingest(directory: Path, examples: Path) -> dict[str, float]:
    """Documents per second of the sample company, and the share of time that is neither parsing nor embedding."""
    company = examples / "acme"
    settings = f"profile: development\ntenant: acme\noperators: {{{getpass.getuser()}: '{_OPERATOR}'}}\n"
    create_installation(directory, settings)
    with open_installation(directory) as opened:
        now = opened.clock.now()
        import_labels(opened.engine, load_labels(company / "labels.yaml"), actor=_OPERATOR, now=now)
        import_directory(opened.engine, load_directory(company / "directory.yaml"), actor=_OPERATOR, now=now)
        opened.embedder.embed_query("warm-up")
        opened.ingest_tools.parser.parse("warm-up.md", b"# warm-up")
        manifests = find_manifests(opened, [company / "sources"])
        reports = [ingest_source(opened, x, _OPERATOR, lambda _item, _total: None) for x in manifests]
    total = sum(report.elapsed_us for report in reports)
    work = sum(report.parse_us + report.embed_us for report in reports)
    documents = sum(sum(report.outcomes.values()) for report in reports)
    return {"ingest_documents_per_s": documents / total * 1e6, "ingest_other_share": 1 - work / total}
