"""`secure-rag doctor`: why are answers empty?"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from secure_rag.model.decisions import Reason
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.management import Action
from secure_rag_api.asking import Withheld, caller_of, withheld
from secure_rag_api.cli.boundary import ExitCode
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
from secure_rag_api.cli.output import emit, printable, when
from secure_rag_api.diagnosis import Diagnosis, diagnose, documents

HINTS = {
    Reason.LABEL: "the clearance or a ceiling in the chain is below the label",
    Reason.COMPARTMENT: "a compartment is missing on the subject or on a hop",
    Reason.DELEGATION: "the grant of the application or an agent does not cover label, source, purpose or time",
    Reason.UNRESOLVED_DENY: "a deny names somebody who is not mapped or not known for certain",
    Reason.DENIED: "a deny entry names the subject, one of its groups or a hop",
    Reason.NOT_ON_LIST: "no allow entry of every lock names the subject or one of its groups",
    Reason.UNKNOWN_SUBJECT: "the directory does not know the subject as active, or not since a restore",
    Reason.REVOKED: "somebody revoked it; see `secure-rag acl revocations`",
    Reason.ACL_STALE: "the permissions were confirmed too long ago",
    Reason.QUARANTINED: "a detector hit and nobody has released them",
    Reason.NOT_INDEXED: "their last ingest failed",
}


def doctor(
    home: HomeOption,
    as_: AsOption = None,
    app: AppOption = None,
    delegation: DelegationOption = None,
    purpose: Annotated[str, typer.Option(help="Purpose of the calls.")] = "qa",
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Say what needs attention and, with --as or --delegation, how many documents are withheld from them and why.

    Exit code 1 when something needs attention.
    """
    with operating(home) as work:
        found = diagnose(work.opened)
        answers: list[Withheld] = []
        caller: CallerIdentity | None = None
        if as_ is not None or delegation is not None or app is not None:
            name = tenant_name(work.opened.settings, tenant)
            if as_ != work.actor:
                work.require(Action.ACT_AS, name)
            caller = caller_of(work.opened, name, subject=as_, app=app, delegation=delegation)
            asked = {"caller": caller.caller, "subject": as_, "delegation": delegation, "purpose": purpose}
            work.record("doctor", asked, tenant=name)
            answers = withheld(work.opened, caller, purpose)
            found.problems += problems_of(caller, answers)
    if json_output:
        emit(_as_json(found, answers))
    else:
        _show(found)
        if caller is not None:
            typer.echo(printable(f"{_who(caller)} can read {documents(readable(answers))}."))
    raise typer.Exit(ExitCode.ATTENTION if found.problems else ExitCode.DONE)


def readable(answers: list[Withheld]) -> int:
    """How many documents are not withheld."""
    return sum(x.documents.get(Reason.ALLOWED, 0) for x in answers)


def problems_of(caller: CallerIdentity, answers: list[Withheld]) -> list[str]:
    """Why documents are withheld, over all sources."""
    total = sum((Counter(x.documents) for x in answers), Counter[Reason]())
    return [
        f"{documents(count)} withheld from {_who(caller)}: {reason} ({HINTS.get(reason, 'see the audit log')})"
        for reason, count in sorted(total.items())
        if reason is not Reason.ALLOWED
    ]


def _who(caller: CallerIdentity) -> str:
    return str(caller.subject or caller.delegation)


def _show(found: Diagnosis) -> None:
    for name, value in found.facts.items():
        typer.echo(printable(f"{name}: {value}"))
    for source in found.sources:
        states = ", ".join(f"{count} {state}" for state, count in sorted(source.states.items())) or "empty"
        line = f"source {source.tenant}/{source.name}: {states}; permissions as of {when(source.acl_as_of)}"
        typer.echo(printable(line))
    for problem in found.problems:
        typer.echo(printable(f"! {problem}"))
    many = len(found.problems)
    typer.echo(
        f"{many} point{' needs' if many == 1 else 's need'} attention."
        if many
        else "Nothing needs attention."
    )


def _as_json(found: Diagnosis, answers: list[Withheld]) -> dict[str, object]:
    sources = [
        {
            "tenant": x.tenant,
            "source": x.name,
            "documents": x.states,
            "default_label": x.default_label_documents,
            "acl_as_of": when(x.acl_as_of),
        }
        for x in found.sources
    ]
    return {
        **found.facts,
        "sources": sources,
        "problems": found.problems,
        "withheld": [{"source": x.source, "documents": x.documents} for x in answers],
    }
