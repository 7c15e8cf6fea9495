"""`secure-rag demo`: ingest the sample companies and run their scenarios."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.table import Table

from secure_rag.errors import ConfigError
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import PrincipalId
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.labels import load_labels
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.ingest import progress, show_reports
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import console_out, emit, printable
from secure_rag_api.demo.runner import ScenarioResult, StepResult, run_scenario
from secure_rag_api.demo.scenarios import load_scenarios
from secure_rag_api.importing import apply_directory, apply_labels
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.operators import os_user
from secure_rag_api.private_files import make_private_folder
from secure_rag_api.wiring import create_installation
from secure_rag_ingestion.pipeline import RunReport

OPERATOR = PrincipalId("user:quinn.abara")
MARKER = ".secure-rag-demo"
TENANTS = ("acme", "globex")
_SHOWN = 3


def demo(
    home: HomeOption,
    examples: Annotated[
        Path, typer.Option(help="Folder with the sample companies of the repository.")
    ] = Path("ingestion/examples"),
    json_output: JsonOption = False,
) -> None:
    """Build a fresh home from the sample companies, run every scenario, and leave the home there to explore.

    A home that an earlier demo made is replaced; any other folder is left alone. Exit code 0 only when no scenario
    failed.
    """
    file = examples / "acme" / "scenarios.yaml"
    if not file.is_file():
        raise ConfigError(f"{examples}: no sample company here; run this in a clone of the repository")
    scenarios = load_scenarios(file)
    fresh_home(home)
    with operating(home) as work:
        reports = ingest(work, examples, json_output=json_output)
        if not json_output:
            show_reports(reports)
        work.record("demo", {"scenarios": len(scenarios)})
        results = [run_scenario(work.opened, x) for x in scenarios]
    failed = sum(not result.passed for result in results)
    if json_output:
        emit({"scenarios": len(results), "failed": failed, "results": [_as_json(x) for x in results]})
    else:
        _show(results)
        typer.echo(printable(f"The home is left in {home}: try `secure-rag doctor --home {home}`."))
        typer.echo(f"{len(results)} scenarios, {failed} failed")
    raise typer.Exit(ExitCode.ATTENTION if failed else ExitCode.DONE)


def fresh_home(home: Path) -> None:
    """An empty home in place of one that an earlier demo made.

    Raises:
        ConfigError: something else is there.
    """
    if home.exists() and (not home.is_dir() or (any(home.iterdir()) and not (home / MARKER).is_file())):
        raise ConfigError(f"{home}: exists and was not made by the demo; it is left alone")
    if home.exists():
        shutil.rmtree(home)
    make_private_folder(home)
    # First of all: a demo that is interrupted leaves a folder that the next one may replace.
    (home / MARKER).touch(mode=0o600)
    settings = {"profile": "development", "tenant": TENANTS[0], "operators": {os_user(): str(OPERATOR)}}
    create_installation(home, yaml.safe_dump(settings, sort_keys=False), beside=frozenset({MARKER}))


def ingest(work: Operation, examples: Path, *, json_output: bool) -> list[RunReport]:
    """Labels, directory and every source of both companies."""
    reports: list[RunReport] = []
    for tenant in TENANTS:
        folder = examples / tenant
        apply_labels(work.opened, load_labels(folder / "labels.yaml"), work.actor)
        apply_directory(work.opened, load_directory(folder / "directory.yaml"), work.actor)
        for manifest in find_manifests(work.opened, [folder / "sources"]):
            if json_output:
                reports.append(ingest_source(work.opened, manifest, work.actor, lambda _item, _total: None))
                continue
            with progress(f"{tenant}/{manifest.parent.name}") as on_item:
                reports.append(ingest_source(work.opened, manifest, work.actor, on_item))
    return reports


def _show(results: list[ScenarioResult]) -> None:
    table = Table(show_lines=True)
    for column in ("scenario", "who asks what", "comes back", "held back, and why"):
        table.add_column(column, overflow="fold", ratio=1)
    table.add_column("", no_wrap=False)
    for result in results:
        for number, step in enumerate(result.steps):
            title = f"{result.scenario.title}\n({result.scenario.control})" if number == 0 else ""
            table.add_row(
                printable(title.replace("\n", " ")),
                _who(step),
                "\n".join(step.returned[:_SHOWN]) + ("\n…" if len(step.returned) > _SHOWN else "")
                or "nothing",
                "\n".join([*_held_back(step), *(f"notice: {x}" for x in step.notices)]),
                "\n".join(step.failures) or "pass",
            )
    console_out().print(table)


def _held_back(step: StepResult) -> list[str]:
    """One line per document that the scenario names and that did not come back."""
    return [
        f"{'allowed, but others were nearer' if reason is Reason.ALLOWED else reason.value}: {path}"
        for path, reason in step.held_back.items()
    ]


def _who(step: StepResult) -> str:
    via = " > ".join((step.step.app, *step.step.through))
    return "\n".join(printable(x) for x in (step.step.asked_as, f"via {via}", f"“{step.step.query}”"))


def _as_json(result: ScenarioResult) -> dict[str, object]:
    return {
        "id": result.scenario.id,
        "title": result.scenario.title,
        "control": result.scenario.control,
        "passed": result.passed,
        "steps": [
            {
                "as": x.step.asked_as,
                "app": x.step.app,
                "through": x.step.through,
                "query": x.step.query,
                "returned": x.returned,
                "held_back": x.held_back,
                "notices": x.notices,
                "failures": x.failures,
            }
            for x in result.steps
        ],
    }
