"""`secure-rag doctor`: why are answers empty?"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from secure_rag.database import health
from secure_rag.errors import SecureRagError
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.authorize import READ, is_stale
from secure_rag_api.cli.common import (
    ExitCode,
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    operator,
    printable,
    reports_errors,
    tenant_name,
    when,
)
from secure_rag_api.wiring import Installation, open_installation

_SHOWN_NAMES = 20
_HINTS = {
    Reason.LABEL: "the clearance or a ceiling in the chain is below the label",
    Reason.COMPARTMENT: "a compartment is missing on the subject or on a hop",
    Reason.DELEGATION: "the grant of the application or an agent does not cover source, purpose or time",
    Reason.UNRESOLVED_DENY: "a deny names somebody who is not mapped or not known for certain",
    Reason.DENIED: "a deny entry names the subject, one of its groups or a hop",
    Reason.NOT_ON_LIST: "no allow entry of every lock names the subject or one of its groups",
    Reason.UNKNOWN_SUBJECT: "the directory does not know the subject as active",
}


@reports_errors
def doctor(
    home: HomeOption,
    as_: Annotated[str | None, typer.Option("--as", help="Subject whose answers are empty.")] = None,
    app: Annotated[str | None, typer.Option("--app", help="Application that asks for it.")] = None,
    purpose: Annotated[str, typer.Option(help="Purpose of the calls.")] = "qa",
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check model, sandbox, sources, directory and quarantine; with --as and --app, count why documents are withheld.

    Exit code 1 when something needs attention.
    """
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        problems, facts = _installation(opened)
        source_problems, source_facts = _sources(opened)
        problems += source_problems
        facts |= source_facts
        if as_ is not None and app is not None:
            chosen = tenant_name(opened.settings, tenant)
            withheld = _withheld(opened, chosen, as_, app, purpose)
            facts["documents"] = withheld
            problems += [
                f"{count} documents withheld from {as_}: {reason} ({_HINTS.get(Reason(reason), '')})"
                for reason, count in withheld.items()
                if reason != Reason.ALLOWED
            ]
            body = {"by": actor, "subject": as_, "caller": app}
            opened.audit.record(chosen, "doctor", opened.new_id(), body)
    if json_output:
        emit({"problems": problems, **facts})
    else:
        for name, value in facts.items():
            typer.echo(printable(f"{name}: {value}"))
        for problem in problems:
            typer.echo(printable(f"! {problem}"))
        typer.echo("Nothing needs attention." if not problems else f"{len(problems)} points need attention.")
    raise typer.Exit(ExitCode.ATTENTION if problems else ExitCode.DONE)


def _installation(opened: Installation) -> tuple[list[str], dict[str, object]]:
    problems: list[str] = []
    facts: dict[str, object] = {"home": str(opened.home.root), "profile": opened.settings.profile.value}
    try:
        facts["embedding"] = opened.embedder.engine_id
        layers = opened.ingest_tools.parser.layers
        facts["parse sandbox"] = ", ".join(x.name for x in layers if x.holds)
        problems += [f"parse sandbox: {x.name} does not hold on this host: {x.note}" for x in layers if not x.holds]
    except SecureRagError as error:
        problems.append(str(error))
    return problems, facts


def _sources(opened: Installation) -> tuple[list[str], dict[str, object]]:
    problems: list[str] = []
    facts: dict[str, object] = {}
    now = opened.clock.now()
    with opened.reader.connect() as connection:
        found = health.sources(connection)
        unresolved = health.unresolved_names(connection)
        uncertain = health.uncertain_groups(connection)
        missing = health.tenants_without_directory(connection)
    if not found:
        problems.append("no source is registered: `secure-rag ingest run PATH/source.yaml`")
    for source in found:
        name = f"source {source.tenant}/{source.name}"
        facts[name] = {**source.states, "permissions as of": when(source.acl_as_of)}
        if is_stale(source.acl_as_of, source.max_acl_age, now):
            problems.append(
                f"{name}: permissions are too old ({when(source.acl_as_of)}): `secure-rag ingest run`"
            )
        for state in ("quarantined", "withheld"):
            if source.states.get(state):
                problems.append(f"{name}: {source.states[state]} {state}")
        if source.default_label_documents:
            problems.append(f"{name}: {source.default_label_documents} documents have the default label")
    problems += [
        f"{count} documents: {entry!r} is not mapped: "
        + ("grants nothing" if entry.startswith("allow ") else "closes the lock for everybody")
        for entry, count in list(unresolved.items())[:_SHOWN_NAMES]
    ]
    if len(unresolved) > _SHOWN_NAMES:
        problems.append(f"and {len(unresolved) - _SHOWN_NAMES} more unmapped names")
    problems += [
        f"tenant {name}: {count} principals are not known for certain; denies naming them close their locks"
        for name, count in uncertain.items()
    ]
    problems += [f"tenant {name}: import its directory; nobody has rights until then" for name in missing]
    return problems, facts


def _withheld(opened: Installation, tenant: str, subject: str, app: str, purpose: str) -> dict[str, int]:
    caller = CallerIdentity(tenant, principal_id(app), principal_id(subject))
    counts: Counter[str] = Counter()
    with opened.views.open() as view:
        key = view.tenant_key(tenant)
        if key is None:
            return {Reason.TENANT.value: 0}
        who = view.subject(key, caller, purpose)
        per_class = view.documents_per_class(key)
        for class_key, cls in view.classes(key, per_class).items():
            decision = opened.policy.decide(who, READ, cls, view.now)
            counts[decision.reason.value] += per_class[class_key]
    return dict(sorted(counts.items()))
