"""`secure-rag ingest run`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from secure_rag_api.cli.common import (
    ExitCode,
    HomeOption,
    JsonOption,
    console_err,
    emit,
    is_terminal,
    operator,
    printable,
    reports_errors,
    show_table,
)
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.wiring import open_installation
from secure_rag_ingestion.pipeline import RunReport
from secure_rag_ingestion.runs import Outcome, RunItem, RunStatus

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Bring documents and their permissions into the index."""


@app.command("run")
@reports_errors
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

    Exit code 1 when an item failed or a run did not complete.
    """
    reports: list[RunReport] = []
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        for manifest in find_manifests(opened, manifests or []):
            with progress(manifest.parent.name, json_output=json_output) as on_item:
                reports.append(ingest_source(opened, manifest, actor, on_item))
            if json_output:
                emit({"run": asdict(reports[-1])})
    if not json_output:
        show_reports(reports)
    bad = any(r.status is not RunStatus.COMPLETED or r.outcomes.get("failed") for r in reports)
    raise typer.Exit(ExitCode.ATTENTION if bad else ExitCode.DONE)


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
def progress(name: str, *, json_output: bool) -> Iterator[Callable[[RunItem, int], None]]:
    """A progress bar on a terminal, JSON lines with --json, and failures as lines either way."""
    if json_output:
        yield lambda item, _total: emit({"item": asdict(item)})
    elif not is_terminal():
        yield lambda item, _total: _complain(item)
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
                _complain(item)

            yield advance


def _complain(item: RunItem) -> None:
    if item.outcome in (Outcome.FAILED, Outcome.QUARANTINED):
        typer.echo(
            printable(f"{item.outcome.value}: {item.native_id}: {item.reason} {item.detail}".rstrip()),
            err=True,
        )
