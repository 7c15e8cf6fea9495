"""Decisions worked out by hand. They keep product and oracle from sharing one misreading of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from secure_rag.database.views import ReadView, Views
from secure_rag.model.ids import Micros
from secure_rag.model.locks import AclClass
from secure_rag_acl.casbin_engine import CasbinEngine
from tests.controls import control
from tests.oracle import Bolt, Call, Company, Guard, Handover, Limits, Link, Outcome, Who, ask, judge
from tests.support.decided import read_classes, read_subject
from tests.worlds import LABELS, MINUTE, NOW, READ, UNKNOWN_LABEL, Stored, World, store

PUBLIC, GENERAL, INTERNAL, CONFIDENTIAL, RESTRICTED = LABELS
HERON = frozenset({"heron"})
NONE = frozenset[str]()


def limits(label: str = RESTRICTED, rooms: frozenset[str] = HERON, **changes: object) -> Limits:
    whole = Limits(READ, label, rooms, frozenset({"*"}), frozenset({"qa"}))
    return replace(whole, **changes)  # type: ignore[arg-type]  # names are checked by replace


def company() -> Company:
    """Ann is a member in hr, hr is in staff, staff in firm. Gus is a guest in hr. Cory is a contractor in staff."""
    made = Company("acme", labels={label: n for n, label in enumerate(LABELS)}, sources=("wiki", "mail"))
    people = (
        Who("everyone", "everyone"),
        Who("app:first", "app"),
        Who("user:ann", "member", clearance=CONFIDENTIAL, compartments=HERON),
        Who("user:ben", "member", clearance=INTERNAL),
        Who("user:new", "member"),
        Who("user:gus", "guest", clearance=CONFIDENTIAL),
        Who("user:cory", "member", clearance=CONFIDENTIAL),
        Who("user:gone", "member", "deleted", clearance=RESTRICTED),
        Who("user:away", "member", "disabled", clearance=RESTRICTED),
        Who("service:cron", "service", clearance=CONFIDENTIAL),
        Who("agent:scout", "agent", clearance=CONFIDENTIAL),
        Who("agent:clerk", "agent", clearance=GENERAL),
        Who("agent:spare", "agent"),
        Who("agent:idle", "agent", clearance=CONFIDENTIAL),
        Who("app:chat", "app"),
        Who("app:kiosk", "app"),
        Who("app:old", "app"),
        Who("group:hr", "group"),
        Who("group:staff", "group"),
        Who("group:firm", "group"),
        Who("group:contractors", "group"),
        Who("group:bots", "group"),
        Who("group:ghosts", "group", "deleted"),
        Who("group:haunted", "group"),
        Who("group:half", "group", complete=False),
        Who("group:lost", "group", "unknown"),
    )
    made.who = {who.name: who for who in people}
    made.links = [
        Link("user:ann", "group:hr"),
        Link("user:gus", "group:hr"),
        Link("group:hr", "group:staff"),
        Link("group:staff", "group:firm"),
        Link("user:cory", "group:staff"),
        Link("user:cory", "group:contractors"),
        Link("user:ben", "group:hr", end=NOW),
        Link("user:ben", "group:ghosts"),
        Link("group:ghosts", "group:haunted"),
        Link("agent:scout", "group:bots"),
    ]
    made.limits = {
        "app:chat": [limits()],
        "app:first": [limits()],
        "app:kiosk": [limits(GENERAL, NONE, sources=frozenset({"wiki"}))],
        "app:old": [limits(end=NOW)],
        "agent:scout": [limits()],
        "agent:clerk": [limits(GENERAL)],
        "agent:spare": [limits()],
    }
    made.handovers = {x.id: x for x in handovers()}
    return made


def handovers() -> Iterator[Handover]:
    first = Handover("d-scout", None, "user:ann", "app:chat", "agent:scout", READ)
    yield first
    yield Handover("d-clerk", None, "user:ann", "app:chat", "agent:clerk", READ)
    yield Handover("d-scout-clerk", "d-scout", "user:ann", "agent:scout", "agent:clerk", READ)
    yield Handover("d-skipped", "d-scout", "user:ann", "app:chat", "agent:clerk", READ)
    yield Handover("d-other-subject", "d-scout", "user:ben", "agent:scout", "agent:clerk", READ)
    yield replace(first, id="d-ended", end=NOW)
    yield replace(first, id="d-narrow", label=GENERAL)
    yield replace(first, id="d-mail", sources=frozenset({"mail"}))
    yield replace(first, id="d-nothing", actions=NONE)
    yield replace(first, id="d-audit", purposes=frozenset({"audit"}))
    yield replace(first, id="d-heron", compartments=NONE)
    yield replace(first, id="d-later", start=NOW + 1)
    yield replace(first, id="d-now", start=NOW)
    yield replace(first, id="d-by-user", created_by="user:ann")
    yield replace(first, id="d-by-agent", created_by="agent:clerk")
    yield replace(first, id="d-to-app", agent="app:kiosk")
    yield replace(first, id="d-to-user", agent="user:ben")
    yield replace(first, id="d-ben", subject="user:ben")
    yield Handover("d-earlier-subject", "d-ben", "user:ann", "agent:scout", "agent:clerk", READ)
    yield Handover("d-three", "d-scout-clerk", "user:ann", "agent:clerk", "agent:spare", READ)
    yield Handover("d-four", "d-three", "user:ann", "agent:spare", "agent:scout", READ)


def guard(*locks: Bolt, label: str = GENERAL, rooms: frozenset[str] = NONE, source: str = "wiki") -> Guard:
    return Guard("acme", locks, label, rooms, source)


def opens(*names: str, end: int | None = None) -> Bolt:
    return Bolt(tuple((name, end) for name in names))


def but(bolt: Bolt, *denied: str, unresolved: bool = False) -> Bolt:
    return replace(bolt, deny=denied, unresolved=unresolved)


def by(subject: str, app: str = "app:chat", **changes: object) -> Call:
    return replace(Call("acme", app, subject), **changes)  # type: ignore[arg-type]  # names are checked by replace


def on(delegation: str, caller: str) -> Call:
    return Call("acme", caller, None, delegation)


HR, ALL = opens("group:hr"), opens("everyone")
ANN = by("user:ann")

CASES: tuple[tuple[str, Call, Guard, Outcome], ...] = (
    ("on the list by name", ANN, guard(opens("user:ann")), Outcome.ALLOWED),
    ("on the list by group", ANN, guard(HR), Outcome.ALLOWED),
    ("on the list three groups up", ANN, guard(opens("group:firm")), Outcome.ALLOWED),
    ("not on the list", by("user:cory"), guard(HR), Outcome.NOT_ON_LIST),
    ("an empty list is nobody", ANN, guard(Bolt(())), Outcome.NOT_ON_LIST),
    ("membership ended at this very instant", by("user:ben"), guard(HR), Outcome.NOT_ON_LIST),
    ("a deleted group grants nothing", by("user:ben"), guard(opens("group:ghosts")), Outcome.NOT_ON_LIST),
    ("nothing is reached through it", by("user:ben"), guard(opens("group:haunted")), Outcome.NOT_ON_LIST),
    ("entry ends one minute later", ANN, guard(opens("group:hr", end=NOW + MINUTE)), Outcome.ALLOWED),
    ("entry ends now", ANN, guard(opens("group:hr", end=NOW)), Outcome.NOT_ON_LIST),
    ("everyone holds members", by("user:ben"), guard(ALL), Outcome.ALLOWED),
    ("a guest is not everyone", by("user:gus"), guard(ALL), Outcome.NOT_ON_LIST),
    ("a guest in a group is in the group", by("user:gus"), guard(HR), Outcome.ALLOWED),
    ("a service is not everyone", by("service:cron"), guard(ALL), Outcome.NOT_ON_LIST),
    ("a service by name", by("service:cron"), guard(opens("service:cron")), Outcome.ALLOWED),
    ("an agent is not everyone", by("agent:scout", "agent:scout"), guard(ALL), Outcome.NOT_ON_LIST),
    ("a disabled user", by("user:away"), guard(ALL), Outcome.UNKNOWN),
    ("a deleted user", by("user:gone"), guard(ALL), Outcome.UNKNOWN),
    ("a user nobody knows", by("user:nobody"), guard(ALL), Outcome.UNKNOWN),
    ("a group is nobody who asks", by("group:hr"), guard(HR), Outcome.UNKNOWN),
    ("deny beats allow", by("user:cory"), guard(but(ALL, "group:contractors")), Outcome.DENIED),
    (
        "deny beats an own entry",
        by("user:cory"),
        guard(but(opens("user:cory"), "group:firm")),
        Outcome.DENIED,
    ),
    ("a deny of others", ANN, guard(but(ALL, "group:contractors")), Outcome.ALLOWED),
    ("a deny of everyone is for guests too", by("user:gus"), guard(but(HR, "everyone")), Outcome.DENIED),
    ("an unmapped deny", ANN, guard(but(HR, unresolved=True)), Outcome.UNRESOLVED),
    ("a deny of a deleted group", ANN, guard(but(HR, "group:ghosts")), Outcome.UNRESOLVED),
    ("a deny of a group above it", ANN, guard(but(HR, "group:haunted")), Outcome.UNRESOLVED),
    ("a deny of an incomplete group", ANN, guard(but(HR, "group:half")), Outcome.UNRESOLVED),
    ("a deny of a group that is only named", ANN, guard(but(HR, "group:lost")), Outcome.UNRESOLVED),
    ("a deny of a deleted user", ANN, guard(but(HR, "user:gone")), Outcome.UNRESOLVED),
    ("a deny of a disabled user", ANN, guard(but(HR, "user:away")), Outcome.ALLOWED),
    ("two locks, both open", ANN, guard(HR, ALL), Outcome.ALLOWED),
    ("two locks, one shut", by("user:ben"), guard(ALL, HR), Outcome.NOT_ON_LIST),
    ("a deny in the second lock", by("user:cory"), guard(ALL, but(ALL, "user:cory")), Outcome.DENIED),
    ("unmapped in the second lock", ANN, guard(HR, but(ALL, unresolved=True)), Outcome.UNRESOLVED),
    ("clearance equals the label", ANN, guard(HR, label=CONFIDENTIAL), Outcome.ALLOWED),
    ("label above the clearance", ANN, guard(HR, label=RESTRICTED), Outcome.LABEL),
    ("no clearance", by("user:new"), guard(ALL, label=PUBLIC), Outcome.LABEL),
    ("a label that nobody knows", ANN, guard(HR, label=UNKNOWN_LABEL), Outcome.LABEL),
    ("in the compartment", ANN, guard(HR, rooms=HERON), Outcome.ALLOWED),
    ("not in the compartment", by("user:cory"), guard(ALL, rooms=HERON), Outcome.COMPARTMENT),
    ("in one compartment of two", ANN, guard(HR, rooms=HERON | {"board"}), Outcome.COMPARTMENT),
    (
        "application below the label",
        by("user:ann", "app:kiosk"),
        guard(HR, label=INTERNAL),
        Outcome.DELEGATION,
    ),
    (
        "application not in the compartment",
        by("user:ann", "app:kiosk"),
        guard(HR, rooms=HERON),
        Outcome.DELEGATION,
    ),
    (
        "application without the source",
        by("user:ann", "app:kiosk"),
        guard(HR, source="mail"),
        Outcome.DELEGATION,
    ),
    ("application within its limits", by("user:ann", "app:kiosk"), guard(HR), Outcome.ALLOWED),
    ("application's grant ends now", by("user:ann", "app:old"), guard(HR), Outcome.DELEGATION),
    ("purpose that nobody granted", by("user:ann", purpose="training"), guard(HR), Outcome.DELEGATION),
    ("action that nobody granted", by("user:ann", action="write"), guard(HR), Outcome.DELEGATION),
    ("a caller that is no application", by("user:ann", "user:ben"), guard(HR), Outcome.UNKNOWN),
    ("an agent for a person", on("d-scout", "agent:scout"), guard(HR, label=CONFIDENTIAL), Outcome.ALLOWED),
    ("an agent without a delegation", by("user:ann", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("an agent below the label", on("d-clerk", "agent:clerk"), guard(HR, label=INTERNAL), Outcome.DELEGATION),
    (
        "an agent's groups grant nothing",
        on("d-scout", "agent:scout"),
        guard(opens("group:bots")),
        Outcome.NOT_ON_LIST,
    ),
    (
        "an agent's groups are denied",
        on("d-scout", "agent:scout"),
        guard(but(HR, "group:bots")),
        Outcome.DENIED,
    ),
    ("an application is denied", ANN, guard(but(HR, "app:chat")), Outcome.DENIED),
    (
        "two agents, the first denied",
        on("d-scout-clerk", "agent:clerk"),
        guard(but(HR, "agent:scout")),
        Outcome.DENIED,
    ),
    (
        "two agents, the narrower counts",
        on("d-scout-clerk", "agent:clerk"),
        guard(HR, label=INTERNAL),
        Outcome.DELEGATION,
    ),
    ("two agents within limits", on("d-scout-clerk", "agent:clerk"), guard(HR), Outcome.ALLOWED),
    ("three agents", on("d-three", "agent:spare"), guard(HR), Outcome.ALLOWED),
    ("four agents are too many", on("d-four", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("a delegation of another agent", on("d-scout", "agent:clerk"), guard(HR), Outcome.UNKNOWN),
    ("a hop left out", on("d-skipped", "agent:clerk"), guard(HR), Outcome.UNKNOWN),
    ("another person half way", on("d-other-subject", "agent:clerk"), guard(HR), Outcome.UNKNOWN),
    ("a delegation that ends now", on("d-ended", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    (
        "a delegation narrowed by label",
        on("d-narrow", "agent:scout"),
        guard(HR, label=INTERNAL),
        Outcome.DELEGATION,
    ),
    ("a delegation narrowed by source", on("d-mail", "agent:scout"), guard(HR), Outcome.DELEGATION),
    ("a delegation of no action", on("d-nothing", "agent:scout"), guard(HR), Outcome.DELEGATION),
    ("a delegation narrowed by purpose", on("d-audit", "agent:scout"), guard(HR), Outcome.DELEGATION),
    (
        "a delegation narrowed by compartment",
        on("d-heron", "agent:scout"),
        guard(HR, rooms=HERON),
        Outcome.DELEGATION,
    ),
    ("a delegation that begins later", on("d-later", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("a delegation that begins now", on("d-now", "agent:scout"), guard(HR), Outcome.ALLOWED),
    ("a delegation made by a person", on("d-by-user", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("a delegation made by an agent", on("d-by-agent", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("a delegation to an application", on("d-to-app", "app:kiosk"), guard(HR), Outcome.UNKNOWN),
    ("a delegation to a person", on("d-to-user", "user:ben"), guard(HR), Outcome.UNKNOWN),
    ("a delegation of a later agent", on("d-clerk", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("an earlier person half way", on("d-earlier-subject", "agent:clerk"), guard(HR), Outcome.UNKNOWN),
    (
        "an agent for an earlier agent",
        by("agent:scout", "agent:clerk"),
        guard(opens("agent:scout")),
        Outcome.UNKNOWN,
    ),
    (
        "an agent for a later agent",
        by("agent:idle", "agent:clerk"),
        guard(opens("agent:idle")),
        Outcome.UNKNOWN,
    ),
    (
        "an agent without a grant",
        by("agent:idle", "agent:idle"),
        guard(opens("agent:idle")),
        Outcome.DELEGATION,
    ),
    ("through an application", by("agent:idle"), guard(opens("agent:idle")), Outcome.DELEGATION),
    ("through an earlier one", by("agent:idle", "app:first"), guard(opens("agent:idle")), Outcome.DELEGATION),
    ("an application for itself", by("app:chat", "app:chat"), guard(opens("app:chat")), Outcome.UNKNOWN),
    ("everyone is nobody who asks", by("everyone"), guard(ALL), Outcome.UNKNOWN),
    ("a delegation nobody made", on("d-none", "agent:scout"), guard(HR), Outcome.UNKNOWN),
    ("an agent for itself", by("agent:scout", "agent:scout"), guard(opens("group:bots")), Outcome.ALLOWED),
    (
        "an agent for itself has its own clearance",
        by("agent:clerk", "app:chat"),
        guard(opens("agent:clerk"), label=INTERNAL),
        Outcome.LABEL,
    ),
    ("another tenant", ANN, replace(guard(HR), tenant="globex"), Outcome.TENANT),
)


@pytest.fixture(scope="module")
def read(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ReadView, Stored, World, list[AclClass]]]:
    here, there = company(), company()
    there.name = "globex"
    there.handovers = {
        f"x-{name}": replace(x, id=f"x-{name}", parent=x.parent and f"x-{x.parent}")
        for name, x in here.handovers.items()
    }
    world = World({"acme": here, "globex": there}, [case[2] for case in CASES], [])
    stored = store(world, tmp_path_factory.mktemp("by-hand") / "w.db")
    with Views(stored.engine, lambda: Micros(NOW)).open() as view:
        yield view, stored, world, read_classes(view, stored)
    stored.engine.dispose()


@control(
    "acl:allow-list",
    "acl:deny-overrides",
    "acl:deny-everyone",
    "acl:unresolved-deny",
    "acl:all-locks",
    "acl:allow-expiry",
    "acl:label-dominance",
    "acl:label-default",
    "acl:need-to-know",
    "acl:delegation-narrows",
    "acl:application-is-hop-zero",
    "acl:empty-subject",
    "acl:everyone-is-members",
    "acl:tenant-isolation",
)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0] for case in CASES])
def test_case(number: int, read: tuple[ReadView, Stored, World, list[AclClass]]) -> None:
    view, stored, world, classes = read
    _, call, guarded, expected = CASES[number]
    engine = CasbinEngine()
    subject = read_subject(view, stored, call)
    decision = engine.decide(subject, call.action, classes[number], view.now)
    compiled = engine.compile(view, subject, call.action).classes.tolist()
    assert judge(ask(world.companies["acme"], call, NOW), guarded, NOW) is expected
    assert decision.reason.value == expected.value
    assert (classes[number].key in compiled) is (expected is Outcome.ALLOWED)
