"""`secure-rag token`: tokens of the local development issuer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from secure_rag.errors import InvalidRequestError
from secure_rag_api.auth.development_issuer import DevelopmentIssuer
from secure_rag_api.cli.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    operator,
    reports_errors,
    tenant_name,
)
from secure_rag_api.wiring import open_installation


@reports_errors
def token(
    home: HomeOption,
    app: Annotated[str, typer.Option("--app", help="Caller: app:…, or the agent that is the last hop.")],
    as_: Annotated[str | None, typer.Option("--as", help="Subject: user:…, service:… or agent:….")] = None,
    delegation: Annotated[str | None, typer.Option(help="Delegation instead of a subject.")] = None,
    tenant: TenantOption = None,
    lifetime: Annotated[int, typer.Option(help="Seconds until the tokens expire.")] = 3600,
    json_output: JsonOption = False,
) -> None:
    """Issue both tokens of a call. Works in the development profile only, and only a loopback service accepts them."""
    if (as_ is None) == (delegation is None):
        raise InvalidRequestError("give either --as or --delegation")
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        chosen = tenant_name(opened.settings, tenant)
        issuer = DevelopmentIssuer.open(opened.home.root, opened.settings, opened.clock)
        issued = issuer.issue(app=app, tenant=chosen, subject=as_, delegation=delegation, lifetime_s=lifetime)
        body = {"by": actor, "caller": app, "subject": as_, "delegation": delegation}
        opened.audit.record(chosen, "development_token", opened.new_id(), body)
    if json_output:
        emit(asdict(issued))
        return
    typer.echo(f"export SECURE_RAG_TOKEN={issued.token}")
    typer.echo(f"export SECURE_RAG_SUBJECT_TOKEN={issued.subject_token}")
