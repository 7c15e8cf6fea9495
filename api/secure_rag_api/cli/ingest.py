"""`secure-rag ingest run`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from secure_rag.errors import SecureRagError
from secure_rag_api.cli.boundary import ExitCode, complain
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import console_err, emit, is_terminal, printable, show_table
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_ingestion.pipeline import RunReport
from secure_rag_ingestion.runs import Outcome, RunItem, RunStatus

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
        found = find_manifests(work.opened, manifests or [])
        reports = [_run(work, x, alone=len(found) == 1, json_output=json_output) for x in found]
    done = [x for x in reports if x is not None]
    if not json_output:
        show_reports(done)
    bad = any(x.status is not RunStatus.COMPLETED or x.outcomes.get(Outcome.FAILED) for x in done)
    raise typer.Exit(ExitCode.ATTENTION if bad or len(done) < len(reports) else ExitCode.DONE)


def _run(work: Operation, manifest: Path, *, alone: bool, json_output: bool) -> RunReport | None:
    """Run one source. Of several, one that cannot be run does not keep the others from it."""
    try:
        with progress(manifest.parent.name, json_output=json_output) as on_item:
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
    return report


def show_reports(reports: list[RunReport]) -> None:
    """One line per source."""
    rows = [
        (
            r.source,
            r.status.value,
            ", ".join(f"{n} {name}" for name, n in r.outcomes.items()),
            r.embedded,
            r.run_id,
        )
        for r in reports
    ]
    show_table(("source", "status", "outcomes", "chunks embedded", "run"), rows)


@contextmanager
def progress(name: str, *, json_output: bool) -> Generator[Callable[[RunItem, int], None]]:
    """A progress bar on a terminal, JSON lines with --json, and failures as lines either way."""
    if json_output:
        yield lambda item, _total: emit({"item": asdict(item)})
    elif not is_terminal():
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
