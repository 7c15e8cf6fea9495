"""Revocations by operators: who may, on record before anybody sees it, in force with the commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_rag.database import revocations as db
from secure_rag.database.engine import write
from secure_rag.database.revocations import Revocation
from secure_rag.errors import InvalidRequestError, NotFoundError, PolicyError
from secure_rag.model.ids import PrincipalId, SourceKey, TenantKey
from secure_rag_acl.management import Action, ManagementPolicy, manager
from secure_rag_api.rights import require, source_key

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def revoke(
    opened: Installation,
    tenant: str,
    actor: PrincipalId,
    *,
    principal: PrincipalId | None,
    source: str | None,
    document: str | None,
    reason: str,
) -> str:
    """Cut a principal, or everybody, off a source, a document, or everything; gives the public id.

    A crash before the commit leaves an event and no revocation: then nothing was confirmed to anybody, and it is
    asked for again.

    Args:
        opened: the installation.
        tenant: name of the tenant.
        actor: who revokes.
        principal: who; None is everybody.
        source: name of a source.
        document: `source/native id`, or its public id.
        reason: for the record.

    Raises:
        InvalidRequestError: nothing is named, or a source and a document.
        AuthenticationError: the actor may not, whether or not what is named exists.
        NotFoundError: there is no such principal, source or document.
        UnavailableError: it cannot be recorded or written; nothing was revoked.
    """
    if principal is None and source is None and document is None:
        raise InvalidRequestError("name a principal, a source or a document")
    key = opened.tenant_key(tenant)
    require(opened, key, actor, Action.REVOKE, _source(opened, key, source, document))
    now = opened.clock.now()
    with write(opened.engine) as connection:
        try:
            public_id = db.revoke(
                connection,
                key,
                principal=principal,
                source=source,
                document=document,
                by=actor,
                reason=reason,
                now=now,
            )
        except PolicyError as error:
            raise InvalidRequestError(str(error)) from error
        body = {
            "by": actor,
            "revocation": public_id,
            "principal": principal,
            "source": source,
            "document": document,
            "reason": reason,
        }
        opened.audit.record(tenant, "access_revoked", public_id, body)
    return public_id


def lift(opened: Installation, tenant: str, actor: PrincipalId, public_id: str) -> None:
    """End a revocation of somebody else.

    Raises:
        AuthenticationError: the actor may not, or made it; also for one that is not there, unless she may see all.
        NotFoundError: there is no such revocation, or it has ended.
        UnavailableError: it cannot be recorded or written; it holds.
    """
    key = opened.tenant_key(tenant)
    now = opened.clock.now()
    with opened.reader.connect() as connection:
        held = {x.id: x for x in db.revocations(connection, key, now)}
    found = held.get(public_id)
    if found is None:
        # Nobody learns from an error which revocations there are.
        require(opened, key, actor, Action.REVOKE)
        raise NotFoundError("no such revocation, or it has ended")
    target = _source(opened, key, found.source, found.document)
    require(opened, key, actor, Action.REVOKE_LIFT, target, found.revoked_by)
    with write(opened.engine) as connection:
        db.lift(connection, key, public_id, actor, now)
        body = {"by": actor, "revocation": public_id, "revoked_by": found.revoked_by}
        opened.audit.record(tenant, "revocation_lifted", opened.new_id(), body)


def visible(opened: Installation, tenant: str, actor: PrincipalId, *, ended: bool) -> list[Revocation]:
    """Revocations that the actor may know of: all, or those of her sources.

    Raises:
        AuthenticationError: she may know of none.
    """
    key = opened.tenant_key(tenant)
    with opened.views.open() as view:
        who, policy = manager(view, key, actor), ManagementPolicy()
        found = db.revocations(view._connection, key, view.now, ended=ended)
        keys = {name: source for source, (name, _, _) in view.source_ages(key).items()}
        shown = [x for x in found if policy.may(who, Action.POLICY_READ, keys.get(_name(x) or ""))]
        anything = any(policy.may(who, Action.POLICY_READ, x) for x in (None, *keys.values()))
    if not anything:
        require(opened, key, actor, Action.POLICY_READ)
    return shown


def _name(found: Revocation) -> str | None:
    return found.source if found.document is None else found.document.partition("/")[0]


def _source(
    opened: Installation, tenant: TenantKey, source: str | None, document: str | None
) -> SourceKey | None:
    """The source that it is about; None when it is about all of them, or about one that is not there."""
    if document is None:
        return source_key(opened, tenant, source)
    with opened.reader.connect() as connection:
        named = db.source_of_document(connection, tenant, document)
    return named if named is not None else source_key(opened, tenant, document.partition("/")[0])
