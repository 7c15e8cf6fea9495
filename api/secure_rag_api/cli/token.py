"""`secure-rag token`: tokens of the local development issuer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from secure_rag.errors import InvalidRequestError
from secure_rag_api.asking import caller_of
from secure_rag_api.auth.development_issuer import SETTINGS, DevelopmentIssuer
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import (
    AppOption,
    AsOption,
    DelegationOption,
    HomeOption,
    JsonOption,
    TenantOption,
    tenant_name,
)
from secure_rag_api.cli.output import emit


def token(
    home: HomeOption,
    app: AppOption = None,
    as_: AsOption = None,
    delegation: DelegationOption = None,
    tenant: TenantOption = None,
    lifetime: Annotated[
        int, typer.Option(min=1, max=SETTINGS.max_lifetime_s, help="Seconds until the tokens expire.")
    ] = 3600,
    json_output: JsonOption = False,
) -> None:
    """Issue both tokens of a call. Works in the development profile only, and only a loopback service accepts them."""
    with operating(home) as work:
        opened = work.opened
        issuer = DevelopmentIssuer.open(opened.home.root, opened.settings, opened.clock)
        name = tenant_name(opened.settings, tenant)
        caller = caller_of(opened, name, subject=as_, app=app, delegation=delegation)
        if not caller.caller.startswith(("app:", "agent:")):
            raise InvalidRequestError(f"--app: {caller.caller} is neither an application nor an agent")
        issued = issuer.issue(
            app=caller.caller, tenant=name, subject=as_, delegation=delegation, lifetime_s=lifetime
        )
        asked = {"caller": caller.caller, "subject": as_, "delegation": delegation, "lifetime_s": lifetime}
        work.record("development_token", asked, tenant=name)
    if json_output:
        emit(asdict(issued))
        return
    typer.echo(f"export SECURE_RAG_TOKEN={issued.token}")
    typer.echo(f"export SECURE_RAG_SUBJECT_TOKEN={issued.subject_token}")
