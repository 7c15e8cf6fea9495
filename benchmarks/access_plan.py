"""A plan over 10,000 documents and 5,000 users, and the set-based re-point of as many, with a database on disk."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.interning import intern_class
from secure_rag.model.ids import (
    EVERYONE,
    DocumentKey,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.permissions import MappedLock, MappedPermissions
from secure_rag_acl.effect import Guarded, effect
from secure_rag_acl.effect_report import report
from secure_rag_acl.population import read_population
from secure_rag_ingestion.repointing import repoint
from secure_rag_ingestion.retagging import Retagged
from secure_rag_ingestion.sources import RegisteredSource, SourceManifest
from secure_rag_ingestion.tagging.tagger import Tagger

DOCUMENTS: Final = 10_000
USERS: Final = 5_000
GROUPS: Final = 400
CLASSES: Final = 2_000
_NOW: Final = Micros(1_800_000_000_000_000)
_LABELS: Final = tuple(LabelId(f"0000000{n}-0000-4000-8000-000000000000") for n in range(1, 6))


def run() -> dict[str, float]:
    """Seconds of planning and of re-pointing, and how many gains the plan has."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(Path(folder) / "control.db")
        with write(engine) as connection:
            source, groups = _world(connection)
        figures = _plan(engine, source, groups)
        figures |= _repoint(engine, source, groups)
        engine.dispose()
    return figures


def _world(connection: sa.Connection) -> tuple[RegisteredSource, list[PrincipalKey]]:
    rng = np.random.default_rng(7)
    t.meta.create_all(connection)
    connection.execute(sa.insert(t.counter).values(name="document_seq", value=0))
    tenant = TenantKey(1)
    connection.execute(sa.insert(t.tenant).values(id=1, name="acme", directory_as_of=1))
    connection.execute(sa.insert(t.policy_version).values(tenant_id=1, generation="g", n=0))
    people = [{"name": f"user:u{n}", "kind": "member"} for n in range(USERS)]
    teams = [{"name": f"group:g{n}", "kind": "group"} for n in range(GROUPS)]
    rows = [{"name": EVERYONE, "kind": "everyone"}, *people, *teams]
    connection.execute(sa.insert(t.principal), [x | {"tenant_id": 1, "state": "active"} for x in rows])
    first = 2 + USERS
    members = [
        {"tenant_id": 1, "member_id": 2 + n, "group_id": first + int(group), "valid_from": 0}
        for n in range(USERS)
        for group in rng.choice(GROUPS, 5, replace=False)
    ]
    connection.execute(sa.insert(t.membership), members)
    clear = [
        {"tenant_id": 1, "principal_id": 2 + n, "label": _LABELS[int(rng.integers(2, 5))], "valid_from": 0}
        for n in range(USERS)
    ]
    connection.execute(sa.insert(t.clearance), clear)
    connection.execute(
        sa.insert(t.source).values(
            id=1, tenant_id=1, name="hr", kind="filesystem", trust="internal", max_acl_age=1, manifest=""
        )
    )
    manifest = SourceManifest(
        id="hr",
        tenant="acme",
        kind="filesystem",
        root=Path(),
        mapping=Path(),
        trust=Trust.INTERNAL,
        max_acl_age="1d",
    )
    groups = [PrincipalKey(first + n) for n in range(GROUPS)]
    source = RegisteredSource(tenant, SourceKey(1), manifest, None)
    keys = [intern_class(connection, x) for x in _classes(rng, groups)]
    connection.execute(
        sa.insert(t.document),
        [
            {
                "tenant_id": 1, "source_id": 1, "native_id": f"{n}.txt", "public_id": f"d{n}",
                "class_id": keys[n % CLASSES],
                "state": 1, "version": 1, "title": "", "mime": "", "contributor": "", "content_sha256": "",
                "pipeline_id": "", "origins": "[]", "modified_at": 0, "acl_as_of": 0, "first_chunk": 0,
                "n_chunks": 0, "seq": -n,
            }
            for n in range(1, DOCUMENTS + 1)
        ],
    )  # fmt: skip
    return source, groups


def _classes(rng: np.random.Generator, groups: list[PrincipalKey]) -> list[AclClass]:
    return [
        AclClass(
            TenantKey(1),
            tuple(
                Lock.of([(groups[int(g)], Micros(2**62)) for g in rng.choice(GROUPS, 4, replace=False)])
                for _ in range(int(rng.integers(1, 4)))
            ),
            _LABELS[int(rng.integers(5))],
            frozenset(),
            Trust.INTERNAL,
            SourceKey(1),
        )
        for _ in range(CLASSES)
    ]


def _plan(engine: sa.Engine, source: RegisteredSource, groups: list[PrincipalKey]) -> dict[str, float]:
    rng = np.random.default_rng(8)
    before = _classes(np.random.default_rng(9), groups)
    # Another group on the first lock of every class, so that all documents change.
    after = [_widened(x, groups[int(rng.integers(GROUPS))]) for x in before]
    documents = [
        Guarded(DocumentKey(n), "hr", f"{n}.txt", before[n % CLASSES], after[n % CLASSES])
        for n in range(1, DOCUMENTS + 1)
    ]
    taxonomy = Taxonomy.of([Label(x, x, n) for n, x in enumerate(_LABELS)], _LABELS[-1], _LABELS[3], 1)
    started = time.perf_counter()
    with engine.connect() as connection, connection.begin():
        population = read_population(connection, source.tenant, _NOW)
    found = effect(documents, population, taxonomy, taxonomy, _NOW)
    report(found, population, taxonomy, _NOW)
    seconds = time.perf_counter() - started
    pairs = sum(len(share.documents) for shares in found.gains.values() for share in shares)
    return {"plan_10k_documents_5k_users_s": seconds, "plan_gains": float(pairs)}


def _widened(cls: AclClass, group: PrincipalKey) -> AclClass:
    first, *others = cls.locks
    return replace(cls, locks=(Lock.of([*first.allow, (group, Micros(2**62))]), *others))


def _repoint(engine: sa.Engine, source: RegisteredSource, groups: list[PrincipalKey]) -> dict[str, float]:
    taxonomy = Taxonomy.of([Label(x, x, n) for n, x in enumerate(_LABELS)], _LABELS[-1], _LABELS[3], 1)
    tagger = Tagger(source, taxonomy)
    with engine.connect() as connection:
        stored = db.stored_documents(connection, source.key)
    tags = [
        tagger.tag(
            MappedPermissions((MappedLock(((PrincipalId(f"group:g{n}"), Micros(2**62)),)),), (), (), (), ())
        )
        for n in range(len(groups))
    ]
    tagged = [Retagged(x, tags[n % len(tags)]) for n, x in enumerate(stored.values())]
    started = time.perf_counter()
    with write(engine) as connection:
        repoint(connection, tagger, tagged, _NOW, _NOW)
    return {"repoint_10k_documents_s": time.perf_counter() - started}


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value:.3f}")
