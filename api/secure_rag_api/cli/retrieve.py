"""`secure-rag retrieve`: ask as somebody, on this host, and see why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated

import typer

from secure_rag.model.decisions import Answer, Filter, Retrieved
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl.explain import Explanation, LockExplanation
from secure_rag_acl.management import Action
from secure_rag_api.asking import caller_of, explain_answer, withheld
from secure_rag_api.cli.doctor import problems_of, readable
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import (
    AppOption,
    AsOption,
    DelegationOption,
    HomeOption,
    JsonOption,
    TenantOption,
    instant,
    tenant_name,
)
from secure_rag_api.cli.output import emit, printable, when
from secure_rag_api.diagnosis import documents
from secure_rag_api.schemas import answer_body

_SHOWN = 300


SourceOption = Annotated[list[str] | None, typer.Option(help="Only this source; repeat for more.")]
StalenessOption = Annotated[
    int | None, typer.Option(help="Refuse when permissions of an open source are older (seconds).")
]
ExplainOption = Annotated[
    bool,
    typer.Option("--explain", help="Say which lock of each result opened through whom, and who wrote it."),
]


def retrieve(
    query: Annotated[str, typer.Argument(help="The question.")],
    home: HomeOption,
    as_: AsOption = None,
    app: AppOption = None,
    delegation: DelegationOption = None,
    tenant: TenantOption = None,
    k: Annotated[int, typer.Option("-k", help="Results wanted.")] = 5,
    purpose: Annotated[str, typer.Option(help="Purpose of the call.")] = "qa",
    context: Annotated[str | None, typer.Option(help="Context id of a conversation.")] = None,
    source: SourceOption = None,
    label_max: Annotated[str | None, typer.Option(help="Only up to this label.")] = None,
    modified_after: Annotated[str | None, typer.Option(help="Only content modified after this date.")] = None,
    max_staleness: StalenessOption = None,
    explain: ExplainOption = False,
    json_output: JsonOption = False,
) -> None:
    """Retrieve as somebody. Acting as a subject is recorded with your own principal."""
    with operating(home) as work:
        after = instant(modified_after) if modified_after else None
        request = RetrievalRequest(
            query=query,
            k=k,
            filter=Filter(frozenset(source or ()), label_max, after),
            purpose=purpose,
            context_id=context,
            max_staleness_s=max_staleness,
        )
        opened = work.opened
        name = tenant_name(opened.settings, tenant)
        if as_ != work.actor:
            # Before anything is looked up: what does not exist is nobody's business who may not act as others.
            work.require(Action.ACT_AS, name)
        caller = caller_of(opened, name, subject=as_, app=app, delegation=delegation)
        asked = {
            "caller": caller.caller,
            "subject": caller.subject,
            "delegation": delegation,
            "explain": explain,
        }
        work.record("acted_as", asked, tenant=name)
        answer = opened.retrieval.retrieve(caller, request)
        why = explain_answer(opened, caller, purpose, answer) if explain else []
        counts = [] if answer.results or json_output else withheld(opened, caller, purpose)
    if json_output:
        emit(_as_json(answer, why))
        return
    if not answer.results:
        typer.echo(f"Nothing found, among {documents(readable(counts))} that can be read.")
        for problem in problems_of(caller, counts):
            typer.echo(printable(f"! {problem}"))
    _show(answer, why)


def _as_json(answer: Answer, why: list[Explanation]) -> dict[str, object]:
    """What a caller gets over HTTP; the explanations are an operator's."""
    body: dict[str, object] = json.loads(answer_body(answer))
    results = body["results"]
    if why and isinstance(results, list):
        body["results"] = [x | {"explanation": y.to_dict()} for x, y in zip(results, why, strict=True)]
    return body


def _show(answer: Answer, why: list[Explanation]) -> None:
    for rank, result in enumerate(answer.results, 1):
        typer.echo(printable(f"{rank}. {_headline(result)}"))
        text = " ".join(result.text.split())
        typer.echo("   " + printable(text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")))
        if why:
            for line in _why(why[rank - 1]):
                typer.echo("   " + printable(line))
    if answer.notices:
        typer.echo(f"Notices: {', '.join(answer.notices)}")
    typer.echo(f"Decision {answer.decision_id}" + ("" if answer.complete else " (not complete)"))


def _headline(result: Retrieved) -> str:
    flags = f"  [{', '.join(result.flags)}]" if result.flags else ""
    score = "" if result.score is None else f"{result.score:.3f}  "
    return f"{score}{result.source}: {result.title}  ({result.label}, {result.trust}){flags}"


def _why(why: Explanation) -> Iterator[str]:
    """Lock by lock: through whom it opened and which entries of the source stand behind it."""
    if not why.allowed:
        yield f"why: allowed when it was answered; withheld since: {why.reason}"
        return
    yield f"why: {why.document}, permissions confirmed {when(why.acl_as_of or 0)}"
    yield f"  label {why.label}, clearance {why.clearance}"
    if why.compartments:
        yield f"  compartments {', '.join(why.compartments)}"
    for number, lock in enumerate(why.locks, 1):
        yield f"  lock {number} of {len(why.locks)} opened through {', '.join(lock.through)}"
        yield from (f"    {line}" for line in _entries(lock))
    for hop in why.hops:
        yield f"  passed {hop.principal}, up to {', '.join(hop.ceilings)}"


def _entries(lock: LockExplanation) -> Iterator[str]:
    for origin in lock.origins:
        yield f"{origin.effect} {origin.entry} at {origin.place}"
    if not lock.origins:
        yield f"allow {', '.join(lock.allow)}"
