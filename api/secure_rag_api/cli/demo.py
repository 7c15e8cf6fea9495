"""`secure-rag demo`: ingest the sample company and run its scenarios."""

from __future__ import annotations

import getpass
import shutil
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.table import Table

from secure_rag.errors import ConfigError
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.labels import import_labels, load_labels
from secure_rag_api.cli.common import (
    ExitCode,
    HomeOption,
    JsonOption,
    console_out,
    emit,
    printable,
    reports_errors,
)
from secure_rag_api.cli.ingest import progress, show_reports
from secure_rag_api.demo.runner import ScenarioResult, StepResult, run_scenario
from secure_rag_api.demo.scenarios import load_scenarios
from secure_rag_api.ingesting import find_manifests, ingest_source
from secure_rag_api.wiring import Installation, create_installation, open_installation

_OPERATOR = "user:quinn.abara"
_MARKER = ".secure-rag-demo"
_TENANTS = ("acme", "globex")


@reports_errors
def demo(
    home: HomeOption,
    examples: Annotated[
        Path, typer.Option(help="Folder with the sample companies of the repository.")
    ] = Path("ingestion/examples"),
    json_output: JsonOption = False,
) -> None:
    """Build a fresh home from the sample companies, run every scenario, and leave the home there to explore.

    Exit code 0 only when no scenario failed.
    """
    if not (examples / "acme" / "scenarios.yaml").is_file():
        raise ConfigError(f"{examples}: no sample company here; run this in a clone of the repository")
    _fresh_home(home)
    with open_installation(home) as opened:
        _ingest(opened, examples, json_output)
        results = [run_scenario(opened, x) for x in load_scenarios(examples / "acme" / "scenarios.yaml")]
    failed = sum(not result.passed for result in results)
    if json_output:
        emit({"scenarios": len(results), "failed": failed, "results": [_as_json(x) for x in results]})
    else:
        _show(results)
        typer.echo(f"The home is left in {home}: try `secure-rag doctor --home {home}`.")
        typer.echo(f"{len(results)} scenarios, {failed} failed")
    raise typer.Exit(ExitCode.ATTENTION if failed else ExitCode.DONE)


def _fresh_home(home: Path) -> None:
    if home.exists():
        if not (home / _MARKER).is_file():
            raise ConfigError(f"{home}: exists and was not made by the demo; it is left alone")
        shutil.rmtree(home)
    settings = {"profile": "development", "tenant": _TENANTS[0], "operators": {getpass.getuser(): _OPERATOR}}
    create_installation(home, yaml.safe_dump(settings, sort_keys=False))
    (home / _MARKER).touch()


def _ingest(opened: Installation, examples: Path, json_output: bool) -> None:
    reports = []
    for tenant in _TENANTS:
        folder, now = examples / tenant, opened.clock.now()
        import_labels(opened.engine, load_labels(folder / "labels.yaml"), actor=_OPERATOR, now=now)
        import_directory(opened.engine, load_directory(folder / "directory.yaml"), actor=_OPERATOR, now=now)
        for manifest in find_manifests(opened, [folder / "sources"]):
            with progress(f"{tenant}/{manifest.parent.name}", json_output=json_output) as on_item:
                reports.append(ingest_source(opened, manifest, _OPERATOR, on_item))
    if not json_output:
        show_reports(reports)


def _show(results: list[ScenarioResult]) -> None:
    console = console_out()
    table = Table("scenario", "who asks", "comes back", "held back, and why", "", show_lines=True)
    for result in results:
        for number, step in enumerate(result.steps):
            title = f"{result.scenario.title}\n({result.scenario.control})" if number == 0 else ""
            table.add_row(
                title,
                _who(step),
                "\n".join(step.returned[:3]) + ("\n…" if len(step.returned) > 3 else "") or "nothing",
                "\n".join(
                    [f"{path}: {reason.value}" for path, reason in step.held_back.items()]
                    + list(step.notices)
                ),
                "\n".join(step.failures) or "pass",
            )
    # A fixed width when the output is a file, so that the table reads the same everywhere.
    console.width = console.width if console.is_terminal else 160
    console.print(table)


def _who(step: StepResult) -> str:
    via = " > ".join((step.step.app, *step.step.through))
    return printable(f"{step.step.asked_as}\nvia {via}\n“{step.step.query}”")


def _as_json(result: ScenarioResult) -> dict[str, object]:
    return {
        "id": result.scenario.id,
        "control": result.scenario.control,
        "passed": result.passed,
        "steps": [
            {
                "as": x.step.asked_as,
                "returned": x.returned,
                "held_back": x.held_back,
                "notices": x.notices,
                "failures": x.failures,
            }
            for x in result.steps
        ],
    }
