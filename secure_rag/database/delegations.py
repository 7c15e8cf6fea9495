"""Delegations: rows that let an agent act for a subject. Each is made by the previous hop and can only narrow."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.subjects import DELEGATING_KINDS
from secure_rag.errors import NotFoundError, PolicyError
from secure_rag.model.ids import LabelId, Micros, PrincipalId, TenantKey
from secure_rag.model.subject import MAX_AGENT_HOPS


@dataclass(frozen=True, slots=True)
class Limits:
    """What a delegation allows at most. None means: no limit of its own, the agent's grant still holds."""

    actions: tuple[str, ...] = ("read",)
    label: LabelId | None = None
    compartments: tuple[str, ...] | None = None
    sources: tuple[str, ...] | None = None
    purposes: tuple[str, ...] | None = None


def create_delegation(
    connection: sa.Connection,
    tenant: TenantKey,
    *,
    creator: PrincipalId,
    agent: PrincipalId,
    subject: PrincipalId | None,
    parent: str | None,
    limits: Limits,
    now: Micros,
    expires: Micros,
) -> str:
    """Create one hop and return its public id.

    A root (no parent) is made by an application for a subject; a further hop by the agent of its parent, for the
    same subject.

    Raises:
        PolicyError: the creator is not the previous hop, the chain would be too long, the agent is not active, or
            the delegation would already have ended.
        NotFoundError: a principal or the parent is not there.
    """
    if not now < expires:
        raise PolicyError("a delegation must end in the future")
    maker = _active(connection, tenant, creator)
    delegate = _active(connection, tenant, agent)
    if delegate.kind != "agent":
        raise PolicyError(f"{agent} is not an agent")
    if parent is None:
        if maker.kind != "app" or subject is None:
            raise PolicyError("a first delegation is made by an application for a subject")
        who = _active(connection, tenant, subject)
        if who.kind not in DELEGATING_KINDS:
            raise PolicyError(f"{subject} is not a person or service")
        parent_key, subject_key = None, who.id
    else:
        previous, depth = _live_chain(connection, tenant, parent, now)
        if previous.agent_id != maker.id:
            raise PolicyError("a delegation is passed on only by the agent that holds it")
        if depth >= MAX_AGENT_HOPS:
            raise PolicyError(f"at most {MAX_AGENT_HOPS} agents in a chain")
        parent_key, subject_key = previous.id, previous.subject_id
        expires = min(expires, Micros(previous.valid_to))
    public_id = "g_" + secrets.token_hex(16)
    connection.execute(
        sa.insert(t.delegation).values(
            tenant_id=tenant,
            public_id=public_id,
            parent_id=parent_key,
            subject_id=subject_key,
            created_by=maker.id,
            agent_id=delegate.id,
            actions=json.dumps(sorted(limits.actions)),
            label=limits.label,
            compartments=_stored(limits.compartments),
            sources=_stored(limits.sources),
            purposes=_stored(limits.purposes),
            valid_from=now,
            valid_to=expires,
        )
    )
    return public_id


def revoke_delegation(connection: sa.Connection, tenant: TenantKey, public_id: str, now: Micros) -> int:
    """End a delegation and everything that was passed on from it; returns how many ended.

    Raises:
        NotFoundError: there is no such delegation.
    """
    d = t.delegation.c
    root = connection.execute(sa.select(d.id).where(d.tenant_id == tenant, d.public_id == public_id)).scalar()
    if root is None:
        raise NotFoundError("no such delegation")
    ended, level, seen = 0, [root], {root}
    while level:
        result = connection.execute(
            sa.update(t.delegation)
            .where(d.id.in_(level), d.valid_to > now)
            .values(valid_to=sa.func.max(now, d.valid_from))
        )
        ended += result.rowcount
        below = connection.execute(sa.select(d.id).where(d.parent_id.in_(level))).scalars()
        level = [key for key in below if key not in seen]
        seen.update(level)
    # A view is never earlier than this, whatever the clock says then; 0 means that nothing is served.
    c = t.tenant.c
    connection.execute(
        sa.update(t.tenant)
        .where(c.id == tenant, c.directory_as_of > 0, c.directory_as_of < now)
        .values(directory_as_of=int(now))
    )
    return ended


def _live_chain(
    connection: sa.Connection, tenant: TenantKey, public_id: str, now: Micros
) -> tuple[sa.Row[int, int, int, int, int, int], int]:
    d = t.delegation.c
    columns = sa.select(d.id, d.agent_id, d.subject_id, d.valid_to, d.parent_id, d.valid_from)
    row = connection.execute(columns.where(d.tenant_id == tenant, d.public_id == public_id)).one_or_none()
    if row is None:
        raise NotFoundError("no such delegation")
    leaf, depth = row, 1
    while row is not None:
        if not row.valid_from <= now < row.valid_to:
            raise PolicyError("the delegation has ended")
        if row.parent_id is None or depth > MAX_AGENT_HOPS:
            break
        depth += 1
        row = connection.execute(columns.where(d.id == row.parent_id)).one_or_none()
    return leaf, depth


def _active(connection: sa.Connection, tenant: TenantKey, name: str) -> sa.Row[int, str, str]:
    p = t.principal.c
    row = connection.execute(
        sa.select(p.id, p.kind, p.state).where(p.tenant_id == tenant, p.name == name)
    ).one_or_none()
    if row is None or row.state != "active":
        raise NotFoundError(f"{name} is not an active principal of this tenant")
    return row


def _stored(names: Sequence[str] | None) -> str | None:
    return None if names is None else json.dumps(sorted(names))
