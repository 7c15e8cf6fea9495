"""Roles of the management plane that outlive a restore, or that a narrower role was to take away."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.database.backup import back_up, restore
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag.database.views import ReadView, Views
from secure_rag.model.ids import Micros, PrincipalId, SourceKey
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.management import Action, ManagementPolicy, Manager, Role, manager
from secure_rag_acl.role_files import import_roles
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.ingest_home import company

ADA, MAL = PrincipalId("user:ada"), PrincipalId("user:mal")
HR, WIKI = SourceKey(1), SourceKey(2)
DIRECTORY = """
tenant: acme
complete: true
users: [{{id: user:ada, kind: member}}, {{id: user:mal, kind: member}}]
groups: [{{id: group:secops, members: [{members}]}}]
applications: []
agents:
  - id: agent:bot
    owner: user:mal
    grant:
      {{actions: [read], label: Public, compartments: [], sources: ["*"], purposes: [qa], expires: 2999-01-01}}
"""
ROLES = """
tenant: acme
roles:
  - {principal: user:ada, role: security_officer}
  - {principal: user:ada, role: agent_registrar}
  - {principal: group:secops, role: security_officer}
"""


@control("ops:separation-of-duties")
@pytest.mark.parametrize(
    "action", [Action.LABELS_APPLY, Action.LABELS_PLAN, Action.ROLES_ASSIGN, Action.LABELS_APPROVE]
)
def test_an_auditor_of_one_source_changes_nothing_that_reaches_into_it(action: Action) -> None:
    officer = (Role.SECURITY_OFFICER, None)
    policy = ManagementPolicy()
    assert policy.may(Manager(ADA, frozenset({officer})), action, None, MAL)
    assert not policy.may(Manager(ADA, frozenset({officer, (Role.AUDITOR, HR)})), action, None, MAL)
    # For another source she is no auditor.
    both = Manager(ADA, frozenset({(Role.DATA_OWNER, WIKI), (Role.AUDITOR, HR)}))
    assert policy.may(both, Action.MAPPING_APPLY, WIKI)
    assert not policy.may(both, Action.MAPPING_APPLY, HR)


@control("ops:separation-of-duties")
@pytest.mark.parametrize("action", [Action.REVOKE, Action.REVOKE_LIFT, Action.DELEGATIONS_MANAGE])
@pytest.mark.parametrize("source", [None, HR])
def test_an_auditor_takes_and_gives_no_access(action: Action, source: SourceKey | None) -> None:
    policy = ManagementPolicy()
    others = frozenset((role, None) for role in Role if role is not Role.AUDITOR)
    assert policy.may(Manager(ADA, others), action, source, MAL)
    assert not policy.may(Manager(ADA, others | {(Role.AUDITOR, HR)}), action, source, MAL)


def imported(home: Path, members: str, now: int) -> None:
    engine = open_engine(Home(home).control)
    document = parse_directory(DIRECTORY.format(members=members).encode(), "directory.yaml")
    import_directory(engine, document, actor="user:op", now=Micros(now))
    engine.dispose()


def able(home: Path, who: PrincipalId, now: int) -> set[Action]:
    engine = open_engine(Home(home).control)
    try:
        with Views(engine, lambda: Micros(now)).open() as view:
            tenant = view.tenant_key("acme")
            assert tenant is not None
            held, policy = manager(view, tenant, who), ManagementPolicy()
            return {x for x in Action if policy.may(held, x, None, "user:other")}
    finally:
        engine.dispose()


@control("ops:roles")
def test_who_left_the_officers_since_the_backup_is_none_after_a_restore(tmp_path: Path) -> None:
    clock = FixedClock()
    with company(tmp_path, clock=clock) as world:
        home, operator = world.root, PrincipalId("user:operator")
        imported(home, "user:mal", clock.at + 1)
        roles = tmp_path / "roles.yaml"
        roles.write_text(ROLES, encoding="utf-8")
        import_roles(
            world.opened.engine, roles, actor=operator, now=Micros(clock.at + 2), view_of=ReadView,
            policy=ManagementPolicy(),
        )  # fmt: skip
        assert Action.ROLES_ASSIGN in able(home, MAL, clock.at + 3)
        back_up(world.opened.home, tmp_path / "backup", Micros(clock.at + 3))
        imported(home, "user:ada", clock.at + 4)
        assert able(home, MAL, clock.at + 5) == set()
    again = tmp_path / "again"
    restore(tmp_path / "backup", Home(again), Micros(clock.at + 10))
    assert able(again, MAL, clock.at + 11) == set()
    # Whoever imports directories can still do that, and what nobody is served by until it is done.
    assert able(again, ADA, clock.at + 11) == {Action.DIRECTORY_IMPORT, Action.DELEGATIONS_MANAGE}
    imported(again, "user:ada", clock.at + 12)
    assert able(again, MAL, clock.at + 13) == set()
    assert Action.ROLES_ASSIGN in able(again, ADA, clock.at + 13)


@control("ops:roles")
def test_an_agent_holds_no_role_through_a_group(tmp_path: Path) -> None:
    clock = FixedClock()
    with company(tmp_path, clock=clock) as world:
        imported(world.root, "user:mal, agent:bot", clock.at + 1)
        roles = tmp_path / "roles.yaml"
        roles.write_text(ROLES, encoding="utf-8")
        import_roles(
            world.opened.engine, roles, actor=PrincipalId("user:operator"), now=Micros(clock.at + 2),
            view_of=ReadView, policy=ManagementPolicy(),
        )  # fmt: skip
        assert able(world.root, MAL, clock.at + 3)
        assert able(world.root, PrincipalId("agent:bot"), clock.at + 3) == set()
