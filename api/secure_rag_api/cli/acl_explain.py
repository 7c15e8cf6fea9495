"""`secure-rag acl explain`, `who-can`, `what-can`: why, who, and what, for whoever manages the source."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Annotated

import typer

from secure_rag.model.ids import PrincipalId
from secure_rag_acl.access_lists import DocumentsPage, ReadersPage
from secure_rag_acl.access_pages import DEFAULT_PAGE
from secure_rag_acl.explain_account import Account, ListEntry, LockAccount, Step
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import (
    AppOption,
    AsOption,
    HomeOption,
    JsonOption,
    TenantOption,
    instant,
    principal,
    tenant_name,
)
from secure_rag_api.cli.output import emit, printable, show_table
from secure_rag_api.explaining import Asker, Explaining, ExplainRequest, ListRequest

DocumentOption = Annotated[str, typer.Option("--doc", help="Document: its identifier, or SOURCE/PATH.")]
PurposeOption = Annotated[str, typer.Option(help="Purpose of the call.")]
LimitOption = Annotated[int, typer.Option(help="Lines on a page.")]
CursorOption = Annotated[str | None, typer.Option(help="Cursor of the next page.", show_default=False)]
_MARKS = {True: "yes", False: "NO", None: "?"}


def explain(
    document: DocumentOption,
    home: HomeOption,
    as_: AsOption = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", help="Agent of the chain; repeat, in order.")
    ] = None,
    app: AppOption = None,
    delegation: Annotated[str | None, typer.Option(help="Instead of --as and --agent.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="A moment in the past (ISO 8601).")] = None,
    purpose: PurposeOption = "qa",
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Why somebody may read a document, or what would have to change. Without --as it is about you."""
    asked = ExplainRequest(
        document=document,
        subject=None if as_ is None else principal(as_),
        app=None if app is None else principal(app),
        agents=tuple(principal(x) for x in agent or ()),
        delegation=delegation,
        purpose=purpose,
        at=None if at is None else instant(at),
    )
    with operating(home) as work:
        found = Explaining(work.opened).explain(_asker(work, tenant), asked)
    if json_output:
        emit(dataclasses.asdict(found))
        return
    for line in _lines(found):
        typer.echo(printable(line))


def who_can(
    document: Annotated[str, typer.Argument(help="Document: its identifier, or SOURCE/PATH.")],
    home: HomeOption,
    expanded: Annotated[
        bool, typer.Option("--expanded", help="By name, with paths; a right of its own.")
    ] = False,
    purpose: PurposeOption = "qa",
    limit: LimitOption = DEFAULT_PAGE,
    cursor: CursorOption = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Who may read a document: people and agents, by entry of its lists or by name."""
    asked = ListRequest(document=document, expanded=expanded, purpose=purpose, limit=limit, cursor=cursor)
    with operating(home) as work:
        found = Explaining(work.opened).who_can(_asker(work, tenant), asked)
    if json_output:
        emit(dataclasses.asdict(found))
        return
    _show_readers(found)


def what_can(
    subject: Annotated[str, typer.Argument(help="Subject: user:…, service:… or agent:….")],
    home: HomeOption,
    label: Annotated[str | None, typer.Option(help="NAME, '>=NAME' or '<=NAME'.", show_default=False)] = None,
    source: Annotated[str | None, typer.Option(help="Only this source.", show_default=False)] = None,
    app: AppOption = None,
    purpose: PurposeOption = "qa",
    limit: LimitOption = DEFAULT_PAGE,
    cursor: CursorOption = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """What somebody may read, of the sources that you may have explained."""
    asked = ListRequest(
        subject=principal(subject),
        app=None if app is None else principal(app),
        label=label,
        source=source,
        purpose=purpose,
        limit=limit,
        cursor=cursor,
    )
    with operating(home) as work:
        found = Explaining(work.opened).what_can(_asker(work, tenant), asked)
    if json_output:
        emit(dataclasses.asdict(found))
        return
    _show_documents(found)


def _asker(work: Operation, tenant: str | None) -> Asker:
    return Asker(tenant_name(work.opened.settings, tenant), PrincipalId(work.actor))


def _lines(found: Account) -> Iterator[str]:
    who = found.subject or found.delegation or "nobody"
    through = "" if found.caller == found.subject else f" through {found.caller}"
    yield f"{found.name}: {'allowed' if found.allowed else 'withheld'} for {who}{through} at {found.instant}"
    if not found.allowed:
        failing = "" if found.failing is None else f" (first control that fails: {found.failing})"
        yield f"reason: {found.reason}{failing}"
    for repair in found.repairs:
        yield f"to change: {repair.says}"
    for step in found.steps:
        yield _step(step)
        if step.control == "chain":
            for hop in found.hops:
                ceilings = "" if hop.ceilings is None else f", up to {', '.join(hop.ceilings) or 'nothing'}"
                refused = f", refuses {', '.join(hop.refuses)}" if hop.refuses else ""
                yield f"       hop {hop.principal}{ceilings}{refused}"
        if step.control == "allow_lists":
            for lock in found.locks:
                yield from _lock(lock)
    for label, values in (("as it is now", found.no_history), ("not shown", found.not_shown)):
        if values:
            yield f"{label}: {'; '.join(values)}"


def _step(step: Step) -> str:
    return f"  {_MARKS[step.passed]:4} {step.control.replace('_', ' ')}: {step.says}"


def _lock(lock: LockAccount) -> Iterator[str]:
    yield f"       lock {lock.number}: {lock.state.replace('_', ' ')}"
    for what, entries in (("allow", lock.opens_through), ("deny", lock.closed_by)):
        for entry in entries:
            yield f"         {what} {_entry(entry)}"
    if lock.deny:
        more = f" and {lock.more_deny} more" if lock.more_deny else ""
        yield f"         denies considered: {', '.join(lock.deny)}{more}"


def _entry(entry: ListEntry) -> str:
    path = f" ({' → '.join(entry.path)})" if len(entry.path) > 1 else ""
    until = f" until {entry.until}" if entry.until else ""
    origins = ", ".join(f"{x.entry!r} at {x.place}" for x in entry.origins)
    return f"{entry.principal or 'nobody known'}{path}{until}" + (f", from {origins}" if origins else "")


def _show_readers(found: ReadersPage) -> None:
    typer.echo(printable(f"{found.name} at {found.instant}: {found.total}"))
    if found.expanded:
        rows = [
            (
                x.principal,
                x.on_behalf_of or "",
                ", ".join(x.through),
                "; ".join(" → ".join(path) for path in x.paths),
            )
            for x in found.readers
        ]
        show_table(("who", "for", "through", "path"), rows)
    else:
        entries = [(x.entry, ", ".join(map(str, x.locks)), x.readers, x.until or "") for x in found.entries]
        show_table(("entry", "locks", "readers", "until"), entries)
    _show_next(found.next)


def _show_documents(found: DocumentsPage) -> None:
    typer.echo(printable(f"{found.subject} at {found.instant}: {found.total}"))
    rows = [(x.name, x.label, ", ".join(x.through), x.document) for x in found.documents]
    show_table(("document", "label", "through", "id"), rows)
    _show_next(found.next)


def _show_next(cursor: str | None) -> None:
    if cursor is not None:
        typer.echo(f"next page: --cursor {cursor}")
