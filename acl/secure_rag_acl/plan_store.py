"""Plans to change who may read what, as they are stored, and who approved them.

Invariants
- The digest covers everything that a plan is approved for: what it changes, from which version, who gains what,
  who made it and until when it can be applied.
- A plan changes never; it is applied once, or not at all.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import NotFoundError, PolicyError
from secure_rag.model.ids import Micros, PrincipalId, TenantKey
from secure_rag_acl.effect import Shares, gains_from_plain, gains_to_plain
from secure_rag_acl.policy_files import Bundle


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan before it is stored.

    Attributes:
        scope: what it changes.
        base: version that it changes; 0 before there is one.
        base_sha256: digest of what is in force, so that a base of 0 means one content too.
        bundle: what would be in force.
        gains: who gains what.
        report: the effect in plain values.
        loosened: what else it lets happen.
        approval: why somebody else has to approve it; empty when nobody has to.
        widening: documents times rank of their label.
    """

    scope: str
    base: int
    base_sha256: str
    bundle: Bundle
    gains: Shares
    report: dict[str, object]
    loosened: tuple[str, ...]
    approval: tuple[str, ...]
    widening: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A stored plan."""

    key: int
    id: str
    tenant: TenantKey
    draft: Draft
    digest: str
    author: PrincipalId
    created_at: Micros
    expires_at: Micros
    applied_at: Micros


def store_plan(
    connection: sa.Connection,
    tenant: TenantKey,
    draft: Draft,
    *,
    author: PrincipalId,
    now: Micros,
    expires: Micros,
) -> Plan:
    """Store a plan."""
    public_id = f"p_{secrets.token_hex(8)}"
    summary = _summary(draft)
    digest = _digest(public_id, tenant, draft, summary, author, expires)
    p = t.access_plan.c
    key = connection.execute(
        sa.insert(t.access_plan)
        .values(
            tenant_id=tenant,
            public_id=public_id,
            scope=draft.scope,
            base=draft.base,
            content=draft.bundle.stored(),
            digest=digest,
            summary=summary,
            widening=draft.widening,
            author=author,
            created_at=now,
            expires_at=expires,
        )
        .returning(p.id)
    ).scalar_one()
    return Plan(int(key), public_id, tenant, draft, digest, author, now, expires, Micros(0))


def find_plan(connection: sa.Connection, public_id: str) -> Plan:
    """A plan by its id.

    Raises:
        NotFoundError: there is none.
        PolicyError: what is stored is not what its digest says.
    """
    row = connection.execute(
        sa.select(t.access_plan).where(t.access_plan.c.public_id == public_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no plan {public_id!r}")
    plan = _plan(row)
    found = _digest(plan.id, plan.tenant, plan.draft, str(row.summary), plan.author, plan.expires_at)
    if found != plan.digest:
        raise PolicyError(f"plan {public_id} is damaged: its digest is another one")
    return plan


def approve_plan(connection: sa.Connection, plan: Plan, approver: PrincipalId, now: Micros) -> None:
    """Put an approval on record; a second one of the same person changes nothing."""
    a = t.plan_approval.c
    known = connection.execute(sa.select(a.id).where(a.plan_id == plan.key, a.approver == approver)).scalar()
    if known is None:
        connection.execute(
            sa.insert(t.plan_approval).values(plan_id=plan.key, approver=approver, digest=plan.digest, at=now)
        )


def approvers(connection: sa.Connection, plan: Plan) -> list[PrincipalId]:
    """Who approved exactly this plan, in order. Its author never counts."""
    a = t.plan_approval.c
    rows = connection.execute(
        sa.select(a.approver, a.digest).where(a.plan_id == plan.key).order_by(a.id)
    ).all()
    return [PrincipalId(r.approver) for r in rows if r.digest == plan.digest and r.approver != plan.author]


def mark_applied(connection: sa.Connection, plan: Plan, now: Micros) -> None:
    """Record that a plan was applied.

    Raises:
        PolicyError: it was applied before.
    """
    p = t.access_plan.c
    done = connection.execute(
        sa.update(t.access_plan).where(p.id == plan.key, p.applied_at == 0).values(applied_at=now)
    )
    if done.rowcount != 1:
        raise PolicyError(f"plan {plan.id} was applied already")


def _summary(draft: Draft) -> str:
    body = {
        "base_sha256": draft.base_sha256,
        "gains": gains_to_plain(draft.gains),
        "report": draft.report,
        "loosened": list(draft.loosened),
        "approval": list(draft.approval),
        "note": draft.note,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _digest(
    public_id: str, tenant: TenantKey, draft: Draft, summary: str, author: str, expires: Micros
) -> str:
    parts = [
        "secure-rag access plan v1",
        public_id,
        tenant,
        draft.scope,
        draft.base,
        draft.bundle.stored(),
        draft.widening,
        summary,
        author,
        expires,
    ]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode("utf-8")).hexdigest()


def _plan(row: sa.Row[Any]) -> Plan:
    try:
        body = json.loads(row.summary)
        draft = Draft(
            scope=row.scope,
            base=row.base,
            base_sha256=str(body["base_sha256"]),
            bundle=Bundle.of(row.content),
            gains=gains_from_plain(body["gains"]),
            report=dict(body["report"]),
            loosened=tuple(str(x) for x in body["loosened"]),
            approval=tuple(str(x) for x in body["approval"]),
            widening=row.widening,
            note=str(body["note"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise PolicyError(f"plan {row.public_id} cannot be read") from error
    return Plan(
        row.id,
        row.public_id,
        TenantKey(row.tenant_id),
        draft,
        row.digest,
        PrincipalId(row.author),
        Micros(row.created_at),
        Micros(row.expires_at),
        Micros(row.applied_at),
    )
