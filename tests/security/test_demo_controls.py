"""Each control of the demo matters: with all of them every scenario passes, without any one of them some fail."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from secure_rag.ports import Embedder
from secure_rag_api.cli.demo import fresh_home, ingest
from secure_rag_api.cli.operation import operating
from secure_rag_api.demo.runner import ScenarioResult, run_scenario
from secure_rag_api.demo.scenarios import Scenario, load_scenarios
from secure_rag_api.wiring import Installation, open_installation
from secure_rag_ingestion.tools import Tools
from tests.controls import control
from tests.security.demo_breaks import by_authority
from tests.security.demo_mutants import MUTANTS, Mutant

EXAMPLES = Path(__file__).resolve().parents[2] / "ingestion" / "examples"
SCENARIOS = {x.id: x for x in load_scenarios(EXAMPLES / "acme" / "scenarios.yaml")}
# The companies are ingested once, by one worker, however many there are.
pytestmark = pytest.mark.xdist_group("demo-controls")


@dataclass(frozen=True)
class Stage:
    """The ingested companies, and what every copy of their home may share."""

    home: Path
    tools: Tools
    embedder: Embedder

    @contextmanager
    def opened(self, place: Path) -> Generator[Installation]:
        """A copy of the home. Its engine has passed its self-test before anything is broken."""
        shutil.copytree(self.home, place)
        with open_installation(place, embedder=self.embedder) as opened:
            opened.__dict__["ingest_tools"] = replace(
                self.tools, engine=opened.engine, ids=opened.ids, audit=opened.audit
            )
            assert opened.policy.model_digest
            yield opened


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stage]:
    home = tmp_path_factory.mktemp("stage") / "home"
    fresh_home(home)
    with operating(home) as work:
        ingest(work, EXAMPLES, json_output=True)
    with open_installation(home) as opened:
        yield Stage(home, opened.ingest_tools, opened.embedder)


def failures(result: ScenarioResult) -> list[str]:
    return [failure for step in result.steps for failure in step.failures]


def played(opened: Installation, scenarios: list[Scenario]) -> dict[str, list[str]]:
    return {x.id: failures(run_scenario(opened, x)) for x in scenarios}


@control("demo:controls-matter")
def test_with_every_control_on_all_scenarios_pass(stage: Stage, tmp_path: Path) -> None:
    with stage.opened(tmp_path / "home") as opened:
        found = played(opened, list(SCENARIOS.values()))
        again = played(opened, list(SCENARIOS.values()))
    assert len(found) >= 20
    assert {name: failed for name, failed in found.items() if failed} == {}
    # Each scenario has undone what it changed.
    assert again == found


@control("demo:controls-matter")
def test_compiling_by_the_authority_alone_changes_no_answer(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.opened(tmp_path / "home") as opened:
        by_authority(monkeypatch)
        assert [x for x in played(opened, list(SCENARIOS.values())).items() if x[1]] == []


@control("demo:controls-matter")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda x: x.name.replace(" ", "-"))
def test_without_a_control_its_scenarios_fail(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Mutant
) -> None:
    with stage.opened(tmp_path / "home") as opened:
        mutant.breaks(monkeypatch, opened)
        found = played(opened, [SCENARIOS[x] for x in mutant.scenarios])
    blind = {name: failed for name, failed in found.items() if not any(mutant.failure in x for x in failed)}
    assert blind == {}


@control("demo:controls-matter")
def test_every_scenario_notices_some_control() -> None:
    """A scenario that passes whatever is switched off would show nothing."""
    assert sorted(set(SCENARIOS) - {x for mutant in MUTANTS for x in mutant.scenarios}) == []
    assert sorted({x for mutant in MUTANTS for x in mutant.scenarios} - set(SCENARIOS)) == []
    assert len({x.name for x in MUTANTS}) == len(MUTANTS) >= 30
