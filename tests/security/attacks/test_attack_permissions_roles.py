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
from tests.support.ingest_home import company
from tests.support.clock import FixedClock

ADA, MAL = PrincipalId("user:ada"), PrincipalId("user:mal")
HR, WIKI = SourceKey(1), SourceKey(2)
DIRECTORY = """
tenant: acme
complete: true
users: [{{id: user:ada, kind: member}}, {{id: user:mal, kind: member}}]
groups: [{{id: group:secops, members: [{members}]}}]
applications: []
agents: [{{id: agent:bot, owner: user:mal, grant: {{actions: [read], label: Public, compartments: [], sources: ["*"], purposes: [qa], expires: 2999-01-01}}}}]
"""
ROLES = """
tenant: acme
roles:
  - {principal: user:ada, role: security_officer}
  - {principal: user:ada, role: agent_registrar}
  - {principal: group:secops, role: security_officer}
  - {principal: group:secops, role: auditor}
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
