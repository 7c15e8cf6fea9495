"""Explanations: everything for an auditor, only her own for a caller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.documents import (
    NewChunk,
    NewContent,
    Permission,
    PublicIds,
    ensure_document,
    put_content,
    put_permission,
)
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class, intern_principal
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView, Views
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import (
    NEVER,
    Compartment,
    LabelId,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import Origin, canonical_origins, origins_to_json
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain import Explanation, explain, explain_row
from secure_rag_acl.reasons import LockState
from tests.controls import control
from tests.unit.acl.homes import GUIDS, Place, directory, new_place

AGE = 3_600_000_000
USERS = """\
  - {id: user:ann, kind: member, clearance: Internal, compartments: [heron]}
  - {id: user:gus, kind: guest, clearance: Internal}
  - {id: user:low, kind: member, clearance: Public, compartments: [heron]}
"""
GROUPS = """\
  - {id: group:hr, members: [user:ann, user:gus, user:low]}
  - {id: group:layoffs, members: [user:gus]}
"""


class Corpus:
    """One document, `wiki/plans/a.md`, with two locks."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.ids = PublicIds(b"k" * 32)
        with write(place.engine) as connection:
            self.tenant = TenantKey(connection.execute(sa.select(t.tenant.c.id)).scalar_one())
            values = {
                "name": "wiki",
                "kind": "filesystem",
                "trust": "internal",
                "max_acl_age": AGE,
                "manifest": "{}",
            }
            source = connection.execute(
                sa.insert(t.source).values(tenant_id=self.tenant, **values).returning(t.source.c.id)
            )
            self.source = SourceKey(source.scalar_one())
            connection.execute(sa.update(t.counter).where(t.counter.c.name == "document_seq").values(value=1))
            self.key = ensure_document(connection, self.ids, self.tenant, self.source, "plans/a.md", self.now)
            vectors = np.ones((1, 2), np.float32)
            chunk = NewChunk("text", 0, 4, ())
            content = NewContent("Plan", "text/plain", "", "0" * 64, "p", self.now, [chunk], vectors, [])
            put_content(connection, self.ids, self.key, content, DocumentState.WITHHELD)
        self.guard(
            Lock.of([(self.who("group:hr"), NEVER)]),
            Lock.of([(self.who("everyone"), NEVER)], [self.who("group:layoffs")]),
        )
        self.state(DocumentState.LIVE)

    @property
    def now(self) -> Micros:
        return Micros(self.place.now)

    def who(self, name: str) -> PrincipalKey:
        with write(self.place.engine) as connection:
            return intern_principal(connection, self.tenant, PrincipalId(name))

    def guard(self, *locks: Lock) -> None:
        rooms = frozenset({Compartment("heron")})
        cls = AclClass(
            self.tenant, canonical_locks(locks), LabelId(GUIDS[1]), rooms, Trust.INTERNAL, self.source
        )
        origins = [Origin(n, "allow", f"entry {n}", f"m.yaml:{n}") for n in range(len(locks))]
        stored = origins_to_json(canonical_origins(locks, origins))
        with write(self.place.engine) as connection:
            put_permission(
                connection,
                self.key,
                Permission(intern_class(connection, cls), b"d", stored, "[]", self.now),
                self.now,
            )

    def state(self, state: DocumentState) -> None:
        with write(self.place.engine) as connection:
            connection.execute(sa.update(t.document).values(state=int(state)))

    def ask(
        self, name: str, document: str = "wiki/plans/a.md", *, later: int = 0, purpose: str = "qa"
    ) -> Explanation:
        with Views(self.place.engine, lambda: Micros(self.now + later)).open() as view:
            return explain(view, CasbinEngine(), self.tenant, self.subject(view, name, purpose), document)

    def subject(self, view: ReadView, name: str, purpose: str = "qa") -> Subject:
        identity = CallerIdentity("acme", PrincipalId("app:chat"), PrincipalId(name))
        return view.subject(self.tenant, identity, purpose)


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    place = new_place(tmp_path)
    place.load(directory(USERS, GROUPS))
    yield Corpus(place)
    place.engine.dispose()


