"""Approving and applying plans.

Invariants
- The effect is computed anew under the write lock; a gain that the plan does not have stops everything.
- A plan is for one base version, until one instant, applied once; an approval is for one digest, by somebody else.
- Documents, versions and the mark that the plan was applied are one transaction, on record before it is committed.
- No run of a source that the plan is about is going on meanwhile: it would bring the older permissions back.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from secure_rag.database import statements as q
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.views import ReadView
from secure_rag.errors import AuthenticationError, PolicyError
from secure_rag.model.ids import Micros, PrincipalId, SourceKey, TenantKey
from secure_rag_acl.effect import excess
from secure_rag_acl.known_names import read_known_names
from secure_rag_acl.labels import replace_labels
from secure_rag_acl.management import manager
from secure_rag_acl.plan_store import Plan, approve_plan, approvers, find_plan, mark_applied
from secure_rag_acl.policy_files import source_of, store
from secure_rag_api.access_testing import stored_failures
from secure_rag_api.change_control import registered, take_over
from secure_rag_api.ingesting import locked_source
from secure_rag_api.plan_report import approval_reasons
from secure_rag_api.planning import APPLY, APPROVE, Base, action, base_of, manifest_of
from secure_rag_api.prospects import Change, Prospect, prospect
from secure_rag_ingestion.repointing import repoint
from secure_rag_ingestion.sources import lower_confirmation

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a plan wrote."""

    plan: str
    scope: str
    version: int
    repointed: int
    withheld: int
    author: str
    approver: str | None
    applied_by: str


def approve(opened: Installation, plan_id: str, approver: PrincipalId) -> Plan:
    """Approve a plan as it is.

    Raises:
        NotFoundError: there is no such plan.
        PolicyError: it cannot be applied any more.
        AuthenticationError: the approver may not, or is the author.
        UnavailableError: a database could not be written.
    """
    with write(opened.engine) as connection:
        now = _now(opened, connection)
        plan = find_plan(connection, plan_id)
        _require(opened, connection, plan, approver, APPROVE, now)
        _check_open(connection, plan, _tenant_name(connection, plan.tenant), now)
        body = {"by": approver, "plan": plan.id, "digest": plan.digest, "author": plan.author}
        name = _tenant_name(connection, plan.tenant)
        opened.audit.record(name, "access_plan_approved", opened.new_id(), body)
        approve_plan(connection, plan, approver, now)
    return plan


def apply_plan(opened: Installation, plan_id: str, actor: PrincipalId) -> Applied:
    """Make a plan true.

    Raises:
        NotFoundError: there is no such plan.
        PolicyError: it expired, was applied, its base moved, it lacks a gain, or an access test fails.
        AuthenticationError: the actor may not, or an approval is missing.
        ConfigError: a file at the source is wrong.
        UnavailableError: a run of the source is going on, or a database could not be written.
    """
    with opened.reader.connect() as connection, connection.begin():
        plan = find_plan(connection, plan_id)
        tenant_name = _tenant_name(connection, plan.tenant)
        sources = _sources(connection, plan)
    with ExitStack() as locks:
        for name in sources:
            locks.enter_context(locked_source(opened, tenant_name, name))
        with write(opened.engine) as connection:
            done = _Applying(opened, connection, find_plan(connection, plan_id), tenant_name, actor).apply()
    opened.documents_changed()
    return done


