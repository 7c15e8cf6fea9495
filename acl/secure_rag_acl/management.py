"""Who may manage what: roles of the management plane, decided by a packaged Casbin model of its own.

Invariants
- A person acts with the roles that she holds in the view, directly or through groups, and only while she is active;
  agents and applications hold none.
- A deny of one role beats every allow of another: an auditor never edits, whatever else she is.
- Nobody approves her own plan or lifts her own revocation.
- Until somebody is given a role for the first time, operators of the home hold all of them; never again after that.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TYPE_CHECKING, Final

import structlog

from secure_rag.database.subjects import DELEGATING_KINDS
from secure_rag.errors import AuthenticationError, PolicyError
from secure_rag.model.ids import PrincipalId, SourceKey, TenantKey
from secure_rag_acl.enforcer import parsed_once

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

_log = structlog.get_logger(__name__)
_ARITY: Final = 5


class NotPermittedError(AuthenticationError):
    """Somebody's roles do not allow an act. `action` says which."""

    def __init__(self, action: Action, message: str) -> None:
        super().__init__(message)
        self.action = action


class Role(StrEnum):
    """What somebody is for in managing the gate."""

    DATA_OWNER = "data_owner"
    AUDITOR = "auditor"
    INGESTION_ENGINEER = "ingestion_engineer"
    AGENT_REGISTRAR = "agent_registrar"
    SECURITY_OFFICER = "security_officer"


class Action(StrEnum):
    """What can be managed. A source narrows it where there is one."""

    MAPPING_EDIT = "mapping.edit"
    MAPPING_PLAN = "mapping.plan"
    MAPPING_APPLY = "mapping.apply"
    MAPPING_APPROVE = "mapping.approve"
    LABELS_PLAN = "labels.plan"
    LABELS_APPLY = "labels.apply"
    LABELS_APPROVE = "labels.approve"
    POLICY_READ = "policy.read"
    EXPLAIN = "explain"
    MEMBERS_EXPAND = "members.expand"
    ACT_AS = "act_as"
    REVOKE = "revoke"
    REVOKE_LIFT = "revoke.lift"
    INGEST_RUN = "ingest.run"
    RUNS_READ = "runs.read"
    DIRECTORY_IMPORT = "directory.import"
    ROLES_ASSIGN = "roles.assign"
    DELEGATIONS_MANAGE = "delegations.manage"
    QUARANTINE_REVIEW = "quarantine.review"
    AUDIT_READ = "audit.read"


_BOOTSTRAP: Final = frozenset((role, None) for role in Role if role is not Role.AUDITOR)
"""Of operators while nobody was ever given a role; the auditor's denies would take the others' rights away."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Who manages, as read in one view.

    Attributes:
        roles: each with the source it is limited to; None is every source of the tenant.
    """

    principal: PrincipalId
    roles: frozenset[tuple[Role, SourceKey | None]]


@dataclass(frozen=True, slots=True)
class Target:
    """What is managed.

    Attributes:
        source: None when the action is not about one source.
        author: who proposed it, for actions that must be somebody else's.
        by: who manages.
    """

    source: SourceKey | None = None
    author: PrincipalId | None = None
    by: PrincipalId | None = None


def manager(view: ReadView, tenant: TenantKey, principal: PrincipalId) -> Manager:
    """The roles of an authenticated principal.

    Who is unknown, inactive or revoked has none, and so have agents and applications, whatever groups they are in.
    While a restored home does not know its directory yet, groups are those of the backup: only who imports
    directories may act.
    """
    if not view.roles_were_assigned(tenant):
        return Manager(principal, _BOOTSTRAP)
    row = view.principal(tenant, principal)
    if row is None or not row.active or row.kind not in DELEGATING_KINDS:
        return Manager(principal, frozenset())
    if view.cut_off(tenant, row.key):
        return Manager(principal, frozenset())
    held = view.role_assignments(tenant, view.closure(tenant, row.key))
    roles = frozenset((Role(role), source) for role, source in held)
    if not view.directory_known(tenant):
        roles = frozenset(x for x in roles if x[0] is Role.AGENT_REGISTRAR)
    return Manager(principal, roles)


