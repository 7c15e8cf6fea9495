"""An agent acts while its owner is active, and not a moment longer than the import that says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag_acl.directory import DirectoryReport
from tests.controls import control
from tests.unit.acl.homes import GRANT, Place, new_place

OWNER = "  - {id: user:ann, kind: member, clearance: Secret%s}\n"
REST = f"""\
applications:
  - {{id: app:chat, grant: {GRANT}}}
"""
AGENTS = f"""\
agents:
  - {{id: agent:bot, owner: user:ann, clearance: Secret, grant: {GRANT}}}
"""


def load(place: Place, owner: str, agents: str = AGENTS, complete: str = "true") -> DirectoryReport:
    users = "  - {id: user:ben, kind: member}\n"
    return place.load(f"tenant: acme\ncomplete: {complete}\nusers:\n{users}{owner}{REST}{agents}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = new_place(tmp_path)
    load(made, OWNER % "")
    assert acts(made)
    return made


def acts(place: Place) -> bool:
    return bool(place.subject("agent:bot", "agent:bot").closure)


@control("acl:agents-follow-owners")
@pytest.mark.parametrize("agents", [AGENTS, ""])
@pytest.mark.parametrize("owner", [OWNER % ", state: disabled", ""])
def test_an_agent_ends_with_its_owner(place: Place, owner: str, agents: str) -> None:
    report = load(place, owner, agents)
    assert not acts(place)
    assert "agent:bot" in report.changed
    version = place.version()
    again = load(place, owner, agents)
    assert (again.changes, place.version()) == (0, version)


@control("acl:agents-follow-owners")
def test_it_comes_back_with_its_owner_and_its_own_entry(place: Place) -> None:
    load(place, OWNER % ", state: disabled")
    load(place, OWNER % "", agents="")
    assert not acts(place)
    load(place, OWNER % "")
    assert acts(place)


@control("acl:agents-follow-owners")
def test_an_owner_nobody_knows_owns_no_active_agent(place: Place) -> None:
    load(place, OWNER % "", AGENTS.replace("owner: user:ann", "owner: user:nobody"))
    assert not acts(place)


@control("acl:agents-follow-owners")
def test_a_partial_import_that_does_not_name_the_owner_changes_nothing(place: Place) -> None:
    load(place, "", "", complete="false")
    assert acts(place)