@dataclass
class _Applying:
    opened: Installation
    connection: sa.Connection
    plan: Plan
    tenant_name: str
    actor: PrincipalId

    def apply(self) -> Applied:
        connection, plan = self.connection, self.plan
        now = _now(self.opened, connection)
        _require(self.opened, connection, plan, self.actor, APPLY, now)
        base = _check_open(connection, plan, self.tenant_name, now)
        change = Change(plan.draft.scope, plan.draft.bundle, base.next_version(plan.draft.bundle))
        found = prospect(connection, plan.tenant, self.tenant_name, change, now)
        self._refuse_excess(found)
        approver = self._approver(found, now)
        self._write_policy(found, base, now)
        written = [repoint(connection, x.tagger, x.tagged, x.confirmed_at, now) for x in found.sources]
        for x in found.sources:
            lower_confirmation(connection, x.source.key, x.confirmed_at)
        version = self._store_version(base, approver, now)
        self._run_tests(now)
        mark_applied(connection, plan, now)
        done = Applied(
            plan.id,
            plan.draft.scope,
            version,
            sum(x.repointed for x in written),
            sum(x.withheld for x in written),
            plan.author,
            approver,
            self.actor,
        )
        self._record(done, found)
        return done

    def _refuse_excess(self, found: Prospect) -> None:
        beyond = list(islice(excess(self.plan.draft.gains, found.effect.gains), _SHOWN))
        if beyond:
            some = "; ".join(
                f"{x.principal} would gain {len(x.documents)}, for example {found.effect.names[x.documents[0]]}"
                for x in beyond
            )
            raise PolicyError(
                f"plan {self.plan.id} does not have these gains, so nothing was changed: {some}"
            )
        more = set(found.loosened) - set(self.plan.draft.loosened)
        if more:
            raise PolicyError(f"plan {self.plan.id} does not say so, so nothing was changed: {min(more)}")

    def _approver(self, found: Prospect, now: Micros) -> str | None:
        """Who approved it, if anybody has to. By the settings of the plan and of now, whichever is stricter."""
        plan = self.plan
        valid = [x for x in approvers(self.connection, plan) if self._may_approve(x, now)]
        reasons = plan.draft.approval or approval_reasons(found, self.opened.settings.access)
        if reasons and not valid:
            raise AuthenticationError(
                f"plan {plan.id} needs the approval of somebody else than {plan.author}: {reasons[0]}"
            )
        return valid[0] if valid else None

    def _may_approve(self, who: PrincipalId, now: Micros) -> bool:
        try:
            _require(self.opened, self.connection, self.plan, who, APPROVE, now)
        except AuthenticationError:
            return False
        return True

    def _write_policy(self, found: Prospect, base: Base, now: Micros) -> None:
        """What holds until now as first versions, and rows that a plan of labels or of a manifest changes."""
        connection, plan = self.connection, self.plan
        scope, name = plan.draft.scope, source_of(plan.draft.scope)
        if name is not None:
            manifest, known = (
                manifest_of(connection, plan.tenant, name),
                read_known_names(connection, plan.tenant, now),
            )
            take_over(connection, plan.tenant, manifest, known, author=plan.author, now=now)
        elif base.n == 0 and plan.draft.bundle != base.bundle:
            note = "as it was when change control began"
            store(connection, plan.tenant, scope, base.bundle, author=plan.author, now=now, note=note)
        if found.labels is not None:
            replace_labels(connection, found.labels)
        for x in found.sources:
            # The classes were made with these; a row that says something else would be a later surprise.
            registered(connection, x.source)

    def _store_version(self, base: Base, approver: str | None, now: Micros) -> int:
        plan = self.plan
        if base.n == 0 and plan.draft.bundle == base.bundle and source_of(plan.draft.scope) is not None:
            # Taking over stored it: what was on disk is what the plan says.
            return 1
        return store(
            self.connection,
            plan.tenant,
            plan.draft.scope,
            plan.draft.bundle,
            author=plan.author,
            approver=approver,
            plan=plan.id,
            note=plan.draft.note,
            now=now,
        )

    def _run_tests(self, now: Micros) -> None:
        failures = stored_failures(self.opened, self.connection, self.plan.tenant, self.tenant_name, now)
        if failures:
            raise PolicyError(
                f"{len(failures)} access tests would fail, so nothing was changed: {'; '.join(failures[:_SHOWN])}"
            )

    def _record(self, done: Applied, found: Prospect) -> None:
        body = {
            "by": self.actor,
            "author": done.author,
            "approver": done.approver,
            "plan": done.plan,
            "digest": self.plan.digest,
            "scope": done.scope,
            "version": done.version,
            "repointed": done.repointed,
            "withheld": done.withheld,
            "widening": found.effect.widening,
        }
        self.opened.audit.record(self.tenant_name, "access_plan_applied", f"{done.plan}-applied", body)


def _now(opened: Installation, connection: sa.Connection) -> Micros:
    """Never earlier than the last change of rights, however the clock was set."""
    return Micros(max(opened.clock.now(), connection.execute(q.PIN).scalar_one()))


def _require(
    opened: Installation, connection: sa.Connection, plan: Plan, who: PrincipalId, step: int, now: Micros
) -> None:
    """In the very transaction that acts: a role that was taken away meanwhile counts.

    Raises:
        AuthenticationError: not permitted.
    """
    scope = plan.draft.scope
    name = source_of(scope)
    s = t.source.c
    found = None
    if name is not None:
        key = connection.execute(sa.select(s.id).where(s.tenant_id == plan.tenant, s.name == name)).scalar()
        found = None if key is None else SourceKey(key)
    author = plan.author if step == APPROVE else None
    who_manages = manager(ReadView(connection, now), plan.tenant, who)
    opened.management.require(who_manages, action(scope, step), found, author)


def _check_open(connection: sa.Connection, plan: Plan, tenant_name: str, now: Micros) -> Base:
    if plan.applied_at:
        raise PolicyError(f"plan {plan.id} was applied already")
    if plan.expires_at <= now:
        raise PolicyError(f"plan {plan.id} has expired: make it again")
    base = base_of(connection, plan.tenant, tenant_name, plan.draft.scope, now)
    if (base.n, base.bundle.sha256) != (plan.draft.base, plan.draft.base_sha256):
        raise PolicyError(f"plan {plan.id} changes version {plan.draft.base}, which is not in force any more")
    return base


def _sources(connection: sa.Connection, plan: Plan) -> list[str]:
    """Sources that a plan is about, in an order that all who lock several of them keep."""
    name = source_of(plan.draft.scope)
    if name is not None:
        return [name]
    s = t.source.c
    return [
        str(x)
        for x in connection.execute(
            sa.select(s.name).where(s.tenant_id == plan.tenant).order_by(s.name)
        ).scalars()
    ]


def _tenant_name(connection: sa.Connection, tenant: TenantKey) -> str:
    return str(connection.execute(sa.select(t.tenant.c.name).where(t.tenant.c.id == tenant)).scalar_one())
