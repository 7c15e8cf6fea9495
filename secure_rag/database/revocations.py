"""Revocations: what is taken away before the source or the directory takes it away itself.

Invariants
- A revocation holds for the next view that is opened in any process, from the commit that made it.
- It ends by a person, or when the source or the directory has taken the same right away; never by time alone.
- Like a deny, one that names everyone, or somebody whom the directory does not know for certain, holds for all.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.subjects import SubjectReader
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.errors import NotFoundError, PolicyError
from secure_rag.model.ids import (
    EVERYONE,
    NEVER,
    ClassKey,
    Micros,
    PrincipalId,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.locks import Lock

BY_SYNC = "sync"
"""Who ended a revocation that had become needless."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One revocation. `principal` None is everybody; neither `source` nor `document` is everything.

    `document` is `source/native id`.
    """

    id: str
    principal: str | None
    source: str | None
    document: str | None
    revoked_by: str
    reason: str
    valid_from: Micros
    valid_to: Micros
    ended_by: str | None


def revoke(
    connection: sa.Connection,
    tenant: TenantKey,
    *,
    principal: PrincipalId | None,
    source: str | None,
    document: str | None,
    by: PrincipalId,
    reason: str,
    now: Micros,
) -> str:
    """Cut a principal, or everybody, off a source, a document, or everything; returns the public id.

    Args:
        connection: inside a write transaction.
        tenant: whose.
        principal: who; its members too when it is a group. None is everybody.
        source: name of a registered source.
        document: public id, or `source/native id`.
        by: who revokes.
        reason: why, for the record.
        now: when it begins.

    Raises:
        PolicyError: neither principal, source nor document, or both source and document.
        NotFoundError: there is no such principal, source or document.
    """
    if principal is None and source is None and document is None:
        raise PolicyError("name a principal, a source or a document")
    if source is not None and document is not None:
        raise PolicyError("either a source or a document")
    public_id = "r_" + secrets.token_hex(16)
    connection.execute(
        sa.insert(t.revocation).values(
            tenant_id=tenant,
            public_id=public_id,
            principal_id=None if principal is None else _principal(connection, tenant, principal),
            source_id=None if source is None else _source(connection, tenant, source),
            document_id=None if document is None else _document(connection, tenant, document),
            revoked_by=by,
            reason=reason,
            valid_from=now,
            valid_to=NEVER,
        )
    )
    # A view is never earlier than this, whatever the clock says then; 0 means that nothing is served.
    c = t.tenant.c
    connection.execute(
        sa.update(t.tenant)
        .where(c.id == tenant, c.directory_as_of > 0, c.directory_as_of < now)
        .values(directory_as_of=int(now))
    )
    return public_id


def lift(connection: sa.Connection, tenant: TenantKey, public_id: str, by: str, now: Micros) -> None:
    """End a revocation.

    Raises:
        NotFoundError: there is no such revocation, or it has ended.
    """
    r = t.revocation.c
    ended = connection.execute(
        sa.update(t.revocation)
        .where(r.tenant_id == tenant, r.public_id == public_id, r.valid_to > now)
        .values(valid_to=sa.func.max(now, r.valid_from), ended_by=by)
    )
    if ended.rowcount != 1:
        raise NotFoundError("no such revocation, or it has ended")


def revocations(
    connection: sa.Connection, tenant: TenantKey, now: Micros, *, ended: bool = False
) -> list[Revocation]:
    """Revocations that hold, newest first; with `ended` all there ever were."""
    r, s, d = t.revocation.c, t.source.alias("source_of_document"), t.document.c
    statement = (
        sa.select(t.revocation, t.principal.c.name.label("principal"), t.source.c.name.label("source"))
        .add_columns((s.c.name + "/" + d.native_id).label("document"))
        .select_from(t.revocation)
        .outerjoin(t.principal, t.principal.c.id == r.principal_id)
        .outerjoin(t.source, t.source.c.id == r.source_id)
        .outerjoin(t.document, d.id == r.document_id)
        .outerjoin(s, s.c.id == d.source_id)
        .where(r.tenant_id == tenant)
        .order_by(r.id.desc())
    )
    if not ended:
        statement = statement.where(r.valid_to > now)
    return [
        Revocation(
            id=row.public_id,
            principal=row.principal,
            source=row.source,
            document=row.document,
            revoked_by=row.revoked_by,
            reason=row.reason,
            valid_from=Micros(row.valid_from),
            valid_to=Micros(row.valid_to),
            ended_by=row.ended_by,
        )
        for row in connection.execute(statement).all()
    ]


def fold(connection: sa.Connection, tenant: TenantKey, began: Micros, now: Micros) -> int:
    """End revocations that a synchronisation has made needless; returns how many.

    Needless are those of a person or agent who is no longer active, and those of a person from a document whose
    locks, read at the source since, admit her in no way that can come back by time or by a line of a mapping. An
    agent's stays, since it may act for somebody whom the locks admit, a group's, since a member may be admitted by
    another entry, and one for everybody: somebody decided that, and somebody ends it.

    Args:
        connection: inside the write transaction that ends the synchronisation.
        tenant: whose.
        began: when the synchronisation began; what was revoked later is not folded in by it.
        now: when they end.
    """
    r, d, p, s = t.revocation.c, t.document.c, t.principal.c, t.source.c
    read_since = sa.and_(
        # What is withheld has the permissions of another time; names that mean nobody may mean her tomorrow.
        d.state.in_((int(DocumentState.LIVE), int(DocumentState.QUARANTINED))),
        d.unresolved == "[]",
        sa.or_(d.acl_as_of > r.valid_from, s.acl_as_of > r.valid_from),
    )
    rows = connection.execute(
        sa.select(r.public_id, r.principal_id, d.class_id, p.kind, p.state, read_since.label("read_since"))
        .select_from(t.revocation)
        .outerjoin(t.document, d.id == r.document_id)
        .outerjoin(t.source, s.id == d.source_id)
        .outerjoin(t.principal, p.id == r.principal_id)
        .where(r.tenant_id == tenant, r.valid_to > now, r.valid_from < began)
    ).all()
    view = ReadView(connection, now)
    needless = [
        row.public_id
        for row in rows
        if row.kind in ("member", "guest", "service", "agent") and _lost(connection, view, tenant, row)
    ]
    for public_id in needless:
        lift(connection, tenant, public_id, BY_SYNC, now)
    return len(needless)


def _lost(connection: sa.Connection, view: ReadView, tenant: TenantKey, row: Any) -> bool:  # noqa: ANN401 -- a row of the statement above
    """Whether somebody would have the revoked right no longer, were it not revoked."""
    if row.state in ("disabled", "deleted"):
        return True
    if row.kind == "agent" or not row.read_since or row.class_id is None:
        return False
    key = ClassKey(row.class_id)
    cls = view.classes(tenant, [key]).get(key)
    everyone = view.principal(tenant, EVERYONE)
    herself = frozenset({PrincipalKey(row.principal_id)} | ({everyone.key} if everyone else set()))
    who = herself | _ever_in(connection, tenant, row.principal_id, view.now)
    return cls is not None and not all(_may_open(lock, herself, who) for lock in cls.locks)


def _may_open(lock: Lock, herself: Collection[PrincipalKey], who: Collection[PrincipalKey]) -> bool:
    """Whether a lock opens now or may later: only a deny of herself or of everyone lasts, a membership may end."""
    return lock.deny.isdisjoint(herself) and any(x in who for x, _ in lock.allow)


def _ever_in(connection: sa.Connection, tenant: TenantKey, who: int, now: Micros) -> frozenset[PrincipalKey]:
    """The groups that somebody is in or will be, nested."""
    m = t.membership.c
    up = sa.select(sa.cast(sa.literal(who), t.Int).label("id")).cte("up", recursive=True)
    reached = sa.select(m.group_id).join(
        up, sa.and_(m.tenant_id == tenant, m.member_id == up.c.id, m.valid_to > now)
    )
    found = connection.execute(sa.select(up.union(reached).c.id)).scalars()
    return frozenset(PrincipalKey(x) for x in found)


def _principal(connection: sa.Connection, tenant: TenantKey, name: PrincipalId) -> PrincipalKey:
    found = SubjectReader(connection, NEVER).principal(tenant, name)
    if found is None:
        raise NotFoundError(f"the directory has no {name}")
    return found.key


def _source(connection: sa.Connection, tenant: TenantKey, name: str) -> int:
    s = t.source.c
    found = connection.execute(sa.select(s.id).where(s.tenant_id == tenant, s.name == name)).scalar()
    if found is None:
        raise NotFoundError(f"there is no source {name!r}")
    return int(found)


def source_of_document(connection: sa.Connection, tenant: TenantKey, name: str) -> SourceKey | None:
    """The source of a document by its public id or `source/native id`; None when there is none."""
    found = connection.execute(_named(tenant, name)).one_or_none()
    return None if found is None else SourceKey(found.source_id)


def _document(connection: sa.Connection, tenant: TenantKey, name: str) -> int:
    found = connection.execute(_named(tenant, name)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no document {name!r}")
    return int(found.id)


def _named(tenant: TenantKey, name: str) -> sa.Select[*tuple[Any, ...]]:
    d, s = t.document.c, t.source.c
    source, _, native = name.partition("/")
    return (
        sa.select(d.id, d.source_id)
        .join(t.source, s.id == d.source_id)
        .where(
            d.tenant_id == tenant,
            d.state != int(DocumentState.DELETED),
            sa.or_(d.public_id == name, sa.and_(s.name == source, d.native_id == native)),
        )
    )
