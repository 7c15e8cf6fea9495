"""What an explanation tells beyond the rights of its reader: through delegations, repairs, and cut off applications."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import NEVER
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.app import create_app
from secure_rag_api.auth.keys import FixedKeys, trusted_keys
from secure_rag_api.auth.tokens import TokenVerifier
from secure_rag_api.explaining import Explaining
from secure_rag_api.rate import RateLimiter
from secure_rag_api.served import ServedHome
from secure_rag_api.wiring import open_installation
from tests.controls import control
from tests.oracle import Handover, Limits, Who
from tests.security.acl.test_explain_rights import DELEGATION, ROLES, Place, company, guards
from tests.support.clock import FixedClock
from tests.support.filled_home import DIMENSIONS, fill_home
from tests.unit.api.world import ISSUER, KEY, KID, ManualClock, jwks
from tests.unit.api.world import World as ApiWorld
from tests.worlds import LABELS, World

UNTOLD = "g_" + "7" * 32
SECRETS = ("secret-agent", "secret-leaver", "secret-app")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("explained") / "home"
    made = company()
    made.who["user:secret-leaver"] = Who(
        "user:secret-leaver", "member", state="disabled", clearance=LABELS[2]
    )
    made.who["agent:secret-agent"] = Who("agent:secret-agent", "agent", clearance=LABELS[4])
    made.who["app:secret-app"] = Who("app:secret-app", "app")
    everything = Limits(frozenset({"read"}), LABELS[4], frozenset(), frozenset({"*"}), frozenset({"qa"}))
    made.limits["agent:secret-agent"] = [everything]
    made.handovers = {}
    made.handovers[DELEGATION] = Handover(
        DELEGATION, None, "user:alice", "app:helpdesk", "agent:scout", frozenset({"read"})
    )
    made.handovers[UNTOLD] = Handover(
        UNTOLD, None, "user:secret-leaver", "app:helpdesk", "agent:secret-agent", frozenset({"read"})
    )
    filled = fill_home(root, World({"acme": made}, guards(), []), documents=16, seed=5)
    stored = filled.stored
    with write(stored.engine) as connection:
        for name, (role, source) in ROLES.items():
            connection.execute(
                sa.insert(t.role_assignment).values(
                    tenant_id=stored.tenants["acme"],
                    principal_id=stored.principals["acme", name],
                    role=role,
                    source_id=None if source is None else stored.sources["acme", source],
                    valid_from=0,
                    valid_to=NEVER,
                )
            )
    with open_installation(root, clock=FixedClock(), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        clock = ManualClock()
        served = ServedHome(
            retriever=ApiWorld().retriever,
            explainer=Explaining(opened),
            tokens=TokenVerifier(ISSUER, FixedKeys(trusted_keys(jwks((KID, KEY)), "test keys")), clock),
            limiter=RateLimiter(60_000, clock),
            ready=list,
            close=lambda: None,
        )
        found = Place(filled, create_app(served))
        with opened.reader.connect() as connection:
            rows = connection.execute(
                sa.select(t.source.c.name, t.document.c.native_id, t.document.c.public_id).join(
                    t.document, t.document.c.source_id == t.source.c.id
                )
            ).all()
        found.ids = {f"{name}/{native}": public for name, native, public in rows}
        yield found
    stored.engine.dispose()


def document_of(place: Place, guard: int) -> str:
    wanted = place.filled.world.guards[guard]
    number = next(n for n, x in enumerate(place.filled.guard_of) if x is wanted)
    return place.ids[f"{wanted.source}/doc{number}.txt"]


@control("acl:explain-own-sources")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_delegation_tells_a_data_owner_neither_its_agent_nor_its_person(
    place: Place, form: tuple[str, ...]
) -> None:
    document = place.documents("hr")[0]
    ask = ("acl", "explain", "--doc", document, "--delegation", UNTOLD, *form)
    told = place.cli("user:hana", *ask)
    assert told.code != 5
    assert not [x for x in SECRETS if x in told.out + told.err], told.out
    officer = place.cli("user:oscar", *ask)
    assert {x for x in SECRETS if x in officer.out} >= {"secret-agent", "secret-leaver"}


@control("acl:explain-own-sources")
def test_who_names_a_person_and_her_agent_is_not_told_the_delegation_between_them(place: Place) -> None:
    document = place.documents("hr")[0]
    asked: dict[str, Any] = {"document": document, "subject": "user:alice", "agent": ["agent:scout"]}
    told = place.http("user:hana", "/v1/explain", **asked)
    assert told.status == 200
    assert DELEGATION not in told.body.decode()
    officer = place.http("user:oscar", "/v1/explain", **asked)
    assert json.loads(officer.body)["delegation"] == DELEGATION


@control("acl:explain-own-sources")
def test_the_question_which_application_names_none(place: Place) -> None:
    ran = place.cli("user:hana", "acl", "explain", "--doc", place.documents("hr")[0])
    assert ran.code != 0
    assert "--app" in ran.err
    assert "app:helpdesk" not in ran.err + ran.out
    assert "secret-app" not in ran.err + ran.out
    assert (
        "app:secret-app" in place.cli("user:oscar", "acl", "explain", "--doc", place.documents("hr")[0]).err
    )


@control("acl:explain-hidden")
@pytest.mark.parametrize("reach", ["everything", "source", "document"])
def test_an_application_that_is_cut_off_passes_nothing_on(place: Place, reach: str) -> None:
    stored, document = place.filled.stored, document_of(place, 1)
    asks = [
        ("/v1/explain", {"document": document, "subject": "user:alice"}),
        ("/v1/who-can", {"document": document}),
    ]
    listing = ("/v1/what-can", {"subject": "user:hana", "app": "app:helpdesk"})
    assert all(place.http("user:hana", path, **query).status == 200 for path, query in asks)
    assert document in place.http("user:hana", listing[0], **listing[1]).body.decode()
    with write(stored.engine) as connection:
        number = connection.execute(sa.select(t.document.c.id).where(t.document.c.public_id == document))
        cut = connection.execute(
            sa.insert(t.revocation)
            .values(
                tenant_id=stored.tenants["acme"],
                public_id="r_app",
                principal_id=stored.principals["acme", "app:narrow"],
                source_id=stored.sources["acme", "hr"] if reach == "source" else None,
                document_id=number.scalar_one() if reach == "document" else None,
                revoked_by="user:oscar",
                reason="leaked token",
                valid_from=0,
                valid_to=NEVER,
            )
            .returning(t.revocation.c.id)
        ).scalar_one()
    r = t.revocation.c
    try:
        # Of another application it says nothing.
        assert all(place.http("user:hana", path, **query).status == 200 for path, query in asks)
        with write(stored.engine) as connection:
            connection.execute(
                sa.update(t.revocation)
                .where(r.id == cut)
                .values(principal_id=stored.principals["acme", "app:helpdesk"])
            )
        for path, query in asks:
            absent = place.http("user:hana", path, **{**query, "document": "hr/absent"})
            reply = place.http("user:hana", path, **query)
            assert (reply.status, reply.body) == (404, absent.body), path
        listed = place.http("user:hana", "/v1/what-can", subject="user:hana")
        assert document not in listed.body.decode()
        # The operator on the host is told why, and so is everybody when the whole source is closed to all.
        ran = place.cli("user:hana", "acl", "explain", "--doc", document, "--app", "app:helpdesk")
        assert "cut off" in ran.out
        with write(stored.engine) as connection:
            everyone = stored.principals["acme", "everyone"]
            connection.execute(sa.update(t.revocation).where(r.id == cut).values(principal_id=everyone))
        assert place.http("user:hana", "/v1/explain", document=document).status == 200
    finally:
        with write(stored.engine) as connection:
            connection.execute(sa.delete(t.revocation).where(r.id == cut))


@control("acl:explain-hidden")
def test_an_application_on_a_deny_list_passes_nothing_on(place: Place) -> None:
    """A lock that names the application keeps its content from everybody who comes through it."""
    stored, document = place.filled.stored, document_of(place, 1)
    assert place.http("user:hana", "/v1/explain", document=document).status == 200
    leavers = stored.principals["acme", "group:leavers"]
    with write(stored.engine) as connection:
        joined = connection.execute(
            sa.insert(t.membership)
            .values(
                tenant_id=stored.tenants["acme"],
                member_id=stored.principals["acme", "app:helpdesk"],
                group_id=leavers,
                valid_from=0,
                valid_to=NEVER,
            )
            .returning(t.membership.c.id)
        ).scalar_one()
    try:
        assert place.http("user:hana", "/v1/explain", document=document).status == 404
        assert place.http("user:hana", "/v1/explain", document=document_of(place, 0)).status == 200
    finally:
        with write(stored.engine) as connection:
            connection.execute(sa.delete(t.membership).where(t.membership.c.id == joined))


@control("acl:explain-hidden")
@pytest.mark.parametrize("lacks", ["time", "action", "purpose", "label", "nothing"])
def test_an_application_whose_grant_is_over_passes_on_nothing_about_a_document_that_nothing_guards(
    place: Place, lacks: str
) -> None:
    """Without a class the label is that of content whose label nobody knows; the rest of the grant counts as it is."""
    stored, document, g = place.filled.stored, document_of(place, 0), t.grant.c
    ways: dict[str, dict[str, object]] = {
        "time": {"valid_to": 1},
        "action": {"actions": json.dumps(["list"])},
        "purpose": {"purposes": json.dumps(["support"])},
        "label": {"label": LABELS[0]},
        "nothing": {"valid_to": NEVER},
    }
    changes = ways[lacks]
    narrow = g.principal_id == stored.principals["acme", "app:helpdesk"]
    with write(stored.engine) as connection:
        d = t.document.c
        kept_class = connection.execute(sa.select(d.class_id).where(d.public_id == document)).scalar_one()
        connection.execute(
            sa.update(t.document)
            .where(d.public_id == document)
            .values(class_id=None, state=int(DocumentState.WITHHELD))
        )
        kept = connection.execute(sa.select(t.grant).where(narrow)).mappings().one()
        connection.execute(sa.update(t.grant).where(narrow).values(**changes))
    try:
        for path in ("/v1/explain", "/v1/who-can"):
            assert place.http("user:hana", path, document=document).status == (
                200 if lacks == "nothing" else 404
            )
    finally:
        with write(stored.engine) as connection:
            connection.execute(
                sa.update(t.document)
                .where(d.public_id == document)
                .values(class_id=kept_class, state=int(DocumentState.LIVE))
            )
            connection.execute(sa.update(t.grant).where(narrow).values(**{x: kept[x] for x in changes}))


@control("acl:explain-hidden")
@pytest.mark.parametrize(
    "words",
    [
        ("acl", "explain", "--doc", "hr/\udcff", "--app", "app:helpdesk"),
        ("acl", "explain", "--doc", "hr/a", "--as", "user:\udcff", "--app", "app:helpdesk"),
        ("acl", "who-can", "\udcff"),
        ("acl", "what-can", "user:\udcff"),
        ("acl", "what-can", "user:hana", "--source", "\udcff"),
        ("acl", "what-can", "user:hana", "--label", "\udcff"),
        ("acl", "who-can", "hr/a", "--cursor", "\udcff"),
    ],
)
def test_names_that_are_no_text_end_in_an_error_and_not_in_a_traceback(
    place: Place, words: tuple[str, ...]
) -> None:
    ran = place.cli("user:hana", *words)
    assert ran.code not in (0, 1), ran
    assert "Traceback" not in ran.err
    assert ran.err.startswith("secure-rag: "), ran.err
