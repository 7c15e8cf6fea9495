"""`secure-rag audit tail|verify|checkpoint|prune`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from secure_rag.audit import reading
from secure_rag.audit.retention import cutoff
from secure_rag.audit.signing import PUBLIC_KEY, load_public_key
from secure_rag.audit.verify import verify as verify_log
from secure_rag.config import load_settings
from secure_rag.database.home import Home
from secure_rag.errors import InvalidRequestError
from secure_rag_api.cli.common import (
    ExitCode,
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    operator,
    printable,
    reports_errors,
    show_pairs,
    when,
)
from secure_rag_api.wiring import open_installation

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Read and verify the audit log."""


@app.command("tail")
@reports_errors
def tail(
    home: HomeOption,
    n: Annotated[int, typer.Option("-n", help="Events.")] = 20,
    tenant: TenantOption = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind of event.")] = None,
    json_output: JsonOption = False,
) -> None:
    """The last events."""
    for event in reading.tail(Home(home.resolve()).audit, n, tenant, kind):
        if json_output:
            emit(asdict(event))
        else:
            line = f"{when(event.at)} {event.tenant} {event.kind} {event.event_id} {dict(event.body)}"
            typer.echo(printable(line))


@app.command("verify")
@reports_errors
def verify(
    home: HomeOption,
    checkpoint: Annotated[Path | None, typer.Option(help="Exported checkpoint, kept off this host.")] = None,
    public_key: Annotated[Path | None, typer.Option(help="Public key, kept off this host.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Find changed, removed, reordered and cut rows. Exit code 1 when something is wrong."""
    opened = Home(home.resolve())
    report = verify_log(opened.audit, load_public_key(public_key or opened.keys / PUBLIC_KEY), checkpoint)
    if json_output:
        emit({"ok": report.ok, **asdict(report)})
    else:
        for problem in report.problems:
            typer.echo(f"{problem.kind}: writer {problem.writer}, event {problem.n}: {problem.detail}")
        body = asdict(report)
        body.pop("problems")
        show_pairs(body)
        if checkpoint is None:
            typer.echo("Without an exported checkpoint a cut tail or a removed chain cannot be seen.")
        typer.echo("ok" if report.ok else "NOT OK")
    raise typer.Exit(ExitCode.DONE if report.ok else ExitCode.ATTENTION)


@app.command("checkpoint")
@reports_errors
def checkpoint(
    file: Annotated[Path, typer.Argument(help="File to write; carry it off this host.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Sign the heads of all chains and export them."""
    with open_installation(home) as opened:
        operator(opened.settings)
        result = opened.audit.export_checkpoint(file)
    emit(asdict(result)) if json_output else typer.echo(f"Wrote {file}")


@app.command("prune")
@reports_errors
def prune(home: HomeOption, json_output: JsonOption = False) -> None:
    """Cut events older than `audit.retention_days`; a signed cut keeps the rest verifiable."""
    days = load_settings(home.resolve()).audit.retention_days
    if days is None:
        raise InvalidRequestError("audit.retention_days is not set in config.yaml")
    with open_installation(home) as opened:
        operator(opened.settings)
        result = opened.audit.prune(cutoff(opened.clock.now(), days))
    emit(asdict(result)) if json_output else show_pairs(asdict(result))
