"""Roles of the management plane: what each may, what none may for herself, and what breaks closed."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.revocations import revoke
from secure_rag.database.views import ReadView
from secure_rag.errors import AuthenticationError, ConfigError, PolicyError
from secure_rag.model.ids import Micros, PrincipalId, SourceKey, TenantKey
from secure_rag_acl import management as m
from secure_rag_acl.management import Action, ManagementPolicy, Manager, Role
from secure_rag_acl.role_files import RolesReport, import_roles
from tests.controls import control
from tests.unit.acl.homes import Place, new_place

ADA, BEN = PrincipalId("user:ada"), PrincipalId("user:ben")
HR, WIKI = SourceKey(1), SourceKey(2)
DIRECTORY = """\
tenant: acme
complete: true
users:
  - {id: user:ada, kind: member}
  - {id: user:ben, kind: member}
  - {id: user:off, kind: member, state: disabled}
groups:
  - {id: group:secops, members: [group:night-shift]}
  - {id: group:night-shift, members: [user:ben]}
"""


@pytest.fixture(scope="module")
def policy() -> ManagementPolicy:
    return ManagementPolicy()


def who(*roles: tuple[Role, SourceKey | None], name: PrincipalId = ADA) -> Manager:
    return Manager(name, frozenset(roles))


# Decided by hand: role, action, about a source of her own, may.
TABLE = (
    (Role.DATA_OWNER, Action.MAPPING_APPLY, True),
    (Role.DATA_OWNER, Action.EXPLAIN, True),
    (Role.DATA_OWNER, Action.MEMBERS_EXPAND, False),
    (Role.DATA_OWNER, Action.ACT_AS, False),
    (Role.DATA_OWNER, Action.LABELS_APPLY, False),
    (Role.DATA_OWNER, Action.INGEST_RUN, False),
    (Role.DATA_OWNER, Action.AUDIT_READ, False),
    (Role.DATA_OWNER, Action.ROLES_ASSIGN, False),
    (Role.AUDITOR, Action.AUDIT_READ, True),
    (Role.AUDITOR, Action.EXPLAIN, True),
    (Role.AUDITOR, Action.ACT_AS, True),
    (Role.AUDITOR, Action.MAPPING_APPLY, False),
    (Role.AUDITOR, Action.REVOKE, False),
    (Role.AUDITOR, Action.QUARANTINE_REVIEW, False),
    (Role.INGESTION_ENGINEER, Action.INGEST_RUN, True),
    (Role.INGESTION_ENGINEER, Action.MAPPING_APPLY, False),
    (Role.INGESTION_ENGINEER, Action.EXPLAIN, False),
    (Role.AGENT_REGISTRAR, Action.DIRECTORY_IMPORT, True),
    (Role.AGENT_REGISTRAR, Action.DELEGATIONS_MANAGE, True),
    (Role.AGENT_REGISTRAR, Action.REVOKE, False),
    (Role.SECURITY_OFFICER, Action.REVOKE, True),
    (Role.SECURITY_OFFICER, Action.ROLES_ASSIGN, True),
    (Role.SECURITY_OFFICER, Action.MAPPING_APPLY, False),
    (Role.SECURITY_OFFICER, Action.INGEST_RUN, False),
)


@control("ops:roles")
@pytest.mark.parametrize(("role", "action", "may"), TABLE)
def test_what_each_role_may(policy: ManagementPolicy, role: Role, action: Action, may: bool) -> None:
    assert policy.may(who((role, HR)), action, HR) is may
    assert policy.may(who((role, None)), action, HR) is may


@control("ops:roles")
@pytest.mark.parametrize("action", list(Action))
def test_a_role_for_one_source_is_none_for_another(policy: ManagementPolicy, action: Action) -> None:
    for role in Role:
        assert not policy.may(who((role, HR)), action, WIKI)
        assert not policy.may(who((role, HR)), action)
    assert not policy.may(who(), action, HR)


@control("ops:separation-of-duties")
def test_an_auditor_never_edits_whatever_else_she_is(policy: ManagementPolicy) -> None:
    edits = (
        Action.MAPPING_EDIT,
        Action.MAPPING_PLAN,
        Action.MAPPING_APPLY,
        Action.MAPPING_APPROVE,
        Action.LABELS_PLAN,
        Action.LABELS_APPLY,
        Action.LABELS_APPROVE,
        Action.DIRECTORY_IMPORT,
        Action.ROLES_ASSIGN,
        Action.INGEST_RUN,
        Action.QUARANTINE_REVIEW,
    )
    able = 0
    for action in edits:
        every = {(role, None) for role in Role}
        assert not policy.may(who(*every), action, HR, BEN)
        able += policy.may(who(*(every - {(Role.AUDITOR, None)})), action, HR, BEN)
    assert able == len(edits)


@control("ops:separation-of-duties")
@pytest.mark.parametrize("action", [Action.MAPPING_APPROVE, Action.LABELS_APPROVE, Action.REVOKE_LIFT])
def test_nobody_approves_her_own(policy: ManagementPolicy, action: Action) -> None:
    for role, source in itertools.product((Role.DATA_OWNER, Role.SECURITY_OFFICER), (HR, None)):
        assert not policy.may(who((role, source)), action, HR, ADA)
        # Without an author nobody knows that it is somebody else's.
        assert not policy.may(who((role, source)), action, HR)
    assert policy.may(who((Role.SECURITY_OFFICER, None)), action, HR, BEN)


@control("ops:roles")
def test_an_error_inside_denies(policy: ManagementPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    able = who((Role.SECURITY_OFFICER, None))
    assert policy.may(able, Action.REVOKE, HR)
    monkeypatch.setattr(able.__class__, "roles", 7)
    assert not policy.may(able, Action.REVOKE, HR)


@control("ops:roles")
@pytest.mark.parametrize(
    "row",
    [
        "p, revoke, security_officer, always",
        "p, revoke, security_officer, always, DENY",
        "p, revoke, security_officers, always, allow",
        "p, revokes, security_officer, always, allow",
        "p, revoke, security_officer, sometimes, allow",
        "p, revoke, security_officer, , allow",
        "g, revoke, security_officer, always, allow",
        "p, revoke, auditor, always, deny\np, revoke, auditor, always, deny",
        "",
    ],
)
def test_malformed_rows_are_refused(row: str) -> None:
    with pytest.raises(PolicyError):
        m.parse_rows(row)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return new_place(tmp_path)


@pytest.fixture
def tenant(place: Place) -> TenantKey:
    place.load(DIRECTORY)
    with write(place.engine) as connection:
        key = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
        for name in ("hr", "wiki"):
            connection.execute(
                sa.insert(t.source).values(
                    tenant_id=key, name=name, kind="filesystem", trust="internal", max_acl_age=1, manifest=""
                )
            )
    return TenantKey(key)


def load(place: Place, path: Path, text: str, actor: PrincipalId = ADA) -> RolesReport:
    place.now += 1
    path.write_text(text, encoding="utf-8")
    return import_roles(
        place.engine, path, actor=actor, now=Micros(place.now), view_of=ReadView, policy=ManagementPolicy()
    )


def may(place: Place, tenant: TenantKey, name: PrincipalId, action: Action, source: SourceKey | None) -> bool:
    with place.engine.connect() as connection:
        view = ReadView(connection, Micros(place.now))
        return ManagementPolicy().may(m.manager(view, tenant, name), action, source)


ROLES = """\
tenant: acme
roles:
  - {principal: user:ada, role: security_officer}
  - {principal: group:secops, role: data_owner, source: hr}
  - {principal: user:off, role: ingestion_engineer}
