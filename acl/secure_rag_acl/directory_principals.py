"""Principals of a directory import: who is there, who is gone, and which groups are known completely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.interning import intern_principal
from secure_rag.model.ids import PrincipalId, PrincipalKey, PrincipalKind, PrincipalState, TenantKey
from secure_rag_acl.directory_files import AgentEntry, ApplicationEntry, DirectoryFile, GroupEntry, UserEntry

_DEFINED: Final = (PrincipalState.ACTIVE, PrincipalState.DISABLED)


@dataclass(frozen=True, slots=True)
class Known:
    """A row of the principal table."""

    key: PrincipalKey
    kind: str
    state: str
    complete: bool
    display: str | None
    owner: str | None

    @property
    def defined(self) -> bool:
        """Whether the directory has it now; neither a tombstone nor a mere reference."""
        return self.state in _DEFINED and self.kind != PrincipalKind.EVERYONE


@dataclass(frozen=True, slots=True)
class PeopleReport:
    """Names, sorted."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]


def known_principals(connection: sa.Connection, tenant: TenantKey) -> dict[PrincipalId, Known]:
    """Every principal of a tenant by name."""
    p = t.principal.c
    rows = connection.execute(
        sa.select(p.id, p.name, p.kind, p.state, p.complete, p.display, p.owner).where(p.tenant_id == tenant)
    ).all()
    return {
        PrincipalId(r.name): Known(PrincipalKey(r.id), r.kind, r.state, bool(r.complete), r.display, r.owner)
        for r in rows
    }


def apply_principals(
    connection: sa.Connection, tenant: TenantKey, document: DirectoryFile, before: dict[PrincipalId, Known]
) -> PeopleReport:
    """Write the principals of the file, bury those who are gone, and make room for those who are only named.

    An agent is active only while its owner is, whether or not the file covers agents.
    """
    wanted = dict(_wanted(document))
    _disown(wanted, before, document)
    new = [name for name in wanted if name not in before]
    changed = [name for name in wanted if name in before and _differs(before[name], wanted[name])]
    gone = [name for name in before if name not in wanted and before[name].defined and document.removes(name)]
    if new:
        # A new group counts as incomplete until its members were read.
        connection.execute(
            sa.insert(t.principal),
            [{"tenant_id": tenant, "name": name, "complete": 0, **wanted[name]} for name in new],
        )
    for name in changed:
        connection.execute(
            sa.update(t.principal).where(t.principal.c.id == before[name].key).values(wanted[name])
        )
    for name in gone:
        connection.execute(
            sa.update(t.principal)
            .where(t.principal.c.id == before[name].key)
            .values(state=PrincipalState.DELETED.value)
        )
    for group in document.groups or ():
        for member in group.members:
            if member.id not in wanted and member.id not in before:
                intern_principal(connection, tenant, member.id)
    return PeopleReport(tuple(sorted(new)), tuple(sorted(changed)), tuple(sorted(gone)))


def _disown(
    wanted: dict[PrincipalId, dict[str, object]],
    before: dict[PrincipalId, Known],
    document: DirectoryFile,
) -> None:
    """Disable the agents whose owner is not, or will not be, an active principal."""
    active = {name for name, row in before.items() if row.state == PrincipalState.ACTIVE}
    active -= {name for name in before if name not in wanted and document.removes(name)}
    active -= wanted.keys()
    active |= {name for name, columns in wanted.items() if columns["state"] == PrincipalState.ACTIVE}
    for name, columns in wanted.items():
        if columns["kind"] == PrincipalKind.AGENT and columns["owner"] not in active:
            columns["state"] = PrincipalState.DISABLED.value
            active.discard(name)
    for name, row in before.items():
        if row.kind != PrincipalKind.AGENT or name in wanted or name not in active:
            continue
        if row.owner is not None and row.owner not in active:
            wanted[name] = {"state": PrincipalState.DISABLED.value}


def mark_groups(
    connection: sa.Connection, document: DirectoryFile, known: dict[PrincipalId, Known]
) -> list[str]:
    """Set which groups are known completely. Returns the names of those that changed.

    A group is when the import says so and everybody it names is defined; an incomplete import makes every other
    group of the tenant incomplete too.
    """
    if document.groups is None:
        return []
    complete = {
        group.id: document.states_members(group) and all(known[member.id].defined for member in group.members)
        for group in document.groups
    }
    marked: list[str] = []
    for name, row in known.items():
        if row.kind != PrincipalKind.GROUP or not row.defined:
            continue
        whole = complete.get(name, row.complete and document.complete)
        if whole != row.complete:
            connection.execute(
                sa.update(t.principal).where(t.principal.c.id == row.key).values(complete=int(whole))
            )
            marked.append(name)
    return marked


def _wanted(document: DirectoryFile) -> Iterator[tuple[PrincipalId, dict[str, object]]]:
    """Columns of everybody in the file. Whether a group is complete is known only after its members."""
    for _, entry in document.entries():
        columns = {
            "state": PrincipalState.ACTIVE.value,
            "display": entry.name,
            "owner": None,
            **_own_columns(entry),
        }
        # Somebody who was only named before counted as incomplete.
        yield entry.id, columns if isinstance(entry, GroupEntry) else {**columns, "complete": 1}


def _own_columns(entry: UserEntry | GroupEntry | ApplicationEntry | AgentEntry) -> dict[str, object]:
    match entry:
        case UserEntry():
            return {"kind": entry.kind, "state": entry.state}
        case GroupEntry():
            return {"kind": PrincipalKind.GROUP.value}
        case ApplicationEntry():
            return {"kind": PrincipalKind.APP.value}
        case AgentEntry():
            return {"kind": PrincipalKind.AGENT.value, "owner": entry.owner}


def _differs(row: Known, wanted: dict[str, object]) -> bool:
    return any(getattr(row, name) != value for name, value in wanted.items())
