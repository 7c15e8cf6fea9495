"""`secure-rag ingest run|permissions`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from secure_rag.errors import ConfigError, SecureRagError
from secure_rag_acl.management import Action
from secure_rag_api.cli.boundary import ExitCode, complain
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption
from secure_rag_api.cli.output import console_err, emit, is_terminal, printable, show_table
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.permission_syncing import chosen_sources, sync_source
from secure_rag_ingestion.permission_sync import SyncReport
from secure_rag_ingestion.pipeline import RunReport
from secure_rag_ingestion.runs import Outcome, RunItem, RunStatus
from secure_rag_ingestion.sources import load_manifest

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Bring documents and their permissions into the index."""


@app.command("run")
def run(
    home: HomeOption,
    manifests: Annotated[
        list[Path] | None,
        typer.Argument(
            help="source.yaml files, or folders that hold some; all registered sources otherwise."
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Run sources one after the other; each item ends in an outcome with a reason.

    With --json one line per item and run. Exit code 1 when an item failed, a run did not complete, or one of several
    sources could not be run.
    """
    with operating(home) as work:
        found = _permitted(work, find_manifests(work.opened, manifests or []), named=bool(manifests))
        reports = [_run(work, x, alone=len(found) == 1, json_output=json_output) for x in found]
    done = [x for x in reports if x is not None]
    if not json_output:
        show_reports(done)
    bad = any(x.status is not RunStatus.COMPLETED or x.outcomes.get(Outcome.FAILED) for x in done)
    raise typer.Exit(ExitCode.ATTENTION if bad or len(done) < len(reports) else ExitCode.DONE)


@app.command("permissions")
def permissions(
    home: HomeOption,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Name or manifest of a source; all that are registered otherwise."),
    ] = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Read permissions only, and bring the index in line with them; no content is opened.

    A document whose permissions cannot be read is withheld until they can. With --json one line per document that
    changed or failed, and one per source. Exit code 1 when there was such a failure, or a run did not complete.
    """
    with operating(home) as work:
        found = _permitted(work, chosen_sources(work.opened, tenant, source), named=source is not None)
        reports = [_sync(work, x, alone=len(found) == 1, json_output=json_output) for x in found]
    done = [x for x in reports if x is not None]
    if not json_output:
        rows = [(r.tenant, r.source, r.status.value, _counts(r.outcomes), r.run_id) for r in done]
        show_table(("tenant", "source", "status", "outcomes", "run"), rows)
    bad = any(x.status is not RunStatus.COMPLETED or x.outcomes.get(Outcome.FAILED) for x in done)
    raise typer.Exit(ExitCode.ATTENTION if bad or len(done) < len(reports) else ExitCode.DONE)


def _permitted(work: Operation, found: list[Path], *, named: bool) -> list[Path]:
    """Sources that the operator may run. Those that she named must all be; of all others, those that are.

    Raises:
        NotPermittedError: one that was named is not, or of those that there are none is.
    """
    about: list[tuple[Path, str, str]] = []
    for path in found:
        try:
            manifest = load_manifest(path)
        except ConfigError:
            # Running it says what is wrong, and needs no right: nothing is read.
            about.append((path, "", ""))
        else:
            about.append((path, manifest.tenant, manifest.id))
    allowed = [
        path for path, tenant, name in about if not tenant or work.may(Action.INGEST_RUN, tenant, name)
    ]
    if named or not allowed:
        for _, tenant, name in about:
            if tenant:
                work.require(Action.INGEST_RUN, tenant, name)
    return found if named else allowed


def _sync(work: Operation, manifest: Path, *, alone: bool, json_output: bool) -> SyncReport | None:
    """Synchronise one source. Of several, one that cannot be read does not keep the others from it."""
    console = console_err()

    def on_item(item: RunItem) -> None:
        emit({"manifest": str(manifest), "item": asdict(item)}) if json_output else _report(item, console)

    try:
        report = sync_source(work.opened, manifest, work.actor, on_item)
    except SecureRagError as error:
        if alone:
            raise
        complain(error)
        if json_output:
            emit({"error": {"manifest": str(manifest), "message": str(error)}})
        return None
    if json_output:
        shown = asdict(report)
        del shown["drifted"]
        emit({"run": shown})
    elif report.status is not RunStatus.COMPLETED:
        typer.echo(f"{report.status.value}: {printable(f'{report.source}: {report.detail}')}", err=True)
    return report


def _counts(outcomes: dict[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in outcomes.items())


def _run(work: Operation, manifest: Path, *, alone: bool, json_output: bool) -> RunReport | None:
    """Run one source. Of several, one that cannot be run does not keep the others from it."""
    try:
        with _json_lines(manifest) if json_output else progress(manifest.parent.name) as on_item:
            report = ingest_source(work.opened, manifest, work.actor, on_item)
    except SecureRagError as error:
        if alone:
            raise
        complain(error)
        if json_output:
            emit({"error": {"manifest": str(manifest), "message": str(error)}})
        return None
    if json_output:
        emit({"run": asdict(report)})
    elif report.status is not RunStatus.COMPLETED:
        typer.echo(f"{report.status.value}: {printable(f'{report.source}: {report.detail}')}", err=True)
    return report


def show_reports(reports: list[RunReport]) -> None:
    """One line per source."""
    rows = [
        (
            r.tenant,
            r.source,
            r.status.value,
            _counts(r.outcomes),
            r.embedded,
            r.run_id,
        )
        for r in reports
    ]
    show_table(("tenant", "source", "status", "outcomes", "chunks embedded", "run"), rows)
    for r in reports:
        if r.detail:
            typer.echo(printable(f"! {r.tenant}/{r.source}: {r.detail}"))


def _json_lines(manifest: Path) -> nullcontext[Callable[[RunItem, int], None]]:
    # The line of the run comes last, or never: each item says itself whose it is.
    return nullcontext(lambda item, _total: emit({"manifest": str(manifest), "item": asdict(item)}))


@contextmanager
def progress(name: str) -> Generator[Callable[[RunItem, int], None]]:
    """A progress bar on a terminal, and failures as lines in any case."""
    if not is_terminal():
        console = console_err()
        yield lambda item, _total: _report(item, console)
    else:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console_err()) as bar:
            task = bar.add_task(name, total=None)

            def advance(item: RunItem, total: int) -> None:
                bar.update(task, advance=1, total=total)
                _report(item, bar.console)

            yield advance


def _report(item: RunItem, console: Console) -> None:
    if item.outcome in (Outcome.FAILED, Outcome.QUARANTINED):
        line = f"{item.outcome.value}: {item.native_id}: {item.reason} {item.detail}".rstrip()
        console.print(printable(line), soft_wrap=True)
