"""Memberships of a directory import."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import NEVER, Micros, PrincipalId, PrincipalKey, PrincipalKind, TenantKey
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.directory_principals import Known
from secure_rag_acl.nesting import nesting_problem
from secure_rag_acl.tenancy import Changed, Window, reconcile


def reconcile_links(
    connection: sa.Connection,
    tenant: TenantKey,
    document: DirectoryFile,
    known: dict[PrincipalId, Known],
    now: Micros,
    forget: Sequence[str],
    *,
    anew: bool = False,
) -> Changed:
    """Begin and end memberships.

    A link ends when its group is in the file with all its members, its member is in the file, and the one does not
    name the other: an un-nesting that somebody wrote. A link of somebody who is absent stays, so that a deny of the
    group stays closed; `forget` ends it.

    Args:
        connection: inside a write transaction.
        tenant: whose.
        document: the file.
        known: principals by name.
        now: when links begin and end.
        forget: principals whose links end.
        anew: after a restore, also end what an incompletely known group had when the backup was made. It stays
            incomplete, so that denies of it, and of groups above, stay closed.

    Raises:
        ConfigError: with what is kept, groups would contain each other or be nested too deeply.
    """
    desired: dict[tuple[int, int], Window] = {
        (known[member.id].key, known[group.id].key): Window(
            member.valid_from, NEVER if member.valid_to is None else member.valid_to
        )
        for group in document.groups or ()
        for member in group.members
    }
    present = {known[entry.id].key for _, entry in document.entries()}
    stated = {
        known[group.id].key for group in document.groups or () if anew or document.states_members(group)
    }
    forgotten = {known[PrincipalId(name)].key for name in forget}

    def may_end(key: tuple[int, int]) -> bool:
        member, group = key
        return member in forgotten or group in forgotten or (member in present and group in stated)

    columns = ("member_id", "group_id")
    changed = reconcile(connection, t.membership, columns, tenant, now, desired, may_end)
    _check_nesting(connection, tenant, document, known, now)
    return changed


def _check_nesting(
    connection: sa.Connection,
    tenant: TenantKey,
    document: DirectoryFile,
    known: dict[PrincipalId, Known],
    now: Micros,
) -> None:
    """Check the nesting that holds from now on, whatever page of a directory it came from.

    Links of tombstones are left out: nothing is reached through them.
    """
    groups: dict[PrincipalKey, str] = {
        row.key: name for name, row in known.items() if row.kind == PrincipalKind.GROUP and row.defined
    }
    m = t.membership.c
    rows = connection.execute(
        sa.select(m.member_id, m.group_id).where(
            m.tenant_id == tenant, m.valid_to > now, m.valid_to > m.valid_from
        )
    ).all()
    problem = nesting_problem(
        (groups[PrincipalKey(r.member_id)], groups[PrincipalKey(r.group_id)])
        for r in rows
        if r.member_id in groups and r.group_id in groups
    )
    if problem is not None:
        raise document.error(("groups",), problem)
