"""What a subject cannot see never changes what the subject gets: not ids, order, scores or shape."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database import tables as t
from secure_rag.database.documents import NewChunk, NewContent, Permission, PublicIds
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class
from secure_rag.database.tables import DocumentState
from secure_rag.model.decisions import Answer
from secure_rag.model.ids import Micros, PrincipalKey, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.wiring import open_installation
from tests.controls import control
from tests.oracle import Bolt, Guard
from tests.support.clock import FixedClock
from tests.support.filled_home import DIMENSIONS, FilledHome, fill_home, sentence
from tests.worlds import NOW, acl_class, random_world

WORLDS = 6
QUERIES = 12


def comparable(answer: Answer) -> dict[str, object]:
    """Everything that a caller sees, apart from the identifiers of this one decision."""
    body = asdict(answer)
    return {k: v for k, v in body.items() if k not in ("decision_id", "policy_version")}


def answers(filled: FilledHome, queries: list[str]) -> list[dict[str, object]]:
    with open_installation(filled.root, clock=FixedClock(), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        found: list[dict[str, object]] = []
        for n, call in enumerate(x for x in filled.world.calls if x.subject and x.caller.startswith("app:")):
            caller = CallerIdentity(call.tenant, principal_id(call.caller), principal_id(call.subject or ""))
            request = RetrievalRequest(queries[n % len(queries)], k=5, purpose=call.purpose)
            found.append(comparable(opened.retrieval.retrieve(caller, request)))
        return found


def add_invisible(filled: FilledHome, seed: int, count: int) -> None:
    """Documents for nobody and for a group of strangers, a third word for word like what was there, and that group."""
    random = np.random.default_rng(seed)
    embedder = HashingEmbedder(DIMENSIONS)
    closed = [
        n
        for n, guard in enumerate(filled.world.guards)
        if guard.tenant == "acme" and not any(b.allow for b in guard.locks)
    ]
    guard = filled.world.guards[closed[0]]
    strangers = replace(guard, locks=(Bolt((("group:hidden", None),)),))
    tenant, source = filled.stored.tenants["acme"], filled.stored.sources["acme", guard.source]
    with write(filled.stored.engine) as connection:
        ids = PublicIds(b"x" * 32)
        _add_strangers(connection, filled)
        classes = (
            filled.stored.classes[closed[0]],
            intern_class(connection, acl_class(filled.stored, strangers)),
        )
        copied = (
            connection.execute(sa.select(t.chunk.c.text).order_by(t.chunk.c.id).limit(count)).scalars().all()
        )
        for n in range(count):
            text = copied[n] if n % 3 == 0 else sentence(random, 25)
            key = db.ensure_document(connection, ids, tenant, source, f"hidden{n}", Micros(NOW))
            db.put_permission(
                connection,
                key,
                Permission(classes[n % 2], b"", "[]", "[]", Micros(NOW)),
                Micros(NOW),
            )
            content = NewContent(
                "Hidden", "text/plain", "unknown:x", "0" * 64, "test", Micros(NOW),
                [NewChunk(text, 0, len(text), ())], embedder.embed_document(text)[None, :], [],
            )  # fmt: skip
            db.put_content(connection, ids, key, content, DocumentState.LIVE)


def _add_strangers(connection: sa.Connection, filled: FilledHome) -> None:
    """`group:hidden` holds somebody new and `group:inner`; nobody who asks is in either."""
    tenant = filled.stored.tenants["acme"]
    kinds = {"group:hidden": "group", "group:inner": "group", "user:hidden": "member"}
    for name, kind in kinds.items():
        made = sa.insert(t.principal).values(tenant_id=tenant, name=name, kind=kind, state="active")
        key = connection.execute(made.returning(t.principal.c.id)).scalar_one()
        filled.stored.principals["acme", name] = PrincipalKey(key)
    key = {name: filled.stored.principals["acme", name] for name in kinds}
    for member, group in (
        ("user:hidden", "group:hidden"),
        ("user:hidden", "group:inner"),
        ("group:inner", "group:hidden"),
    ):
        ends = {"member_id": key[member], "group_id": key[group]}
        connection.execute(sa.insert(t.membership).values(tenant_id=tenant, valid_from=0, **ends))


@control("retrieval:non-interference")
@pytest.mark.parametrize("seed", range(WORLDS))
def test_adding_documents_and_groups_that_a_subject_cannot_see_changes_nothing(
    tmp_path: Path, seed: int
) -> None:
    world = random_world(seed, calls=60)
    nobody = Guard(
        "acme", (Bolt(()),), world.guards[0].label, frozenset(), world.companies["acme"].sources[0]
    )
    world.guards.append(nobody)
    filled = fill_home(tmp_path / "home", world, documents=150, seed=seed)
    random = np.random.default_rng(seed)
    queries = [sentence(random, 6) for _ in range(QUERIES)]
    before = answers(filled, queries)
    add_invisible(filled, seed + 100, 120)
    after = answers(filled, queries)
    assert before == after
    outcomes = Counter(bool(x["results"]) for x in before)
    assert outcomes[True] >= 3, f"too few answers with results: {outcomes}"
