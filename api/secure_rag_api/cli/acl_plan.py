"""`secure-rag acl plan|approve|apply|history|diff|revert`: changes of who may read what."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from secure_rag.errors import InvalidRequestError, NotFoundError
from secure_rag.model.ids import TenantKey
from secure_rag_acl.management import Action
from secure_rag_acl.plan_store import Plan, approvers, find_plan
from secure_rag_acl.policy_files import (
    LABELS,
    PolicyFile,
    mapping_scope,
    source_of,
    source_scope,
    version,
    versions,
)
from secure_rag_api.applying import apply_plan
from secure_rag_api.applying import approve as approve_plan
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, printable, printable_lines, show_table, when
from secure_rag_api.diagnosis import documents
from secure_rag_api.planning import (
    APPLY,
    APPROVE,
    PLAN,
    Proposal,
    action,
    make_plan,
    read_proposal,
    stored_proposal,
)

_PEOPLE: Final = 10
_RANGE: Final = re.compile(r"v?([1-9][0-9]{0,8})\.\.v?([1-9][0-9]{0,8})")
_VERSION: Final = re.compile(r"v?([1-9][0-9]{0,8})")
SourceOption = Annotated[str | None, typer.Option("--source", help="Of this source.", show_default=False)]
LabelsOption = Annotated[bool, typer.Option("--labels", help="Of the label taxonomy.")]
ManifestOption = Annotated[
    bool, typer.Option("--manifest", help="With --source: trust and default label, not the mapping.")
]
PlanArgument = Annotated[str, typer.Argument(help="Identifier of the plan.")]


def plan(
    home: HomeOption,
    file: Annotated[
        Path, typer.Option("--file", "-f", help="mapping.yaml, source.yaml or labels.yaml as it should be.")
    ],
    source: SourceOption = None,
    labels: LabelsOption = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show who would gain and who would lose what. Nothing is changed. Exit code 1 when it widens access."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        key = work.opened.tenant_key(name)
        if source is not None or labels:
            # Before the file is read: its errors would tell something of what is stored.
            work.require(action(LABELS if labels else mapping_scope(source or ""), PLAN), name, source)
        proposal = read_proposal(work.opened, key, name, file, source=source, labels=labels)
        work.require(action(proposal.scope, PLAN), name, source_of(proposal.scope))
        _planned(work, key, name, proposal, json_output=json_output)


def revert(
    back_to: Annotated[str, typer.Argument(metavar="vN", help="Version to go back to.")],
    home: HomeOption,
    source: SourceOption = None,
    labels: LabelsOption = False,
    manifest: ManifestOption = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make a plan of an earlier version. Exit code 1 when going back widens access."""
    with operating(home) as work:
        found = _VERSION.fullmatch(back_to)
        if found is None:
            raise InvalidRequestError("a version is v1, v2 and so on")
        name, key, scope = _scope(work, tenant, source, labels, manifest)
        work.require(action(scope, PLAN), name, source_of(scope))
        with work.opened.views.open() as view:
            proposal = stored_proposal(view._connection, key, scope, int(found[1]))
        _planned(work, key, name, proposal, json_output=json_output)


def show(plan_id: PlanArgument, home: HomeOption, json_output: JsonOption = False) -> None:
    """A plan as it was made, for who is to approve it."""
    with operating(home) as work:
        found, name = _found(work, plan_id)
        work.require(Action.POLICY_READ, name, source_of(found.draft.scope))
        with work.opened.views.open() as view:
            by = approvers(view._connection, found)
    _show(found, by, json_output=json_output)


