"""`roles.yaml`: who holds which role of the management plane. What is not in the file ends.

tenant: acme
roles:
  - {principal: user:ada.marsh, role: data_owner, source: hr}
  - {principal: group:secops, role: security_officer}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from pydantic import AfterValidator, Field
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.model.ids import Micros, PrincipalId, TenantKey
from secure_rag_acl.data_files import DataFile, read_bytes
from secure_rag_acl.fields import Instant, Principal, ShortName, StrictModel
from secure_rag_acl.management import Action, ManagementPolicy, Role, manager
from secure_rag_acl.tenancy import Window, reconcile
from secure_rag_acl.yaml_files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_rag.database.views import ReadView


def _role(value: str) -> str:
    if value not in set(Role):
        raise ValueError(f"not a role: {value!r} (one of {', '.join(Role)})")
    return value


def _holder(value: PrincipalId) -> PrincipalId:
    if not value.startswith(("user:", "group:", "service:")):
        raise ValueError("a role is held by user:, group: or service:")
    return value


class RoleEntry(StrictModel):
    """Who holds a role, for one source or for all, and until when."""

    principal: Annotated[Principal, AfterValidator(_holder)]
    role: Annotated[str, AfterValidator(_role)]
    source: ShortName | None = None
    expires: Instant | None = None


class RolesEntry(StrictModel):
    """`roles.yaml`."""

    tenant: ShortName
    roles: Annotated[list[RoleEntry], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class RolesReport:
    """What an import changed."""

    tenant: str
    begun: int
    ended: int


def import_roles(
    engine: sa.Engine,
    path: Path,
    *,
    actor: PrincipalId,
    now: Micros,
    view_of: Callable[[sa.Connection, Micros], ReadView],
    policy: ManagementPolicy,
) -> RolesReport:
    """Make the roles of a tenant what a file says.

    Args:
        engine: one that can write.
        path: the file.
        actor: who imports; must be allowed to in the very transaction that changes the roles.
        now: when changes take effect.
        view_of: makes a view of the write transaction.
        policy: decides whether `actor` may.

    Raises:
        ConfigError: malformed; unknown tenant, principal or source; or nobody could assign roles afterwards.
        AuthenticationError: `actor` may not assign roles.
        UnavailableError: the database could not be written; nothing was changed.
    """
    file = parse_yaml(read_bytes(path), str(path))
    entry = file.validate(RolesEntry)
    with write(engine) as connection:
        view = view_of(connection, now)
        tenant = view.tenant_key(entry.tenant)
        if tenant is None:
            raise file.error(("tenant",), f"there is no tenant {entry.tenant!r}")
        policy.require(manager(view, tenant, actor), Action.ROLES_ASSIGN)
        desired = _desired(connection, file, entry, tenant)
        changed = reconcile(
            connection,
            t.role_assignment,
            ("principal_id", "role", "source_id"),
            tenant,
            now,
            desired,
            lambda _key: True,
        )
        _refuse_lockout(view_of(connection, now), tenant, file, entry, policy)
    return RolesReport(entry.tenant, changed.begun, changed.ended)


def _desired(
    connection: sa.Connection, file: DataFile, entry: RolesEntry, tenant: TenantKey
) -> dict[tuple[int, str, int | None], Window]:
    p, s = t.principal.c, t.source.c
    principals = _names(connection, p, tenant, p.state.in_(("active", "disabled")))
    sources = _names(connection, s, tenant)
    desired: dict[tuple[int, str, int | None], Window] = {}
    for number, line in enumerate(entry.roles):
        if line.principal not in principals:
            raise file.error(("roles", number, "principal"), f"the directory has no {line.principal}")
        if line.source is not None and line.source not in sources:
            raise file.error(("roles", number, "source"), f"there is no source {line.source!r}")
        key = (principals[line.principal], line.role, None if line.source is None else sources[line.source])
        if key in desired:
            raise file.error(("roles", number), "the same role of the same principal twice")
        desired[key] = Window() if line.expires is None else Window(end=line.expires)
    return desired


def _names(
    connection: sa.Connection,
    columns: ReadOnlyColumnCollection[str, sa.Column[Any]],
    tenant: TenantKey,
    *conditions: sa.ColumnElement[bool],
) -> Mapping[str, int]:
    chosen = sa.select(columns.name, columns.id).where(columns.tenant_id == tenant, *conditions)
    return {str(name): int(key) for name, key in connection.execute(chosen).all()}


def _refuse_lockout(
    view: ReadView, tenant: TenantKey, file: DataFile, entry: RolesEntry, policy: ManagementPolicy
) -> None:
    """Somebody must be able to assign roles after this, or nobody ever could again."""
    for line in entry.roles:
        if line.principal.startswith("group:"):
            continue
        if policy.may(manager(view, tenant, line.principal), Action.ROLES_ASSIGN):
            return
    raise file.error(
        ("roles",), "no active user or service would be security_officer: nobody could assign roles again"
    )
