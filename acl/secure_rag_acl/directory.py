"""Import of a directory: one transaction that is written whole or not at all.

Invariants
- Rows with validity end and begin; what is unchanged is not touched, so a second import changes nothing.
- Nobody vanishes: who is gone becomes a tombstone. A deleted group keeps its links, so that a deny naming it, or a
  group above it, stays closed; only `forget` ends them.
- What is not known for certain closes denies: an incomplete import removes nothing and marks every group incomplete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
import structlog

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.database.revocations import fold
from secure_rag.database.subjects import SubjectReader
from secure_rag.errors import ConfigError
from secure_rag.model.ids import NEVER, Micros, PrincipalId, PrincipalState, TenantKey
from secure_rag_acl.directory_files import DirectoryFile, check
from secure_rag_acl.directory_links import reconcile_links
from secure_rag_acl.directory_principals import Known, apply_principals, known_principals, mark_groups
from secure_rag_acl.directory_rights import reconcile_rights
from secure_rag_acl.tenancy import ensure_tenant

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DirectoryReport:
    """What an import changed and what it left doubtful. Lists hold principal names, sorted."""

    tenant: str
    complete: bool
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    forgotten: tuple[str, ...] = ()
    links_begun: int = 0
    links_ended: int = 0
    rights_begun: int = 0
    rights_ended: int = 0
    unknown: tuple[str, ...] = ()
    """`principal (place)` of references to somebody whom the directory does not define."""
    uncertain: tuple[str, ...] = ()
    """Groups whose mention in a deny closes the lock for everybody, until they are known completely."""
    expired: tuple[str, ...] = ()
    """Applications and agents whose grant in the file is over already."""
    serving: bool = True
    """False when the database was restored and this import does not cover everything: nobody sees anything yet."""
    declared_incomplete: tuple[str, ...] = ()
    """Groups that the file itself calls incomplete; nobody needs to be told."""

    def counts(self) -> dict[str, int]:
        """Numbers for the audit log."""
        counted = ("added", "changed", "deleted", "forgotten", "unknown", "uncertain", "expired")
        numbers = {name: len(getattr(self, name)) for name in counted}
        counters = ("links_begun", "links_ended", "rights_begun", "rights_ended")
        return numbers | {name: getattr(self, name) for name in counters}

    @property
    def changes(self) -> int:
        """How many rows were written; 0 when the file says what is known already."""
        doubts = ("unknown", "uncertain", "expired", "forgotten")
        return sum(number for name, number in self.counts().items() if name not in doubts)

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should look at it."""
        surprising = set(self.uncertain) - set(self.declared_incomplete)
        return bool(self.unknown or surprising or self.expired or not self.serving)

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def import_directory(
    engine: sa.Engine, document: DirectoryFile, *, actor: str, now: Micros, forget: Sequence[str] = ()
) -> DirectoryReport:
    """Make the directory of a tenant what a file says.

    Args:
        engine: one that can write.
        document: the file.
        actor: principal who imports; for the log.
        now: when changes take effect.
        forget: deleted groups whose old links end now, knowingly: denies that were closed for them open again.

    Raises:
        ConfigError: the file names an unknown label or compartment, or contradicts itself; nothing was changed.
        UnavailableError: the database could not be written; nothing was changed.
    """
    check(document)
    with write(engine) as connection:
        report = _import(connection, document, now, forget)
    _log.info(
        "directory_imported", actor=actor, tenant=report.tenant, complete=report.complete, **report.counts()
    )
    return report


def _import(
    connection: sa.Connection, document: DirectoryFile, now: Micros, forget: Sequence[str]
) -> DirectoryReport:
    tenant = ensure_tenant(connection, document.tenant)
    before = known_principals(connection, tenant)
    _refuse_forgetting(document, before, forget)
    people = apply_principals(connection, tenant, document, before)
    after = known_principals(connection, tenant)
    known_since, serving = _serves(connection, tenant, document, before)
    links = reconcile_links(
        connection, tenant, document, after, now, forget, anew=serving and not known_since
    )
    marked = mark_groups(connection, document, after)
    rights = reconcile_rights(connection, tenant, document, after, now)
    fold(connection, tenant, now, now)
    if serving:
        _known_as_of(connection, tenant, now)
    return DirectoryReport(
        tenant=document.tenant,
        complete=document.complete,
        added=people.added,
        changed=tuple(sorted({*people.changed, *marked} - set(people.added))),
        deleted=people.deleted,
        forgotten=tuple(sorted(forget)),
        links_begun=links.begun,
        links_ended=links.ended,
        rights_begun=rights.begun,
        rights_ended=rights.ended,
        unknown=tuple(_unknown(document, after)),
        uncertain=_uncertain_groups(connection, tenant, after, now),
        expired=rights.expired,
        serving=serving,
        declared_incomplete=tuple(sorted(x.id for x in document.groups or () if x.complete is False)),
    )


def _known_as_of(connection: sa.Connection, tenant: TenantKey, now: Micros) -> None:
    """Record since when the directory is known. A clock that was set back since does not take views back behind that.

    Nor behind a revocation: a restored home does not know when the directory was known before.
    """
    c, r = t.tenant.c, t.revocation.c
    cut = sa.select(sa.func.coalesce(sa.func.max(r.valid_from), 0)).where(
        r.tenant_id == tenant, r.valid_to >= NEVER
    )
    connection.execute(
        sa.update(t.tenant)
        .where(c.id == tenant)
        .values(directory_as_of=sa.func.max(c.directory_as_of, int(now), cut.scalar_subquery()))
    )


def _refuse_forgetting(
    document: DirectoryFile, known: dict[PrincipalId, Known], forget: Sequence[str]
) -> None:
    defined = {entry.id for _, entry in document.entries()}
    for name in forget:
        row = known.get(PrincipalId(name))
        doubtful = row is not None and row.state in (PrincipalState.DELETED, PrincipalState.UNKNOWN)
        if not doubtful or name in defined:
            raise ConfigError(f"{name} cannot be forgotten: it is not a deleted or unknown principal")


def _unknown(document: DirectoryFile, known: dict[PrincipalId, Known]) -> Iterator[str]:
    """References to somebody whom no directory file defines."""
    for index, group in enumerate(document.groups or ()):
        for number, member in enumerate(group.members):
            if not known[member.id].defined:
                yield f"{member.id} ({document.place(('groups', index, 'members', number))})"
    for index, agent in enumerate(document.agents or ()):
        if agent.owner not in known or not known[agent.owner].defined:
            yield f"{agent.owner} ({document.place(('agents', index, 'owner'))})"


def _uncertain_groups(
    connection: sa.Connection, tenant: TenantKey, known: dict[PrincipalId, Known], now: Micros
) -> tuple[str, ...]:
    doubtful = SubjectReader(connection, now).uncertain(tenant)
    return tuple(
        sorted(name for name, row in known.items() if row.key in doubtful and name.startswith("group:"))
    )


def _serves(
    connection: sa.Connection, tenant: TenantKey, document: DirectoryFile, before: dict[PrincipalId, Known]
) -> tuple[bool, bool]:
    """Whether the directory was known, and whether it is with this import.

    After a restore only an import that covers everything counts: a restored database holds memberships that were
    ended since, and whatever an import does not cover would stay so.
    """
    c = t.tenant.c
    known_since = bool(connection.execute(sa.select(c.directory_as_of).where(c.id == tenant)).scalar_one())
    fresh = not any(row.defined for row in before.values())
    return known_since, known_since or fresh or (document.complete and document.covers(before))