def approve(
    plan_id: PlanArgument,
    home: HomeOption,
    digest: Annotated[
        str | None,
        typer.Option(help="Digest that you looked at; another one is refused.", show_default=False),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Approve a plan that somebody else made."""
    with operating(home) as work:
        found, name = _found(work, plan_id)
        work.require(action(found.draft.scope, APPROVE), name, source_of(found.draft.scope), found.author)
        if digest is not None and not (len(digest) >= 12 and found.digest.startswith(digest)):
            raise InvalidRequestError(f"plan {plan_id} has another digest")
        approve_plan(work.opened, plan_id, work.actor)
    said = {"approved": found.id, "digest": found.digest, "by": work.actor}
    emit(said) if json_output else typer.echo(f"Approved {found.id}, digest {found.digest[:16]}…")


def apply(plan_id: PlanArgument, home: HomeOption, json_output: JsonOption = False) -> None:
    """Make a plan true, at once and as a whole. A gain that the plan does not have stops it."""
    with operating(home) as work:
        found, name = _found(work, plan_id)
        work.require(action(found.draft.scope, APPLY), name, source_of(found.draft.scope))
        done = apply_plan(work.opened, plan_id, work.actor)
    if json_output:
        emit(asdict(done))
        return
    by = f", approved by {done.approver}" if done.approver else ""
    typer.echo(f"{done.scope} is at version {done.version}, by {done.author}{by}.")
    typer.echo(f"{documents(done.repointed)} re-pointed, {done.withheld} withheld.")


def history(
    home: HomeOption,
    source: SourceOption = None,
    labels: LabelsOption = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Versions, newest first: who made them, who approved them, and from which plan."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        key = work.opened.tenant_key(name)
        if source is not None or labels:
            work.require(Action.POLICY_READ, name, source)
        with work.opened.views.open() as view:
            found = versions(view._connection, key)
        if source is not None or labels:
            found = [x for x in found if (x.scope == LABELS if labels else source_of(x.scope) == source)]
        readable = {x.scope: work.may(Action.POLICY_READ, name, source_of(x.scope)) for x in found}
    rows = [_version(x) for x in found if readable[x.scope]]
    if json_output:
        emit(rows)
    else:
        columns = ("scope", "version", "at", "author", "approver", "plan", "note")
        show_table(columns, [["" if x[c] is None else x[c] for c in columns] for x in rows])


def diff(
    what: Annotated[str, typer.Argument(metavar="vA..vB", help="Two versions.")],
    home: HomeOption,
    source: SourceOption = None,
    labels: LabelsOption = False,
    manifest: ManifestOption = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """What changed between two versions."""
    with operating(home) as work:
        found = _RANGE.fullmatch(what)
        if found is None:
            raise InvalidRequestError("two versions are v1..v2")
        name, key, scope = _scope(work, tenant, source, labels, manifest)
        work.require(Action.POLICY_READ, name, source_of(scope))
        with work.opened.views.open() as view:
            sides = [version(view._connection, key, scope, int(n)) for n in found.groups()]
    missing = [n for n, x in zip(found.groups(), sides, strict=True) if x is None]
    if missing:
        raise NotFoundError(f"{scope} has no version {missing[0]}")
    lines = list(_lines(*(x for x in sides if x is not None)))
    if json_output:
        emit({"scope": scope, "from": int(found[1]), "to": int(found[2]), "diff": lines})
    else:
        typer.echo(printable_lines("\n".join(lines)) or "no difference")


# ---- helpers


def _scope(
    work: Operation, tenant: str | None, source: str | None, labels: bool, manifest: bool
) -> tuple[str, TenantKey, str]:
    """Tenant and scope that options name.

    Raises:
        InvalidRequestError: neither or both of --source and --labels.
    """
    if (source is None) == (not labels):
        raise InvalidRequestError("give either --source or --labels")
    name = tenant_name(work.opened.settings, tenant)
    key = work.opened.tenant_key(name)
    if source is None:
        return name, key, LABELS
    return name, key, source_scope(source) if manifest else mapping_scope(source)


def _planned(work: Operation, tenant: TenantKey, name: str, proposal: Proposal, *, json_output: bool) -> None:
    made = make_plan(work.opened, tenant, name, proposal, work.actor)
    _show(made, [], json_output=json_output)
    raise typer.Exit(ExitCode.ATTENTION if widens(made) else ExitCode.DONE)


def widens(made: Plan) -> bool:
    """Whether somebody gains anything by a plan, or it loosens something else."""
    return bool(made.draft.gains or made.draft.loosened)


def _found(work: Operation, plan_id: str) -> tuple[Plan, str]:
    with work.opened.views.open() as view:
        found = find_plan(view._connection, plan_id)
        names = {view.tenant_key(x): x for x in work.opened.tenant_names()}
    return found, names[found.tenant]


def _version(file: PolicyFile) -> dict[str, object]:
    return {
        "scope": file.scope,
        "version": file.n,
        "at": when(file.at),
        "author": file.author,
        "approver": file.approver,
        "plan": file.plan,
        "note": file.note,
        "sha256": file.sha256,
    }


def _lines(one: PolicyFile, other: PolicyFile) -> Iterator[str]:
    names = sorted({*one.bundle.beside, *other.bundle.beside})
    pairs = [("", one.bundle.text, other.bundle.text)]
    pairs += [(f" {x}", one.bundle.beside.get(x, ""), other.bundle.beside.get(x, "")) for x in names]
    for name, before, after in pairs:
        yield from difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"v{one.n}{name}", f"v{other.n}{name}", lineterm=""
        )


# ---- text


def _show(made: Plan, by: Sequence[str], *, json_output: bool) -> None:
    head = {
        "plan": made.id,
        "digest": made.digest,
        "scope": made.draft.scope,
        "base": made.draft.base,
        "author": made.author,
        "approved_by": list(by),
        "expires": when(made.expires_at),
        "applied": when(made.applied_at),
        "widens": widens(made),
        "needs_approval": list(made.draft.approval),
    }
    if json_output:
        emit(head | {"report": made.draft.report})
        return
    typer.echo(f"Plan {made.id} for {made.draft.scope}, from version {made.draft.base}, by {made.author}")
    typer.echo(f"digest {made.digest}, until {when(made.expires_at)}")
    for line in _text(made.draft.report):
        typer.echo(printable(line))
    for why in made.draft.approval:
        typer.echo(printable(f"! needs the approval of somebody else: {why}"))
    for who in by:
        typer.echo(f"approved by {who}")


def _text(report: Mapping[str, Any]) -> Iterator[str]:
    counts = report["documents"]
    yield (
        f"{documents(counts['looked_at'])} looked at, {counts['changed']} to change; {counts['gains']} gained by"
        f" somebody, {counts['losses']} lost; widening {report['widening']}"
    )
    for title, part in (("people", "people"), ("on lists", "groups"), ("in between", "in_between")):
        rows = report[part]
        yield from (f"{title}: {_row(x)}" for x in rows[:_PEOPLE])
        if len(rows) > _PEOPLE:
            yield f"{title}: and {len(rows) - _PEOPLE} more (--json has all of them)"
    for kind in ("label", "source"):
        for row in report[f"{kind}s"]:
            sides = [
                f"{side} {documents(row[side]['documents'])}, {row[side]['people']} people"
                for side in ("gains", "losses")
                if side in row
            ]
            yield f"{kind} {row[kind]}: {'; '.join(sides)}"
    for x in report["unresolved"]:
        effect = "closes" if x["effect"] == "deny" else "grants nothing on"
        yield f"! {x['name']!r} is not mapped and {effect} {_some(x)}"
    yield from (f"! unknown label {x['label']!r} on {_some(x)}" for x in report["unknown_labels"])
    yield from (f"! will be withheld: {_some(x)}: {x['why']}" for x in report["withheld"])
    yield from (f"! {x}" for x in report["warnings"])


def _row(row: Mapping[str, Any]) -> str:
    parts = [
        f"{word} {row[side]['documents']} ({', '.join(row[side]['samples'])}"
        + (f", until {when(row[side]['until'][-1])}" if "until" in row[side] else "")
        + ")"
        for side, word in (("gains", "gains"), ("losses", "loses"))
        if row[side]["documents"]
    ]
    members = f", {row['members']} in it" if "members" in row else ""
    return f"{row['principal']}{members} {'; '.join(parts)}"


def _some(row: Mapping[str, Any]) -> str:
    return f"{documents(row['documents'])} ({', '.join(row['samples'])})"