"""


@control("ops:roles")
def test_roles_come_from_the_file_through_groups_and_only_for_the_active(
    place: Place, tenant: TenantKey, tmp_path: Path
) -> None:
    assert may(place, tenant, PrincipalId("user:nobody-yet"), Action.MAPPING_APPLY, HR)
    report = load(place, tmp_path / "roles.yaml", ROLES)
    assert (report.begun, report.ended) == (3, 0)
    assert may(place, tenant, BEN, Action.MAPPING_APPLY, HR)
    assert not may(place, tenant, BEN, Action.MAPPING_APPLY, WIKI)
    assert not may(place, tenant, PrincipalId("user:off"), Action.INGEST_RUN, HR)
    assert not may(place, tenant, PrincipalId("user:nobody-yet"), Action.MAPPING_APPLY, HR)
    again = load(place, tmp_path / "roles.yaml", ROLES)
    assert (again.begun, again.ended) == (0, 0)
    fewer = load(place, tmp_path / "roles.yaml", "\n".join(ROLES.splitlines()[:3]))
    assert (fewer.begun, fewer.ended) == (0, 2)
    assert not may(place, tenant, BEN, Action.MAPPING_APPLY, HR)


@control("ops:roles")
@pytest.mark.parametrize(
    ("revoked", "manages"), [("user:ben", False), ("group:night-shift", True), ("everyone", True)]
)
def test_who_is_revoked_by_name_manages_nothing(
    place: Place, tenant: TenantKey, tmp_path: Path, revoked: str, manages: bool
) -> None:
    load(place, tmp_path / "roles.yaml", ROLES)
    assert may(place, tenant, BEN, Action.MAPPING_APPLY, HR)
    with write(place.engine) as connection:
        revoke(
            connection,
            tenant,
            principal=PrincipalId(revoked),
            source=None,
            document=None,
            by=ADA,
            reason="",
            now=Micros(place.now),
        )
    assert may(place, tenant, BEN, Action.MAPPING_APPLY, HR) is manages
    assert may(place, tenant, ADA, Action.REVOKE, HR)


@control("ops:roles")
def test_roles_that_were_once_assigned_never_fall_back_to_everybody(
    place: Place, tenant: TenantKey, tmp_path: Path
) -> None:
    load(place, tmp_path / "roles.yaml", ROLES)
    with write(place.engine) as connection:
        connection.execute(sa.update(t.role_assignment).values(valid_to=place.now))
    for action in Action:
        assert not may(place, tenant, ADA, action, HR)


@control("ops:roles")
@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{principal: user:ada, role: data_owner}", "nobody could assign"),
        ("{principal: user:off, role: security_officer}", "nobody could assign"),
        ("{principal: user:nobody, role: security_officer}", "the directory has no user:nobody"),
        ("{principal: user:ada, role: security_officer, source: pay}", "no source 'pay'"),
        ("{principal: agent:bot, role: security_officer}", "held by user"),
        ("{principal: user:ada, role: root}", "not a role"),
    ],
)
def test_files_that_would_lock_everybody_out_or_name_nobody_are_refused(
    place: Place, tenant: TenantKey, tmp_path: Path, line: str, error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        load(place, tmp_path / "roles.yaml", f"tenant: acme\nroles:\n  - {line}\n")
    assert may(place, tenant, BEN, Action.ROLES_ASSIGN, None)


@control("ops:roles")
def test_only_who_may_assign_roles_does(place: Place, tenant: TenantKey, tmp_path: Path) -> None:
    load(place, tmp_path / "roles.yaml", ROLES)
    with pytest.raises(AuthenticationError, match=r"needs security_officer"):
        load(place, tmp_path / "roles.yaml", ROLES, BEN)
