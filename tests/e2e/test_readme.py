"""The README shows what really happens: its commands are run in order, and what they print is compared.

In the README `…` stands for anything, alone on a line for any number of lines. Scores may differ between processors.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Starts what the reader installed; what he ingests lies elsewhere and is smaller than a demo in a clone.
PRELUDE = f"""
set -u
secure-rag() {{ "{sys.executable}" -m secure_rag_api.cli.main "$@"; }}
make() {{ secure-rag demo --home .demo --examples "{ROOT}/ingestion/examples"; }}
source() {{ :; }}
"""
BETWEEN = "\x1e"
SCORE = re.compile(r"(?<=\d\\\. )0\\\.\d{3}")


def steps() -> list[tuple[str, str]]:
    """(command, what the README says it prints), in order; services and the long test run are left out."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        if "serve" in block or "make test" in block:
            continue
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.rstrip("\n")))
    return found


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


def run(commands: list[str], home: Path) -> list[str]:
    script = PRELUDE + "\n".join(f"{x} 2>&1; printf '{BETWEEN}'" for x in commands)
    paths = [ROOT, ROOT / "acl", ROOT / "ingestion", ROOT / "api"]
    environment = {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONUTF8": "1",
    }
    environment.pop("SECURE_RAG_HOME", None)
    done = subprocess.run(
        ["bash", "-c", script], cwd=home, env=environment, capture_output=True, check=False, timeout=600
    )
    assert done.stderr == b""
    return done.stdout.decode("utf-8").split(BETWEEN)[:-1]


def documents_in(home: Path) -> None:
    documents = home / "documents"
    (documents / "hr").mkdir(parents=True)
    travel = "# Travel\n\nTrains are booked in second class. Flights need approval by the head of the department.\n"
    (documents / "travel.md").write_text(travel, encoding="utf-8")
    pay = "Salaries are paid on the 25th of each month.\n"
    (documents / "hr" / "pay.txt").write_text(pay, encoding="utf-8")


def test_the_readme_shows_what_its_commands_print(tmp_path: Path) -> None:
    documents_in(tmp_path)
    told = steps()
    assert len(told) >= 15
    printed = run([command for command, _ in told], tmp_path)
    assert len(printed) == len(told)
    differences = [
        f"$ {command}\n{got}"
        for (command, shown), got in zip(told, printed, strict=True)
        if not pattern(shown).fullmatch(got)
    ]
    assert differences == []


def test_the_readme_asks_a_folder_in_one_process(tmp_path: Path) -> None:
    documents_in(tmp_path)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = [x for x in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "secure_rag.local" in x]
    script = tmp_path / "example.py"
    script.write_text(example, encoding="utf-8")
    assert run([f'"{sys.executable}" example.py'], tmp_path) == ["Internal Travel\n"]
