"""Interning of locks and classes: equal content, one row, one id, for ever."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from secure_rag.database import tables as t
from secure_rag.errors import QuotaExceededError
from secure_rag.model.ids import (
    EVERYONE,
    ClassKey,
    LockKey,
    PrincipalId,
    PrincipalKey,
    PrincipalKind,
    PrincipalState,
    TenantKey,
)
from secure_rag.model.locks import AclClass, Lock, canonical_locks, class_digest, lock_digest

MAX_CLASSES_PER_SOURCE = 50_000
"""More is a class bomb (an expiry per file, a list per file): the source fails, nothing is truncated."""

_AT_ONCE: Final = 500
_KIND_OF_PREFIX = {
    "user": PrincipalKind.MEMBER,
    "group": PrincipalKind.GROUP,
    "agent": PrincipalKind.AGENT,
    "app": PrincipalKind.APP,
    "service": PrincipalKind.SERVICE,
}


def intern_principal(connection: sa.Connection, tenant: TenantKey, name: PrincipalId) -> PrincipalKey:
    """Key of a principal. One that the directory has never seen is created as unknown: it grants nothing."""
    p = t.principal.c
    found = connection.execute(sa.select(p.id).where(p.tenant_id == tenant, p.name == name)).scalar()
    if found is not None:
        return PrincipalKey(found)
    known = name == EVERYONE
    kind = PrincipalKind.EVERYONE if known else _KIND_OF_PREFIX[name.split(":", 1)[0]]
    state = PrincipalState.ACTIVE if known else PrincipalState.UNKNOWN
    row = connection.execute(
        insert(t.principal)
        .values(tenant_id=tenant, name=name, kind=kind.value, state=state.value, complete=1 if known else 0)
        .returning(p.id)
    )
    return PrincipalKey(row.scalar_one())


def intern_principals(
    connection: sa.Connection, tenant: TenantKey, names: Iterable[PrincipalId]
) -> dict[PrincipalId, PrincipalKey]:
    """Keys of many principals: lists of thousands are looked up together, not one by one."""
    p, wanted = t.principal.c, sorted(set(names))
    keys: dict[PrincipalId, PrincipalKey] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        part = wanted[first : first + _AT_ONCE]
        rows = connection.execute(
            sa.select(p.name, p.id).where(p.tenant_id == tenant, p.name.in_(part))
        ).all()
        keys.update((PrincipalId(name), PrincipalKey(key)) for name, key in rows)
    return keys | {name: intern_principal(connection, tenant, name) for name in wanted if name not in keys}


def intern_lock(connection: sa.Connection, tenant: TenantKey, lock: Lock) -> LockKey:
    """Key of a lock of this tenant."""
    c, digest = t.acl_lock.c, tenant.to_bytes(8, "big") + lock_digest(lock)
    found = connection.execute(sa.select(c.id).where(c.digest == digest)).scalar()
    if found is None:
        found = connection.execute(
            insert(t.acl_lock).values(tenant_id=tenant, digest=digest, body=lock.body()).returning(c.id)
        ).scalar_one()
    return LockKey(found)


def intern_class(connection: sa.Connection, cls: AclClass) -> ClassKey:
    """Key of a class.

    Raises:
        QuotaExceededError: the source has too many classes.
    """
    c, digest = t.acl_class.c, class_digest(cls)
    found = connection.execute(sa.select(c.id).where(c.digest == digest)).scalar()
    if found is not None:
        return ClassKey(found)
    count = connection.execute(
        sa.select(sa.func.count()).select_from(t.acl_class).where(c.source_id == cls.source)
    ).scalar_one()
    if count >= MAX_CLASSES_PER_SOURCE:
        raise QuotaExceededError(
            f"the source has more than {MAX_CLASSES_PER_SOURCE} distinct permission classes"
        )
    locks = [intern_lock(connection, cls.tenant, lock) for lock in canonical_locks(cls.locks)]
    row = connection.execute(
        insert(t.acl_class)
        .values(
            tenant_id=cls.tenant,
            digest=digest,
            n_locks=len(locks),
            locks=json.dumps(locks),
            label=cls.label,
            compartments=json.dumps(sorted(cls.compartments)),
            trust=cls.trust.value,
            source_id=cls.source,
        )
        .returning(c.id)
    )
    return ClassKey(row.scalar_one())
