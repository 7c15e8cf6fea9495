"""Who may be told what: planted secret names in no answer, and nothing at all for who manages nothing."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
import yaml
from fastapi import FastAPI

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.model.ids import NEVER
from secure_rag.model.permissions import Origin, origins_to_json
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_acl.explain_sight import Names
from secure_rag_api.app import create_app
from secure_rag_api.auth.keys import FixedKeys, trusted_keys
from secure_rag_api.auth.tokens import TokenVerifier
from secure_rag_api.explaining import Explaining
from secure_rag_api.operators import os_user
from secure_rag_api.rate import RateLimiter
from secure_rag_api.served import ServedHome
from secure_rag_api.wiring import open_installation
from tests.controls import control
from tests.integration.cli.company import Ran, run
from tests.oracle import Bolt, Company, Guard, Handover, Limits, Link, Who
from tests.support.clock import FixedClock
from tests.support.filled_home import DIMENSIONS, FilledHome, fill_home
from tests.unit.api.world import (
    ISSUER,
    KEY,
    KID,
    ManualClock,
    Reply,
    call,
    caller_token,
    identity_headers,
    jwks,
    subject_token,
)
from tests.unit.api.world import World as ApiWorld
from tests.worlds import LABELS, World

SECRET = "secret"
DELEGATION = "g_" + "5" * 32
ROLES = {
    "user:hana": ("data_owner", "hr"),
    "user:ian": ("ingestion_engineer", "hr"),
    "user:rita": ("agent_registrar", None),
    "user:hugo": ("auditor", "hr"),
    "user:audrey": ("auditor", None),
    "user:oscar": ("security_officer", None),
}
NOBODIES = ("user:alice", "user:bob", "user:ian", "user:rita", "user:gone", "service:robot")


def company() -> Company:
    made = Company("acme", labels={x: 10 * n for n, x in enumerate(LABELS)}, sources=("hr", "fin"))
    people = ["alice", "bob", "secret-ceo", *(x.removeprefix("user:") for x in ROLES)]
    made.who = {"everyone": Who("everyone", "everyone")}
    for name in people:
        made.who[f"user:{name}"] = Who(f"user:{name}", "member", clearance=LABELS[2])
    made.who["user:gone"] = Who("user:gone", "member", state="disabled", clearance=LABELS[4])
    made.who["service:robot"] = Who("service:robot", "service", clearance=LABELS[4])
    groups = (
        "team-7",
        "secret-ladder",
        "engineering",
        "secret-board",
        "secret-club",
        "secret-cut",
        "leavers",
    )
    for name in groups:
        made.who[f"group:{name}"] = Who(f"group:{name}", "group")
    made.who["app:helpdesk"] = Who("app:helpdesk", "app")
    made.who["app:narrow"] = Who("app:narrow", "app")
    made.who["agent:scout"] = Who("agent:scout", "agent", clearance=LABELS[4])
    ways = (
        ("user:alice", "team-7"), ("group:team-7", "secret-ladder"), ("group:secret-ladder", "engineering"),
        ("user:alice", "secret-club"), ("user:bob", "secret-cut"), ("user:bob", "engineering"),
        ("user:secret-ceo", "secret-board"), ("user:hana", "engineering"), ("group:secret-club", "leavers"),
    )  # fmt: skip
    made.links = [Link(member, f"group:{group}") for member, group in ways]
    everything = Limits(frozenset({"read"}), LABELS[4], frozenset(), frozenset({"*"}), frozenset({"qa"}))
    made.limits = {"app:helpdesk": [everything], "agent:scout": [everything]}
    made.limits["app:narrow"] = [
        Limits(frozenset({"read"}), LABELS[4], frozenset(), frozenset({"fin"}), frozenset({"qa"}))
    ]
    made.handovers[DELEGATION] = Handover(
        "g1",
        None,
        "user:alice",
        "app:helpdesk",
        "agent:scout",
        frozenset({"read"}),
        sources=frozenset({"fin"}),
    )
    return made


def guards() -> list[Guard]:
    def guard(source: str, allow: tuple[str, ...], deny: tuple[str, ...] = (), label: int = 1) -> Guard:
        bolt = Bolt(tuple((x, None) for x in allow), deny)
        return Guard("acme", (bolt,), LABELS[label], frozenset(), source)

    return [
        guard("hr", ("group:engineering", "everyone"), label=1),
        guard("hr", ("group:engineering",), ("group:leavers",)),
        guard("hr", ("user:audrey",), label=4),
        guard("fin", ("group:secret-board", "user:secret-ceo"), ("group:secret-club",)),
        guard("fin", ("everyone",), label=0),
    ]


@dataclass
class Place:
    """A home with two owners' sources, its commands and its HTTP application."""

    filled: FilledHome
    app: FastAPI
    ids: dict[str, str] = field(default_factory=dict[str, str])

    def cli(self, who: str, *words: str) -> Ran:
        path = self.filled.root / "config.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump({**content, "operators": {os_user(): who}}), encoding="utf-8")
        return run(*words, "--home", self.filled.root)

    def http(self, who: str, path: str, app: str = "app:helpdesk", **query: object) -> Reply:
        headers = identity_headers(caller=caller_token(app), subject=subject_token(who))
        return call(self.app, "GET", path, headers, query=urlencode(query, doseq=True))

    def document(self, guard: int) -> str:
        """Identifier of a document behind a guard."""
        wanted = self.filled.world.guards[guard]
        number = next(n for n, x in enumerate(self.filled.guard_of) if x is wanted)
        prefix = {"hr": "open-", "fin": "secret-plan-"}[wanted.source]
        return self.ids[f"{wanted.source}/{prefix}doc{number}.txt"]

    def documents(self, source: str) -> list[str]:
        return sorted(public for name, public in self.ids.items() if name.startswith(f"{source}/"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("explained") / "home"
    filled = fill_home(root, World({"acme": company()}, guards(), []), documents=16, seed=5)
    _plant(filled)
    with open_installation(root, clock=FixedClock(), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        clock = ManualClock()
        keys = FixedKeys(trusted_keys(jwks((KID, KEY)), "test keys"))
        served = ServedHome(
            retriever=ApiWorld().retriever,
            explainer=Explaining(opened),
            tokens=TokenVerifier(ISSUER, keys, clock),
            limiter=RateLimiter(60_000, clock),
            ready=list,
            close=lambda: None,
        )
        made = Place(filled, create_app(served))
        with opened.reader.connect() as connection:
            rows = connection.execute(
                sa.select(t.source.c.name, t.document.c.native_id, t.document.c.public_id).join(
                    t.document, t.document.c.source_id == t.source.c.id
                )
            ).all()
        made.ids = {f"{name}/{native}": public for name, native, public in rows}
        yield made
    filled.stored.engine.dispose()


def _plant(filled: FilledHome) -> None:
    """Roles, secret names of the other source, and a revocation of everything that hits Bob through a secret group."""
    stored = filled.stored
    tenant = stored.tenants["acme"]
    with write(stored.engine) as connection:
        for name, (role, source) in ROLES.items():
            connection.execute(
                sa.insert(t.role_assignment).values(
                    tenant_id=tenant,
                    principal_id=stored.principals["acme", name],
                    role=role,
                    source_id=None if source is None else stored.sources["acme", source],
                    valid_from=0,
                    valid_to=NEVER,
                )
            )
        d = t.document.c
        for source, prefix in (("fin", "secret-plan-"), ("hr", "open-")):
            connection.execute(
                sa.update(t.document)
                .where(d.source_id == stored.sources["acme", source])
                .values(native_id=prefix + d.native_id, title="secret-plan title")
            )
        origin = origins_to_json([Origin(0, "allow", "Engineers", "hr.yaml:7", "group:engineering")])
        connection.execute(
            sa.update(t.document).where(d.source_id == stored.sources["acme", "hr"]).values(origins=origin)
        )
        connection.execute(
            sa.insert(t.revocation).values(
                tenant_id=tenant,
                public_id="r_everything",
                principal_id=stored.principals["acme", "group:secret-cut"],
                revoked_by="user:oscar",
                reason="secret-reason",
                valid_from=0,
                valid_to=NEVER,
            )
        )


def _commands(place: Place, document: str, subject: str) -> Iterator[tuple[str, ...]]:
    for form in ((), ("--json",)):
        yield ("acl", "explain", "--doc", document, "--as", subject, "--app", "app:helpdesk", *form)
        yield ("acl", "explain", "--doc", document, "--as", subject, "--agent", "agent:scout", *form)
        yield ("acl", "explain", "--doc", document, "--delegation", DELEGATION, *form)
        yield ("acl", "explain", "--doc", document, "--as", subject, "--app", "app:narrow",
               "--at", "1970-02-01", *form)  # fmt: skip
        yield ("acl", "who-can", document, *form)
        yield ("acl", "who-can", document, "--expanded", *form)
        yield ("acl", "what-can", subject, *form)
        yield ("acl", "what-can", subject, "--source", "fin", *form)
    yield ("acl", "explain", "--doc", document, "--as", "nobody at all")
    yield ("acl", "what-can", subject, "--label", "no such label")
    yield ("acl", "who-can", document, "--cursor", "???")


def _requests(document: str, subject: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "/v1/explain", {"document": document, "subject": subject}
    yield "/v1/explain", {"document": document, "subject": subject, "agent": ["agent:scout"]}
    yield "/v1/explain", {"document": document, "subject": subject, "app": "app:narrow"}
    yield "/v1/who-can", {"document": document}
    yield "/v1/who-can", {"document": document, "expanded": "true"}
    yield "/v1/what-can", {"subject": subject}
    yield "/v1/what-can", {"subject": subject, "source": "fin"}
    yield "/v1/what-can", {"subject": subject, "label": "no such label"}


def _answers(place: Place, who: str) -> Iterator[tuple[object, str]]:
    """Everything that one asker is ever told: commands and requests, about every document and several people."""
    documents = [place.document(guard) for guard in range(5)] + ["hr/absent"]
    for document, subject in itertools.product(
        documents, ("user:alice", "user:bob", "user:hana", "user:nobody")
    ):
        for path, query in _requests(document, subject):
            reply = place.http(who, path, **query)
            yield (path, query), reply.body.decode() + str(sorted(reply.headers.items()))
    for document, subject in itertools.product([documents[1], documents[3]], ("user:alice", "user:bob")):
        for words in _commands(place, document, subject):
            ran = place.cli(who, *words)
            yield words, ran.out + ran.err


@control("acl:explain-own-sources")
def test_a_data_owner_is_told_of_her_own_source_and_no_other_names(place: Place) -> None:
    told = 0
    for what, text in _answers(place, "user:hana"):
        assert SECRET not in text, (what, text)
        assert "fin/" not in text, (what, text)
        told += "group:engineering" in text
    assert told >= 20


@control("acl:explain-own-sources")
def test_names_that_are_shown_to_everybody_would_be_seen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = place.document(0)
    quiet = place.http("user:hana", "/v1/explain", document=document, subject="user:alice").body
    monkeypatch.setattr(Names, "shows", lambda *_: True)
    loud = place.http("user:hana", "/v1/explain", document=document, subject="user:alice").body
    assert SECRET.encode() not in quiet
    assert SECRET.encode() in loud


@control("acl:explain-own-sources")
def test_an_auditor_of_one_source_is_told_of_groups_in_between_and_of_no_other_source(place: Place) -> None:
    seen = ""
    for what, text in _answers(place, "user:hugo"):
        # Expanding shows the groups of the people that this source admits; that is the right's meaning.
        assert "secret-plan" not in text, (what, text)
        assert "secret-board" not in text, (what, text)
        assert "secret-ceo" not in text or "everyone" in text, (what, text)
        assert "secret-reason" not in text, (what, text)
        seen += text
    assert "secret-ladder" in seen


@control("acl:explain-own-sources")
def test_the_secrets_are_there_for_who_may_see_all(place: Place) -> None:
    for who in ("user:audrey", "user:oscar"):
        everything = "".join(text for _, text in _answers(place, who))
        for name in ("secret-plan", "secret-board", "secret-ladder", "secret-cut"):
            assert name in everything, (who, name)
        assert "secret-reason" not in everything


@control("acl:explain-hidden")
@pytest.mark.parametrize("who", NOBODIES)
def test_to_everybody_else_what_is_there_is_not_there(place: Place, who: str) -> None:
    absent = {path: place.http(who, path, **query) for path, query in _requests("hr/absent", "user:nobody")}
    for document in (*place.documents("hr")[:4], *place.documents("fin")[:2]):
        for subject in ("user:alice", who):
            for path, query in _requests(document, subject):
                reply = place.http(who, path, **query)
                assert (reply.status, reply.body, reply.headers) == (
                    404, absent[path].body, absent[path].headers,
                ), (path, query, reply)  # fmt: skip


@control("acl:explain-hidden")
@pytest.mark.parametrize("who", ["user:alice", "user:ian", "user:hana"])
def test_on_the_host_too_every_byte_is_that_of_what_is_absent(place: Place, who: str) -> None:
    hidden = place.documents("fin")[0]
    absent = "d_" + "0" * (len(hidden) - 2)
    for there, away in zip(
        _commands(place, hidden, "user:alice"), _commands(place, absent, "user:alice"), strict=True
    ):
        found, missing = place.cli(who, *there), place.cli(who, *away)
        assert found.code == missing.code, there
        assert found.out == missing.out, there
        assert found.err.replace(hidden, absent) == missing.err, there


@control("acl:explain-hidden")
def test_nobody_manages_through_an_agent_or_a_narrow_application(place: Place) -> None:
    document = place.documents("hr")[0]
    assert place.http("user:oscar", "/v1/explain", document=document).status == 200
    assert place.http("user:oscar", "/v1/explain", app="app:narrow", document=document).status == 404
    assert place.http("user:oscar", "/v1/who-can", app="app:narrow", document=document).status == 404
    listed = place.http("user:oscar", "/v1/what-can", app="app:narrow", subject="user:alice")
    assert {x["name"].partition("/")[0] for x in json.loads(listed.body)["documents"]} <= {"fin"}
    delegated = identity_headers(caller=caller_token("agent:scout"), subject=f"delegation:{DELEGATION}")
    reply = call(place.app, "GET", "/v1/explain", delegated, query=urlencode({"document": document}))
    assert reply.status == 404


@control("acl:explain-hidden")
def test_roles_of_the_beginning_are_for_operators_only(place: Place) -> None:
    document = place.documents("hr")[0]
    engine = place.filled.stored.engine
    with write(engine) as connection:
        kept = connection.execute(sa.select(t.role_assignment)).mappings().all()
        connection.execute(sa.delete(t.role_assignment))
    try:
        assert place.http("user:alice", "/v1/explain", document=document).status == 404
        assert place.cli("user:alice", "acl", "explain", "--doc", document, "--app", "app:helpdesk").code == 0
    finally:
        with write(engine) as connection:
            connection.execute(sa.insert(t.role_assignment), [dict(x) for x in kept])


@control("acl:explain-recorded")
def test_acting_as_and_expanding_are_rights_of_their_own_and_on_record(place: Place) -> None:
    document = place.document(0)
    limited = json.loads(place.http("user:hana", "/v1/explain", document=document, subject="user:alice").body)
    assert limited["allowed"] is True
    assert limited["hops"][0]["ceilings"] is None
    assert len(limited["not_shown"]) == 2
    assert place.http("user:hana", "/v1/who-can", document=document, expanded="true").status == 404
    assert place.http("user:hana", "/v1/what-can", subject="user:alice").status == 404
    assert place.cli("user:hana", "acl", "who-can", document, "--expanded").code == 5
    place.http("user:oscar", "/v1/explain", document=document, subject="user:alice")
    place.http("user:oscar", "/v1/who-can", document=document, expanded="true")
    place.http("user:oscar", "/v1/what-can", subject="user:alice")
    place.http("user:alice", "/v1/explain", document=document, subject="user:bob")
    events = _events(place)
    for kind, by, via, detail, value in (
        ("explained", "user:oscar", "app:helpdesk", "acted_as", True),
        ("explained", "user:hana", "app:helpdesk", "acted_as", False),
        ("who_can", "user:oscar", "app:helpdesk", "members_expanded", True),
        ("what_can", "user:oscar", "app:helpdesk", "acted_as", True),
        ("explain_refused", "user:alice", "app:helpdesk", "subject", "user:bob"),
        ("who_can_refused", "user:hana", "host", "expanded", True),
    ):
        assert any(
            (x["kind"], x["body"].get("by"), x["body"].get("via"), x["body"].get(detail))
            == (kind, by, via, value)
            for x in events
        ), (kind, by)
    assert "title" not in json.dumps(events)


def _events(place: Place) -> list[dict[str, Any]]:
    ran = place.cli("user:audrey", "audit", "tail", "-n", "10000", "--json")
    return [json.loads(x) for x in ran.out.splitlines()]
