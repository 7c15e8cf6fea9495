"""`secure-rag retrieve`: ask as somebody, on this host, and see why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.errors import InvalidRequestError
from secure_rag.model.decisions import Answer, Filter
from secure_rag.model.ids import PrincipalId, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.cli.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    instant,
    operator,
    printable,
    reports_errors,
    tenant_name,
    when,
)
from secure_rag_api.wiring import Installation, open_installation

_SHOWN = 300


@reports_errors
def retrieve(
    query: Annotated[str, typer.Argument(help="The question.")],
    home: HomeOption,
    as_: Annotated[str | None, typer.Option("--as", help="Subject: user:…, service:… or agent:….")] = None,
    app: Annotated[
        str | None, typer.Option("--app", help="Calling application or, with --delegation, agent.")
    ] = None,
    delegation: Annotated[str | None, typer.Option(help="Delegation whose last hop is the caller.")] = None,
    tenant: TenantOption = None,
    k: Annotated[int, typer.Option("-k", help="Results wanted.")] = 5,
    purpose: Annotated[str, typer.Option(help="Purpose of the call.")] = "qa",
    context: Annotated[str | None, typer.Option(help="Context id of a conversation.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; repeat for more.")] = None,
    label_max: Annotated[str | None, typer.Option(help="Only up to this label.")] = None,
    modified_after: Annotated[str | None, typer.Option(help="Only content modified after this date.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each result was allowed.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Retrieve as somebody. Acting as a subject is recorded with your own principal."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        chosen = tenant_name(opened.settings, tenant)
        caller = _caller(opened, chosen, as_, app, delegation)
        request = RetrievalRequest(
            query=query,
            k=k,
            filter=Filter(
                frozenset(source or ()), label_max, instant(modified_after) if modified_after else None
            ),
            purpose=purpose,
            context_id=context,
            explain=explain,
        )
        body = {"by": actor, "caller": caller.caller, "subject": caller.subject, "delegation": delegation}
        opened.audit.record(chosen, "acted_as", opened.new_id(), body)
        answer = opened.retrieval.retrieve(caller, request)
    emit(asdict(answer)) if json_output else _show(answer)


def _caller(
    opened: Installation, tenant: str, subject: str | None, app: str | None, delegation: str | None
) -> CallerIdentity:
    if (subject is None) == (delegation is None):
        raise InvalidRequestError("give either --as or --delegation")
    caller = principal_id(app) if app else _only_application(opened, tenant, delegation)
    return CallerIdentity(tenant, caller, None if subject is None else principal_id(subject), delegation)


def _only_application(opened: Installation, tenant: str, delegation: str | None) -> PrincipalId:
    p, d = t.principal.c, t.delegation.c
    statement = (
        sa.select(p.name).join(t.tenant, t.tenant.c.id == p.tenant_id).where(t.tenant.c.name == tenant)
    )
    if delegation is None:
        statement = statement.where(p.kind == "app", p.state == "active")
    else:
        statement = statement.join(t.delegation, d.agent_id == p.id).where(d.public_id == delegation)
    with opened.reader.connect() as connection:
        names = connection.execute(statement.order_by(p.name)).scalars().all()
    if len(names) != 1:
        raise InvalidRequestError(
            f"name the caller with --app: {', '.join(names) or 'no application is known'}"
        )
    return principal_id(names[0])


def _show(answer: Answer) -> None:
    for rank, result in enumerate(answer.results, 1):
        flags = f"  [{', '.join(result.flags)}]" if result.flags else ""
        score = "" if result.score is None else f"{result.score:.3f}  "
        typer.echo(
            f"{rank}. {score}{result.source}: {printable(result.title)}  ({result.label}, {result.trust}){flags}"
        )
        text = " ".join(result.text.split())
        typer.echo("   " + printable(text[:_SHOWN] + ("…" if len(text) > _SHOWN else "")))
        if result.explanation is not None:
            typer.echo(f"   why: {dict(result.explanation)}; permissions as of {when(result.acl_as_of)}")
    if not answer.results:
        typer.echo("Nothing. `secure-rag doctor --as …` says why.")
    if answer.notices:
        typer.echo(f"Notices: {', '.join(answer.notices)}")
    typer.echo(f"Decision {answer.decision_id}" + ("" if answer.complete else " (not complete)"))
