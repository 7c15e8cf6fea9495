"""`secure-rag audit tail|verify|checkpoint|prune`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from secure_rag.audit import reading
from secure_rag.audit.retention import cutoff
from secure_rag.audit.signing import PUBLIC_KEY, load_public_key
from secure_rag.audit.verify import verify as verify_log
from secure_rag.config import load_settings
from secure_rag.database.home import Home
from secure_rag.errors import AuthenticationError, ConfigError, NotFoundError, SecureRagError
from secure_rag_acl.management import Action
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption
from secure_rag_api.cli.output import emit, printable, show_pairs, when
from secure_rag_api.operators import operator

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Read and verify the audit log."""


@app.command("tail")
def tail(
    home: HomeOption,
    n: Annotated[int, typer.Option("-n", help="Events.")] = 20,
    tenant: TenantOption = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind of event.")] = None,
    event_id: Annotated[
        str | None, typer.Option("--id", help="Only this event, as a decision id names one.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """The last events, of all tenants unless one is named. With --json one line per event."""
    _permit(home, tenant)
    log = Home(home).audit
    events = reading.tail(log, n, tenant, kind) if event_id is None else (_found(log, event_id),)
    for event in events:
        if json_output:
            emit({**asdict(event), "at": when(event.at), "at_us": event.at})
        else:
            body = json.dumps(dict(event.body), ensure_ascii=False, sort_keys=True)
            typer.echo(
                printable(f"{when(event.at)} {event.tenant or '-'} {event.kind} {event.event_id} {body}")
            )


def _permit(home: Path, tenant: str | None) -> None:
    """Let only those read the log whose roles allow it, in every tenant unless one is named.

    Raises:
        AuthenticationError: they do not, or the OS user is no operator.
    """
    operator(load_settings(home))
    try:
        with operating(home) as work:
            for name in work.opened.tenant_names() if tenant is None else [tenant]:
                work.require(Action.AUDIT_READ, name)
    except AuthenticationError:
        raise
    except (SecureRagError, SQLAlchemyError):
        # The log is read also when the rest of the home is damaged. Then no role can be read, and whoever operates
        # the home could read the file itself.
        return


def _found(log: Path, event_id: str) -> reading.AuditEvent:
    event = reading.find(log, event_id)
    if event is None:
        raise NotFoundError(f"no event {event_id!r}")
    return event


@app.command("verify")
def verify(
    home: HomeOption,
    checkpoint: Annotated[Path | None, typer.Option(help="Exported checkpoint, kept off this host.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="Public key, kept off this host.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Find changed, removed, reordered and cut rows. Exit code 1 when something is wrong."""
    _permit(home, None)
    place = Home(home)
    report = verify_log(place.audit, load_public_key(public_key or place.keys / PUBLIC_KEY), checkpoint)
    if json_output:
        emit({"ok": report.ok, **asdict(report)})
    else:
        for problem in report.problems:
            what = f"{problem.kind}: writer {problem.writer}, event {problem.n}: {problem.detail}"
            typer.echo(printable(what))
        body = asdict(report)
        body.pop("problems")
        show_pairs(body)
        if checkpoint is None:
            typer.echo("Without an exported checkpoint a cut tail or a removed chain cannot be seen.")
        typer.echo("ok" if report.ok else "NOT OK")
    raise typer.Exit(ExitCode.DONE if report.ok else ExitCode.ATTENTION)


@app.command("checkpoint")
def checkpoint(
    file: Annotated[Path, typer.Argument(help="File to write; carry it off this host.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Sign the heads of all chains and export them. Exit code 1 when a chain does not verify."""
    with operating(home) as work:
        work.record("audit_checkpoint_exported", {"file": str(file)})
        result = work.opened.audit.export_checkpoint(file)
    if json_output:
        emit(asdict(result))
    else:
        for problem in result.problems:
            typer.echo(printable(f"! {problem.kind}: writer {problem.writer}, event {problem.n}"))
        typer.echo(printable(f"Wrote {file}"))
    raise typer.Exit(ExitCode.ATTENTION if result.problems else ExitCode.DONE)


@app.command("prune")
def prune(home: HomeOption, json_output: JsonOption = False) -> None:
    """Cut events older than `audit.retention_days`; a signed cut keeps the rest verifiable.

    Exit code 1 when a chain does not verify and was left alone, or old bytes are still held by a reader.
    """
    with operating(home) as work:
        days = work.opened.settings.audit.retention_days
        if days is None:
            raise ConfigError(f"{work.opened.home.settings}: audit.retention_days is not set")
        work.record("audit_prune", {"days": days})
        result = work.opened.audit.prune(cutoff(work.opened.clock.now(), days))
    emit(asdict(result)) if json_output else show_pairs(asdict(result))
    raise typer.Exit(ExitCode.DONE if result.erased and not result.problems else ExitCode.ATTENTION)
