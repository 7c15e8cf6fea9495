"""What principals may: clearances, compartments, grants; and the aliases that other systems know them by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import Micros, PrincipalId, PrincipalKey, TenantKey
from secure_rag_acl.aliases import stored
from secure_rag_acl.directory_files import (
    AgentEntry,
    ApplicationEntry,
    DirectoryFile,
    GrantEntry,
    GroupEntry,
    UserEntry,
)
from secure_rag_acl.directory_principals import Known
from secure_rag_acl.directory_tables import Path_
from secure_rag_acl.tenancy import Window, reconcile


@dataclass(frozen=True, slots=True)
class RightsReport:
    """Rows begun and ended, and whose grant is over already."""

    begun: int
    ended: int
    expired: tuple[str, ...]


_GRANT_COLUMNS: Final = ("principal_id", "actions", "label", "compartments", "sources", "purposes")
_GrantRow = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Desired:
    clearances: dict[tuple[int, str], Window]
    compartments: dict[tuple[int, str], Window]
    grants: dict[tuple[int, str, str, str, str, str], Window]
    aliases: dict[tuple[int, str], Window]


def reconcile_rights(
    connection: sa.Connection,
    tenant: TenantKey,
    document: DirectoryFile,
    known: dict[PrincipalId, Known],
    now: Micros,
) -> RightsReport:
    """Begin and end rights of everybody in the file, and end those of who is gone.

    Raises:
        ConfigError: an unknown label or compartment, or an alias that somebody else has now.
    """
    desired = _desired(connection, tenant, document, known)
    # Who is not in an incomplete file keeps what they have; the dead keep nothing.
    covered = {known[entry.id].key for _, entry in document.entries()}
    covered |= {row.key for row in known.values() if row.state == "deleted"}
    _refuse_taken_aliases(connection, tenant, document, desired.aliases, known, now, covered)

    def first(key: tuple[int, *tuple[str, ...]]) -> bool:
        return key[0] in covered

    changes = (
        reconcile(connection, t.clearance, ("principal_id", "label"), tenant, now, desired.clearances, first),
        reconcile(
            connection,
            t.compartment_member,
            ("principal_id", "compartment"),
            tenant,
            now,
            desired.compartments,
            first,
        ),
        reconcile(connection, t.grant, _GRANT_COLUMNS, tenant, now, desired.grants, first),
        reconcile(connection, t.alias, ("principal_id", "alias"), tenant, now, desired.aliases, first),
    )
    names = {row.key: str(name) for name, row in known.items()}
    expired = {names[PrincipalKey(key[0])] for key, window in desired.grants.items() if window.end <= now}
    return RightsReport(sum(x.begun for x in changes), sum(x.ended for x in changes), tuple(sorted(expired)))


def _desired(
    connection: sa.Connection, tenant: TenantKey, document: DirectoryFile, known: dict[PrincipalId, Known]
) -> _Desired:
    terms = _Terms(connection, tenant, document)
    desired = _Desired({}, {}, {}, {})
    for place, entry in document.entries():
        key = known[entry.id].key
        if isinstance(entry, UserEntry | AgentEntry):
            label = terms.clearance(entry, place)
            if label is not None:
                desired.clearances[key, label] = Window()
            for name in terms.compartments(entry.compartments, (*place, "compartments")):
                desired.compartments[key, name] = Window()
        if isinstance(entry, UserEntry | GroupEntry):
            for name in entry.native_ids():
                desired.aliases[key, name] = Window()
        if isinstance(entry, ApplicationEntry | AgentEntry):
            row = terms.grant(entry.grant, (*place, "grant"))
            desired.grants[(key, *row)] = Window(end=entry.grant.expires)
    return desired


class _Terms:
    """Labels and compartments of the tenant, by the names that the file uses."""

    def __init__(self, connection: sa.Connection, tenant: TenantKey, document: DirectoryFile) -> None:
        self._document = document
        rows = connection.execute(
            sa.select(t.label.c.name, t.label.c.guid).where(t.label.c.tenant_id == tenant)
        )
        self._labels = {str(row.name): str(row.guid) for row in rows.all()}
        c = t.compartment.c
        self._compartments = set(connection.execute(sa.select(c.name).where(c.tenant_id == tenant)).scalars())
        self._defaults = {
            kind: self.label(name, ("defaults", "clearance", kind))
            for kind, name in document.defaults.clearance.items()
        }

    def label(self, name: str, place: Path_) -> str:
        if name not in self._labels:
            known = ", ".join(self._labels) or "none; import labels first"
            raise self._document.error(place, f"unknown label {name!r} (known: {known})")
        return self._labels[name]

    def clearance(self, entry: UserEntry | AgentEntry, place: Path_) -> str | None:
        """Label of a clearance: the entry's own, or the default of its kind; without either, none."""
        if entry.clearance is not None:
            return self.label(entry.clearance, (*place, "clearance"))
        return self._defaults.get(entry.kind) if isinstance(entry, UserEntry) else None

    def compartments(self, names: list[str], place: Path_) -> list[str]:
        for name in names:
            if name not in self._compartments:
                raise self._document.error(place, f"unknown compartment {name!r}")
        return sorted(set(names))

    def grant(self, grant: GrantEntry, place: Path_) -> _GrantRow:
        """Columns of a grant, lists in canonical JSON."""
        compartments = self.compartments(grant.compartments, (*place, "compartments"))
        return (
            _json(grant.actions),
            self.label(grant.label, (*place, "label")),
            _json(compartments),
            _json(grant.sources),
            _json(grant.purposes),
        )


def _json(names: Sequence[str]) -> str:
    return json.dumps(sorted(set(names)), separators=(",", ":"))


def _refuse_taken_aliases(
    connection: sa.Connection,
    tenant: TenantKey,
    document: DirectoryFile,
    desired: dict[tuple[int, str], Window],
    known: dict[PrincipalId, Known],
    now: Micros,
    covered: set[PrincipalKey],
) -> None:
    """Refuse an alias that somebody has who is not in the file: it means one principal at a time."""
    a = t.alias.c
    rows = connection.execute(
        sa.select(a.alias, a.principal_id).where(a.tenant_id == tenant, a.valid_from <= now, now < a.valid_to)
    ).all()
    taken = {stored(str(row.alias)): int(row.principal_id) for row in rows if row.principal_id not in covered}
    for _, name in desired:
        if name in taken:
            owner = next(who for who, row in known.items() if row.key == taken[name])
            raise document.error((), f"{name.removeprefix('mail:')} belongs to {owner} now")
