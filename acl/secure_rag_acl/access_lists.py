"""Pages of who may read a document and of what somebody may read, as they are shown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_rag.database.access_facts import members_by_root
from secure_rag.database.document_facts import DocumentFacts, principal_names
from secure_rag.model.ids import NEVER, ClassKey, Micros, PrincipalKey, PrincipalKind, SourceKey, TenantKey
from secure_rag.model.subject import CallerIdentity
from secure_rag.ports import PolicyEngine
from secure_rag_acl import access_pages
from secure_rag_acl.access_pages import after, checked_limit
from secure_rag_acl.explain_account import iso
from secure_rag_acl.explain_paths import Paths
from secure_rag_acl.what_can import Wanted, confirm, readable
from secure_rag_acl.who_can import Readers, Reads, page_of

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """Somebody who may read.

    Attributes:
        principal: who.
        on_behalf_of: for whom an agent acts; None for everybody acting for themselves.
        through: callers, or delegations with their agent.
        paths: for each lock, from the subject to an entry of its list, group by group.
    """

    principal: str
    on_behalf_of: str | None
    through: tuple[str, ...]
    paths: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class EntryRow:
    """An entry of an allow list, and how many people, services and agents may read through it."""

    entry: str
    locks: tuple[int, ...]
    until: str | None
    readers: int


@dataclass(frozen=True, slots=True)
class ReadersPage:
    """Who may read a document: `readers` when groups are expanded, `entries` otherwise.

    Attributes:
        total: of all pages.
        next: cursor of the next page; None on the last one.
    """

    document: str
    name: str
    instant: str
    expanded: bool
    total: int
    next: str | None
    readers: tuple[ReaderRow, ...] = ()
    entries: tuple[EntryRow, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document that may be read, and the callers through whom."""

    document: str
    name: str
    label: str
    through: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentsPage:
    """What somebody may read."""

    subject: str
    instant: str
    total: int
    next: str | None
    documents: tuple[DocumentRow, ...]


@dataclass(frozen=True, slots=True)
class Documents:
    """What is listed: calls of one subject, in some sources, of classes that `covered` leaves, without `hidden`."""

    calls: tuple[CallerIdentity, ...]
    sources: frozenset[SourceKey]
    label: str | None
    purpose: str
    covered: Callable[[Collection[ClassKey]], frozenset[ClassKey]]
    hidden: frozenset[str] = frozenset()


def readers_page(
    view: ReadView,
    engine: PolicyEngine,
    tenant: TenantKey,
    tenant_name: str,
    facts: DocumentFacts,
    *,
    expanded: bool,
    purpose: str,
    limit: int,
    cursor: str | None,
) -> ReadersPage:
    """One page of who may read a document.

    Raises:
        InvalidRequestError: limit or cursor.
        PolicyError: the list and the policy engine do not agree.
    """
    size, behind = checked_limit(limit), after(cursor, 2 if expanded else 1)
    readers = Readers(view, engine, tenant, tenant_name, facts, purpose)
    everybody = readers.all()
    name = f"{facts.source}/{facts.native_id}"
    head = (facts.document_id, name, iso(view.now), expanded)
    if not expanded:
        rows = _entries(view, tenant, readers, everybody)
        shown = [x for x in rows if not behind or (x.entry,) > behind][:size]
        last = len(rows) == 0 or not shown or shown[-1] == rows[-1]
        return ReadersPage(
            *head, len(rows), None if last else access_pages.cursor((shown[-1].entry,)), entries=tuple(shown)
        )
    found = page_of(everybody, behind, size)
    for reads in found:
        readers.confirm(reads)
    last = not found or found[-1] == everybody[-1]
    rows_shown = tuple(_row(view, tenant, readers, x) for x in found)
    return ReadersPage(
        *head, len(everybody), None if last else access_pages.cursor(found[-1].key), readers=rows_shown
    )


def documents_page(
    view: ReadView,
    engine: PolicyEngine,
    tenant: TenantKey,
    asked: Documents,
    *,
    limit: int,
    cursor: str | None,
) -> DocumentsPage:
    """One page of what a subject may read.

    Raises:
        InvalidRequestError: label, limit or cursor.
        PolicyError: the list and the policy engine do not agree.
    """
    size, behind = checked_limit(limit), after(cursor, 1)
    everything = readable(
        view, engine, tenant, asked.calls, asked.purpose, Wanted(asked.sources, asked.label)
    )
    covered = asked.covered({x.class_key for x in everything})
    told = [x for x in everything if x.class_key in covered and x.document not in asked.hidden]
    shown = [x for x in told if not behind or x.key > behind][:size]
    confirm(view, engine, tenant, asked.calls, asked.purpose, shown)
    last = not shown or shown[-1] == told[-1]
    return DocumentsPage(
        subject=asked.calls[0].subject or "" if asked.calls else "",
        instant=iso(view.now),
        total=len(told),
        next=None if last else access_pages.cursor(shown[-1].key),
        documents=tuple(DocumentRow(x.document, x.name, x.label, x.callers) for x in shown),
    )


def _entries(view: ReadView, tenant: TenantKey, readers: Readers, everybody: list[Reads]) -> list[EntryRow]:
    """Entries that have not ended and through which somebody may read, by name."""
    if readers.cls is None:
        return []
    keys = {who.name: key for key, who in readers.standings.items()}
    reading = {keys[x.principal] for x in everybody if x.on_behalf_of is None}
    ends: dict[PrincipalKey, dict[int, Micros]] = {}
    for number, lock in enumerate(readers.cls.locks, 1):
        for who, end in lock.allow:
            if view.now < end:
                ends.setdefault(who, {})[number] = end
    below = members_by_root(view, tenant, ends)
    everyone = view.principal(tenant, "everyone")
    if everyone is not None and everyone.key in ends:
        member = PrincipalKind.MEMBER.value
        below[everyone.key] = {key for key in reading if readers.standings[key].kind == member}
    names = principal_names(view, tenant, ends)
    rows = [
        EntryRow(names[who], tuple(sorted(by_lock)), _until(by_lock), len(below.get(who, set()) & reading))
        for who, by_lock in ends.items()
    ]
    return sorted((x for x in rows if x.readers), key=lambda x: x.entry)


def _until(ends: dict[int, Micros]) -> str | None:
    first = min(ends.values())
    return None if first >= NEVER else iso(first)


def _row(view: ReadView, tenant: TenantKey, readers: Readers, reads: Reads) -> ReaderRow:
    """A reader with a way to an entry of each lock."""
    subject = view.subject(tenant, reads.calls[0], "qa")
    paths = Paths(view, tenant, subject.principal)
    ways: list[tuple[PrincipalKey, ...]] = []
    for lock in readers.cls.locks if readers.cls is not None else ():
        live = sorted(who for who, end in lock.allow if who in subject.closure and view.now < end)
        found = [(subject.principal, x) if x == subject.everyone else paths.to(x) for x in live]
        ways.append(min(found, key=len, default=()))
    names = principal_names(view, tenant, {key for way in ways for key in way})
    through = tuple(
        x.caller if x.delegation is None else f"{x.caller} by {x.delegation}" for x in reads.calls
    )
    named = tuple(tuple(names[key] for key in way) for way in ways)
    return ReaderRow(reads.principal, reads.on_behalf_of, through, named)
