"""What an operator may manage, asked of the roles that a fresh view shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import PrincipalId, SourceKey, TenantKey
from secure_rag_acl.management import Action, ManagementPolicy, manager

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def require(
    opened: Installation,
    tenant: TenantKey,
    actor: PrincipalId,
    action: Action,
    source: SourceKey | None = None,
    author: str | None = None,
) -> None:
    """Let nobody past who may not.

    Raises:
        AuthenticationError: names the roles that may.
    """
    with opened.views.open() as view:
        ManagementPolicy().require(manager(view, tenant, actor), action, source, author)


def may(
    opened: Installation,
    tenant: TenantKey,
    actor: PrincipalId,
    action: Action,
    source: SourceKey | None = None,
) -> bool:
    """Whether somebody may do something."""
    with opened.views.open() as view:
        return ManagementPolicy().may(manager(view, tenant, actor), action, source)


def source_key(opened: Installation, tenant: TenantKey, name: str | None) -> SourceKey | None:
    """Key of a registered source; None when there is none of that name."""
    s = t.source.c
    with opened.reader.connect() as connection:
        found = connection.execute(sa.select(s.id).where(s.tenant_id == tenant, s.name == name)).scalar()
    return None if found is None else SourceKey(found)
