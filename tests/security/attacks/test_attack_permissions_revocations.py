"""Revocations that something other than the source or the directory would end, and roles that come back."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation
from secure_rag.database.engine import write
from secure_rag.database.subjects import SubjectReader
from secure_rag.model.ids import NEVER, PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_api.permission_syncing import sync_source
from secure_rag_api.revoking import revoke
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.ingest_home import DIRECTORY, STAFF, Source, World, company

OPERATOR = PrincipalId("user:operator")
NOBODY = [{"path": "**", "allow": [], "label": "Internal"}]
QUERY = "valve opens at nine bar"
GRANT = {
    "actions": ["read"],
    "label": "Restricted",
    "compartments": [],
    "sources": ["*"],
    "purposes": ["qa"],
    "expires": "2999-01-01",
}


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Generator[World]:
    with company(tmp_path, clock=clock) as found:
        yield found


@pytest.fixture
def hr(world: World) -> Source:
    """A source whose document nobody is let in to yet."""
    source = Source(world.base, "hr", rules=list(NOBODY))
    source.write("a.txt", "The valve opens at nine bar.")
    world.run(source)
    return source


def cut(world: World, principal: str, document: str) -> None:
    revoke(
        world.opened,
        "acme",
        OPERATOR,
        principal=PrincipalId(principal),
        source=None,
        document=document,
        reason="leaves",
    )


def synced(world: World, source: Source) -> str:
    source.save()
    return sync_source(world.opened, source.manifest, OPERATOR, lambda _: None).status.value


def nobody_but(world: World, who: str) -> None:
    """Somebody reads the document by the entry that would let Ann in too, and she does not."""
    assert "hr/a.txt" in world.ask(who, QUERY)
    assert "hr/a.txt" not in world.ask("user:ann", QUERY)


def directory(world: World, content: Mapping[str, object] | None = None) -> None:
    parsed = parse_directory(yaml.safe_dump(content or DIRECTORY).encode(), "directory.yaml")
    import_directory(world.opened.engine, parsed, actor="user:operator", now=world.opened.clock.now())


def delegated(world: World) -> str:
    """The chat lets the agent act for Ann."""
    with write(world.opened.engine) as connection:
        tenant = SubjectReader(connection, world.opened.clock.now()).tenant_key("acme")
        assert tenant is not None
        return create_delegation(
            connection,
            tenant,
            creator=PrincipalId("app:chat"),
            agent=PrincipalId("agent:bot"),
            subject=PrincipalId("user:ann"),
            parent=None,
            limits=Limits(),
            now=world.opened.clock.now(),
            expires=NEVER,
        )


@control("acl:revocation-folded")
@pytest.mark.parametrize("event", ["run of another source", "sync of another source", "directory"])
def test_what_has_not_read_the_source_since_ends_no_revocation_of_its_document(
    world: World, hr: Source, clock: FixedClock, event: str
) -> None:
    other = Source(world.base, "wiki")
    other.write("b.txt", "A pump.")
    clock.at += 1_000
    # At the source Ann is let in, which the index does not know yet; the officer does, and cuts her off.
    hr.rules = list(STAFF)
    cut(world, "user:ann", "hr/a.txt")
    clock.at += 1_000
    if event == "directory":
        directory(world)
    else:
        world.run(other)
        clock.at += 1_000
        if event == "sync of another source":
            assert synced(world, other) == "completed"
    clock.at += 1_000
    world.run(hr)
    nobody_but(world, "user:cleo")


@control("acl:revocation-folded")
@pytest.mark.parametrize("reading", ["run", "sync"])
def test_a_run_that_could_not_read_the_permissions_ends_no_revocation(
    world: World, hr: Source, clock: FixedClock, reading: str
) -> None:
    clock.at += 1_000
    hr.rules = list(STAFF)
    cut(world, "user:ann", "hr/a.txt")
    clock.at += 1_000
    broken = hr.write("a.txt.acl.yaml", "locks: [")
    if reading == "run":
        assert world.run(hr).report.status.value == "completed"
    else:
        assert synced(world, hr) == "completed"
    assert world.state("hr/a.txt") == "withheld"
    broken.unlink()
    clock.at += 1_000
    world.run(hr)
    nobody_but(world, "user:cleo")


@control("acl:revocation-folded")
def test_a_document_that_is_gone_for_a_while_comes_back_revoked(
    world: World, hr: Source, clock: FixedClock
) -> None:
    hr.rules = list(STAFF)
    world.run(hr)
    hr.rules = list(NOBODY)
    world.run(hr)
    clock.at += 1_000
    cut(world, "user:ann", "hr/a.txt")
    (hr.folder / "a.txt").unlink()
    hr.rules = list(STAFF)
    clock.at += 1_000
    world.run(hr)
    clock.at += 1_000
    hr.write("a.txt", "The valve opens at nine bar.")
    world.run(hr)
    nobody_but(world, "user:cleo")


@control("acl:revocation-folded")
@pytest.mark.parametrize("reading", ["run", "sync", "directory"])
def test_a_sync_does_not_give_a_revoked_agent_its_document_back(
    world: World, hr: Source, clock: FixedClock, reading: str
) -> None:
    agent = {"id": "agent:bot", "owner": "user:ann", "clearance": "Restricted", "grant": GRANT}
    content = {**DIRECTORY, "agents": [agent]}
    directory(world, content)
    hr.rules = list(STAFF)
    world.run(hr)
    made = delegated(world)
    calling = CallerIdentity("acme", PrincipalId("agent:bot"), None, made)

    def asked() -> int:
        return len(world.opened.retrieval.retrieve(calling, RetrievalRequest(query=QUERY, k=5)).results)

    assert asked() == 1
    cut(world, "agent:bot", "hr/a.txt")
    assert asked() == 0
    clock.at += 1_000
    if reading == "directory":
        directory(world, content)
    elif reading == "run":
        world.run(hr)
    else:
        assert synced(world, hr) == "completed"
    assert asked() == 0


@control("acl:revocation-folded")
@pytest.mark.parametrize("lists", [{"allow": ["Team"]}, {"allow": ["group:staff"], "deny": ["Team"]}])
def test_a_name_that_means_nobody_for_a_while_ends_no_revocation(
    world: World, hr: Source, clock: FixedClock, lists: dict[str, object]
) -> None:
    hr.rules = [{"path": "**", **lists, "label": "Internal"}]
    who = "group:contractors" if "deny" in lists else "group:staff"
    hr.principals = [{"native": "Team", "principal": who}]
    world.run(hr)
    assert world.ask("user:ann", QUERY) == {"hr/a.txt"}
    clock.at += 1_000
    cut(world, "user:ann", "hr/a.txt")
    clock.at += 1_000
    # The line is lost, and found again; the source never changed.
    lines, hr.principals = hr.principals, []
    world.run(hr)
    hr.principals = lines
    clock.at += 1_000
    world.run(hr)
    nobody_but(world, "user:cleo")


@control("acl:revocation-folded")
@pytest.mark.parametrize("effect", ["allow", "deny"])
def test_a_membership_that_begins_or_ends_by_time_ends_no_revocation(
    world: World, hr: Source, clock: FixedClock, effect: str
) -> None:
    later = "1971-11-28T00:00:00Z"
    member = {"id": "user:ann", "valid_from" if effect == "allow" else "valid_to": later}
    groups = [*DIRECTORY["groups"], {"id": "group:shift", "members": [member, "user:ben"]}]  # type: ignore[misc]  # plain data
    directory(world, {**DIRECTORY, "groups": groups})
    lists = {"allow": ["group:shift", "user:cleo"]}
    if effect == "deny":
        lists = {"allow": ["group:staff"], "deny": ["group:shift"]}
    hr.rules = [{"path": "**", **lists, "label": "Internal"}]
    clock.at += 1_000
    cut(world, "user:ann", "hr/a.txt")
    clock.at += 1_000
    world.run(hr)
    clock.at += 5 * 86_400_000_000
    world.run(hr)
    nobody_but(world, "user:cleo")


@control("acl:revocation")
@pytest.mark.parametrize("restored", [False, True])
def test_a_directory_import_with_a_clock_set_back_ends_no_revocation(
    world: World, hr: Source, clock: FixedClock, restored: bool
) -> None:
    hr.rules = list(STAFF)
    world.run(hr)
    clock.at += 200_000_000
    cut(world, "user:ann", "hr/a.txt")
    assert world.ask("user:ann", QUERY) == set()
    clock.at -= 200_000_000
    if restored:
        with write(world.opened.engine) as connection:
            connection.execute(sa.update(t.tenant).values(directory_as_of=0))
    directory(world)
    nobody_but(world, "user:cleo")