@control("acl:reasons")
def test_an_auditor_sees_why_she_may(corpus: Corpus) -> None:
    found = corpus.ask("user:ann")
    assert (found.reason, found.allowed, found.document, found.subject) == (
        Reason.ALLOWED,
        True,
        "wiki/plans/a.md",
        "user:ann",
    )
    assert (found.label, found.clearance) == ("Internal", "Internal")
    assert (found.compartments, found.missing_compartments) == (("heron",), ())
    assert {lock.state for lock in found.locks} == {LockState.OPEN}
    by_allow = {lock.allow: lock for lock in found.locks}
    assert by_allow["group:hr",].through == ("group:hr",)
    assert by_allow["group:hr",].origins == (
        Origin(list(by_allow).index(("group:hr",)), "allow", "entry 0", "m.yaml:0"),
    )
    assert by_allow["everyone",].deny == ("group:layoffs",)
    assert [(hop.principal, hop.ceilings, hop.refuses) for hop in found.hops] == [
        ("app:chat", ("Secret",), ())
    ]
    assert (found.acl_age_us, found.max_acl_age_us) == (0, AGE)
    assert found.to_dict()["reason"] is Reason.ALLOWED


@control("acl:reasons")
def test_an_auditor_sees_why_he_may_not(corpus: Corpus) -> None:
    gus = corpus.ask("user:gus")
    assert (gus.reason, gus.missing_compartments) == (Reason.COMPARTMENT, ("heron",))
    assert sorted(lock.state for lock in gus.locks) == [LockState.DENIED, LockState.OPEN]
    assert corpus.ask("user:low").reason is Reason.LABEL
    assert corpus.ask("user:nobody").reason is Reason.UNKNOWN_SUBJECT
    assert corpus.ask("user:nobody").subject is None
    training = corpus.ask("user:ann", purpose="training")
    assert (training.reason, training.hops[0].refuses) == (Reason.DELEGATION, ("purpose",))
    corpus.guard(
        Lock.of([(corpus.who("group:hr"), NEVER)], [corpus.who("group:lost")]),
        Lock.of([(corpus.who("user:gus"), NEVER)]),
    )
    closed = corpus.ask("user:ann")
    assert closed.reason is Reason.UNRESOLVED_DENY
    assert sorted(lock.state for lock in closed.locks) == [LockState.NOT_ON_LIST, LockState.UNRESOLVED]
    corpus.guard(Lock.of([(corpus.who("group:hr"), NEVER)], [corpus.who("app:chat")]))
    assert corpus.ask("user:ann").hops[0].refuses == ("deny",)
    corpus.guard(Lock.of([(corpus.who("group:hr"), Micros(corpus.now + 120_000_000))]))
    assert corpus.ask("user:ann").locks[0].allow[0].startswith("group:hr until ")


@control("acl:reasons")
def test_the_state_of_the_document_comes_first(corpus: Corpus) -> None:
    assert corpus.ask("user:ann", "wiki/plans/b.md").reason is Reason.NOT_INDEXED
    assert corpus.ask("user:ann", "mail/plans/a.md").reason is Reason.NOT_INDEXED
    public = corpus.ids.document(corpus.tenant, corpus.source, "plans/a.md")
    assert corpus.ask("user:ann", public).document == "wiki/plans/a.md"
    assert corpus.ask("user:ann", later=AGE).reason is Reason.ALLOWED
    assert corpus.ask("user:ann", later=AGE + 1).reason is Reason.ACL_STALE
    corpus.state(DocumentState.QUARANTINED)
    assert corpus.ask("user:ann").reason is Reason.QUARANTINED
    corpus.state(DocumentState.WITHHELD)
    assert corpus.ask("user:ann").reason is Reason.NOT_INDEXED


def test_a_caller_is_told_of_her_own_rights_only(corpus: Corpus) -> None:
    with Views(corpus.place.engine, lambda: corpus.now).open() as view:
        key = view.chunk_key(
            corpus.tenant,
            corpus.ids.chunk(corpus.ids.document(corpus.tenant, corpus.source, "plans/a.md"), 1, 0),
        )
        assert key is not None
        row = view.chunk_rows(corpus.tenant, [key])[key]
        told = explain_row(view, corpus.subject(view, "user:ann"), row)
    assert told["label"] == "Internal"
    assert sorted(str(lock) for lock in told["locks"]) == [  # type: ignore[attr-defined]  # a list of locks
        "{'state': 'open', 'through': ['everyone']}",
        "{'state': 'open', 'through': ['group:hr']}",
    ]
    assert told["hops"] == [{"principal": "app:chat", "ceilings": ["Secret"]}]
    assert "layoffs" not in str(told)
    assert "m.yaml" not in str(told)
