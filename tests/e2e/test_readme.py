"""The README shows what really happens: its commands are run in order, and what they print is compared.

In the README `…` stands for anything, alone on a line for any number of lines. Scores may differ between processors.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import Template

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Walked through once, by one worker, however many there are.
pytestmark = pytest.mark.xdist_group("readme")

# Starts what the reader installed; what he ingests lies elsewhere and is smaller than a demo in a clone.
PRELUDE = f"""
set -u
secure-rag() {{ "{sys.executable}" -m secure_rag_api.cli.main "$@"; }}
make() {{ secure-rag demo --home .demo --examples "{ROOT}/ingestion/examples"; }}
source() {{ :; }}
"""
BETWEEN = "\x1e"
SCORE = re.compile(r"(?<=\d\\\. )0\\\.\d{3}")


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(block: str) -> list[tuple[str, str]]:
    """(command, what the README says it prints), in order."""
    found: list[tuple[str, str]] = []
    for part in re.split(r"^\$ ", block.replace("\\\n", " "), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        found.append((command, output.rstrip("\n")))
    return found


def steps() -> list[tuple[str, str]]:
    """Those of all blocks; the service and the long test run are left out."""
    found = [x for x in blocks("console") if "secure-rag serve" not in x and "make test" not in x]
    return [step for block in found for step in commands(block)]


def pattern(shown: str) -> re.Pattern[str]:
    lines = ""
    for line in shown.splitlines():
        if line == "…":
            lines += r"(?:[^\n]*\n)*"
        else:
            lines += (
                SCORE.sub(r"\\d\\.\\d{3}", re.escape(line).replace("…", r"[^\n]*").replace(r"\ ", " "))
                + r"\n"
            )
    return re.compile(lines)


def environment(home: Path) -> dict[str, str]:
    paths = [ROOT, ROOT / "acl", ROOT / "ingestion", ROOT / "api"]
    found = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONUTF8": "1",
    }
    found.pop("SECURE_RAG_HOME", None)
    return found


def run(commands: list[str], home: Path, **variables: str) -> list[str]:
    script = PRELUDE + "\n".join(f"{x} 2>&1; printf '{BETWEEN}'" for x in commands)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home, env=environment(home) | variables, capture_output=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout.decode("utf-8").split(BETWEEN)[:-1]


def documents_in(home: Path) -> None:
    documents = home / "documents"
    (documents / "hr").mkdir(parents=True)
    travel = "# Travel\n\nTrains are booked in second class. Flights need approval by the head of the department.\n"
    (documents / "travel.md").write_text(travel, encoding="utf-8")
    pay = "Salaries are paid on the 25th of each month.\n"
    (documents / "hr" / "pay.txt").write_text(pay, encoding="utf-8")


@dataclass(frozen=True)
class Walk:
    """What the commands printed, one after the other, for somebody whose home folder this is."""

    home: Path
    told: list[tuple[str, str]]
    printed: list[str]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    home = tmp_path_factory.mktemp("reader")
    documents_in(home)
    told = steps()
    return Walk(home, told, run([command for command, _ in told], home))


@contextmanager
def serving(home: Path, command: str) -> Generator[str]:
    """The service, on a free port; gives its address."""
    program, *words = shlex.split(command.removesuffix("&"))
    assert program == "secure-rag"
    process = subprocess.Popen(
        [sys.executable, "-m", "secure_rag_api.cli.main", *words, "--port", "0"],
        cwd=home,
        env=environment(home) | {"SECURE_RAG_HOME": str(home / "rag-home")},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip().removeprefix("Serving on ")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def posted(curl: str, tokens: dict[str, str], place: str, address: str) -> str:
    """What the command gets. Sent without curl, which not everybody has who has git, make and Python."""
    words = [Template(x).substitute(tokens) for x in shlex.split(curl)]
    values = {flag: [y for x, y in pairwise(words) if x == flag] for flag in ("-H", "-d")}
    [url], [body] = [x for x in words if x.startswith("http")], values["-d"]
    headers = dict(x.split(": ", 1) for x in values["-H"])
    assert url.startswith(place)
    return httpx.post(
        url.replace(place, address), content=body, headers=headers, timeout=60, trust_env=False
    ).text


def test_the_readme_shows_what_its_commands_print(walk: Walk) -> None:
    assert len(walk.told) >= 15
    assert len(walk.printed) == len(walk.told)
    differences = [
        f"$ {command}\n{got}"
        for (command, shown), got in zip(walk.told, walk.printed, strict=True)
        if not pattern(shown).fullmatch(got)
    ]
    assert differences == []


def test_the_readme_asks_over_http_and_from_python(walk: Walk) -> None:
    [block] = [x for x in blocks("console") if "secure-rag serve" in x]
    [example] = [x for x in blocks("python") if "Client(" in x]
    (serve, banner), (token, _), (curl, shown) = commands(block)
    place = banner.removeprefix("Serving on ")
    issue = token.removeprefix('eval "$(').removesuffix(')"')
    with serving(walk.home, serve) as address:
        [exports] = run([issue], walk.home, SECURE_RAG_HOME=str(walk.home / "rag-home"))
        tokens = dict(re.findall(r"^export (\w+)=(\S+)$", exports, re.MULTILINE))
        assert pattern(shown).fullmatch(posted(curl, tokens, place, address) + "\n")
        script = walk.home / "client.py"
        script.write_text(example.replace(place, address), encoding="utf-8")
        [printed] = run([f'"{sys.executable}" client.py'], walk.home, **tokens)
    first, *_, last = printed.splitlines()
    assert re.fullmatch(r"0\.\d+ Internal Travel # Travel", first)
    assert re.fullmatch(r"[0-9a-f]{32} Internal", last)


def test_the_readme_asks_a_folder_in_one_process(tmp_path: Path) -> None:
    documents_in(tmp_path)
    [example] = [x for x in blocks("python") if "secure_rag.local" in x]
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    assert run([f'"{sys.executable}" example.py'], tmp_path) == ["Internal Travel\n"]
