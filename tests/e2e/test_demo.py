"""The demo, run as a newcomer runs it: a process of its own, the real model, the real sandbox."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.server import PYTHONPATH, ROOT
from tests.support.terminal import on_terminal

# Run once, by one worker, however many there are.
pytestmark = pytest.mark.xdist_group("demo")


@dataclass(frozen=True)
class Demo:
    home: Path
    code: int
    out: str
    err: str


ENVIRONMENT = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONUTF8": "1"}


def command(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "secure_rag_api.cli.main", "demo", "--home", str(home), *words]


def demo(home: Path, *words: str) -> Demo:
    done = subprocess.run(
        command(home, *words), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    return Demo(home, done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return demo(tmp_path_factory.mktemp("demo") / ".demo")


@pytest.fixture(scope="module")
def second(first: Demo) -> Demo:
    """The demo again, over the home that the first one left."""
    return demo(first.home, "--json")


def test_every_scenario_passes_and_the_last_line_says_so(first: Demo) -> None:
    assert first.code == 0, first.out + first.err
    last = re.fullmatch(r"(\d+) scenarios, 0 failed", first.out.splitlines()[-1])
    assert last is not None
    assert int(last[1]) >= 20


def test_it_says_what_it_read_and_what_was_planted(first: Demo) -> None:
    assert "acme\twiki\tcompleted\t26 added, 2 skipped\t" in first.out
    assert first.err.splitlines() == [
        "quarantined: recruiting/cv-jonas-weller.docx: detected hidden_markup",
        "quarantined: tidewell/packing-notes.txt: detected unicode_tags",
        "quarantined: unsolicited/overdue-invoice-reminder.eml: detected instruction_patterns",
    ]


def test_the_table_tells_who_asked_what_came_back_and_why_the_rest_did_not(first: Demo) -> None:
    cells = [line.strip("│").split("│") for line in first.out.splitlines() if line.startswith("│")]
    scenario, who, back, held, result = (" ".join(" ".join(x).split()) for x in zip(*cells, strict=True))
    assert "An engineer asks the same and gets the page of the handbook (acl:allow-list)" in scenario
    assert (
        "user:ada.marsh via app:assistant > agent:researcher “What are the steps of a firmware release?”"
        in who
    )
    assert "hr/guides/parental-leave-cases.docx" in back
    assert all(x in held for x in ("not_on_list:", "unresolved_deny:", "notice: external_withheld"))
    assert set(result.split()) == {"pass"}
    assert max(len(line) for line in first.out.splitlines() if line.startswith(("│", "┃"))) <= 160


def test_a_second_run_replaces_the_home_and_its_json_is_one_document(first: Demo, second: Demo) -> None:
    assert second.code == 0, second.out + second.err
    assert second.err == ""
    found = json.loads(second.out)
    assert (found["failed"], len(found["results"])) == (0, found["scenarios"])
    assert f"{found['scenarios']} scenarios, 0 failed" == first.out.splitlines()[-1]
    assert all(x["passed"] and all(not step["failures"] for step in x["steps"]) for x in found["results"])
    held = [reason for x in found["results"] for step in x["steps"] for reason in step["held_back"].values()]
    assert {
        "label",
        "compartment",
        "denied",
        "not_on_list",
        "unresolved_deny",
        "delegation",
        "quarantined",
    } <= set(held)


def test_the_home_is_left_to_explore(second: Demo) -> None:
    assert (second.home / "control.db").is_file()
    assert second.home.stat().st_mode & 0o777 == 0o700


def test_a_terminal_shows_progress_and_a_failed_scenario_ends_with_1(second: Demo, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    for tenant in ("acme", "globex"):
        place = examples / tenant
        (place / "sources" / "handbook").mkdir(parents=True)
        (place / "documents").mkdir()
        original = ROOT / "ingestion" / "examples" / tenant
        for name in ("labels.yaml", "directory.yaml"):
            (place / name).write_bytes((original / name).read_bytes())
        (place / "documents" / "leave.txt").write_text("Thirty days of annual leave.", encoding="utf-8")
        (place / "sources" / "handbook" / "mapping.yaml").write_text(
            "source: handbook\nrules: [{path: '**', allow: [everyone]}]\n", encoding="utf-8"
        )
        (place / "sources" / "handbook" / "source.yaml").write_text(
            f"id: handbook\ntenant: {tenant}\nkind: filesystem\nroot: ../../documents\nmapping: mapping.yaml\n"
            "trust: internal\ndefault_label: Public\nmax_acl_age: 30d\n",
            encoding="utf-8",
        )
    (examples / "acme" / "scenarios.yaml").write_text(
        """\
scenarios:
  - id: wrong
    title: Expects what cannot be
    control: acl:allow-list
    steps:
      - {as: user:ada.marsh, app: app:assistant, query: annual leave, must_not_return: [handbook/leave.txt]}
  - id: right
    title: Expects what is
    control: acl:allow-list
    steps:
      - {as: user:ada.marsh, app: app:assistant, query: annual leave, must_return: [handbook/leave.txt]}
""",
        encoding="utf-8",
    )
    words = command(tmp_path / "home", "--examples", str(examples))
    code, out, shown = on_terminal(words, ROOT, ENVIRONMENT)
    assert code == 1, shown
    assert re.search(r"acme/handbook \S*━.* \S*1/1", shown)
    assert "LEAKED: handbook/leave.txt" in " ".join(re.sub(r"[│┃]", " ", out).split())
    assert out.splitlines()[-1] == "2 scenarios, 1 failed"


@pytest.mark.parametrize("what", ["folder", "file", "home"])
def test_what_the_demo_did_not_make_is_left_alone(tmp_path: Path, what: str) -> None:
    place = tmp_path / "mine"
    if what == "file":
        place.write_text("mine", encoding="utf-8")
    else:
        place.mkdir()
        (place / ("control.db" if what == "home" else "letter.txt")).write_text("mine", encoding="utf-8")
    ran = demo(place)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"secure-rag: {place}: exists and was not made by the demo; it is left alone\n"
    assert (place if what == "file" else next(place.iterdir())).read_text(encoding="utf-8") == "mine"