def holds(role: str, effect: str, roles: Collection[tuple[str, SourceKey | None]], target: object) -> bool:
    """Whether a role is held for the source at stake; a role that is limited to a source holds for no other.

    What is about no single source reaches into all of them, so that a deny of a role for any source holds for it.
    """
    if not isinstance(target, Target) or not role:
        return False
    everywhere = effect == "deny" and target.source is None
    return any(held == role and (everywhere or source in (None, target.source)) for held, source in roles)


def condition(name: str, target: object) -> bool:
    """`always`, `own_source` (there is a source, `holds` compares it), `not_author`, or the last two together.

    Raises:
        PolicyError: a policy row names another condition.
    """
    if not isinstance(target, Target) or name == "":
        return False
    other = target.author is not None and target.by is not None and target.author != target.by
    checks = {
        "always": True,
        "own_source": target.source is not None,
        "not_author": other,
        "own_source_not_author": target.source is not None and other,
    }
    if name not in checks:
        raise PolicyError(f"a policy row names an unknown condition: {name!r}")
    return checks[name]


class ManagementPolicy:
    """Decides about management. Thread-safe."""

    def __init__(self) -> None:
        """Load the packaged model and rows.

        Raises:
            PolicyError: a file is missing or malformed.
        """
        folder = resources.files("secure_rag_acl") / "data"
        try:
            model = (folder / "management.conf").read_bytes()
            rows = (folder / "management_policy.csv").read_bytes()
        except OSError as error:
            raise PolicyError("the packaged management policy cannot be read") from error
        self._digest = hashlib.sha256(
            hashlib.sha256(model).digest() + hashlib.sha256(rows).digest()
        ).hexdigest()
        self._rows = parse_rows(rows.decode("utf-8"))
        self._enforcer = parsed_once(model.decode("utf-8"), self._rows, (holds, condition))

    @property
    def digest(self) -> str:
        """SHA-256 of the packaged model and rows."""
        return self._digest

    def may(
        self, who: Manager, action: Action, source: SourceKey | None = None, author: str | None = None
    ) -> bool:
        """Whether somebody may do something. Whatever fails inside denies.

        Args:
            who: with roles as read in the view.
            action: what.
            source: whose; None when it is not about one source.
            author: principal who proposed it.
        """
        target = Target(source, None if author is None else PrincipalId(author), who.principal)
        try:
            allowed, row = self._enforcer.enforce_ex(action.value, who.roles, target)
        except Exception as error:  # noqa: BLE001 -- whatever goes wrong inside an evaluation must deny
            _log.error("management_evaluation_failed", error=type(error).__name__, action=action.value)
            return False
        return allowed is True and bool(row) and row[-1] == "allow"

    def require(
        self, who: Manager, action: Action, source: SourceKey | None = None, author: str | None = None
    ) -> None:
        """Let nobody past who may not.

        Raises:
            NotPermittedError: names the roles that may, never what they would see.
        """
        if self.may(who, action, source, author):
            return
        able = sorted({row[1] for row in self._rows if row[0] == action.value and row[3] == "allow"})
        other = ", and not the author" if author == who.principal else ""
        raise NotPermittedError(
            action, f"{who.principal} may not {action.value}: that needs {' or '.join(able)}{other}"
        )


def parse_rows(text: str) -> tuple[tuple[str, str, str, str], ...]:
    """Rows of the management policy, `p, action, role, condition, effect`.

    Raises:
        PolicyError: a line of another form, an unknown action, role, condition or effect, or no line at all.
    """
    rows: list[tuple[str, str, str, str]] = []
    for fields in csv.reader(io.StringIO(text), skipinitialspace=True):
        if not fields:
            continue
        if len(fields) != _ARITY or fields[0] != "p":
            raise PolicyError(f"not a policy row: {fields}")
        _, action, role, name, effect = fields
        # Casbin ignores a misspelt deny without a word, which would open what the row was to close.
        if action not in set(Action) or role not in set(Role) or effect not in ("allow", "deny"):
            raise PolicyError(f"a policy row with an unknown action, role or effect: {fields}")
        condition(name, Target())
        if not name:
            raise PolicyError(f"a policy row without a condition: {fields}")
        rows.append((action, role, name, effect))
    if not rows or len(set(rows)) != len(rows):
        raise PolicyError("the management policy has no rows, or one twice")
    return tuple(rows)
