"""Pages say what is: links lead somewhere, commands and files exist, lists equal the code's."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from secure_rag.config import Settings
from secure_rag.model.decisions import Notice, Reason
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.labels import parse_labels
from secure_rag_acl.mappings import parse_mapping
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.main import app
from secure_rag_ingestion.parsing.document import ParseReason
from secure_rag_ingestion.runs import Outcome, ReasonCode, RunStatus
from secure_rag_ingestion.sources import load_manifest
from tests.controls import CONTROLS

ROOT = Path(__file__).resolve().parents[2]
# Sample documents are data: what they link to or mention need not exist.
DATA = (
    "ingestion/examples/acme/documents/",
    "ingestion/examples/globex/documents/",
    "ingestion/examples/manuscripts/",
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```(\w*)\n(.*?)```|`([^`\n]+)`", re.DOTALL)
SYMBOL_IN_FILE = re.compile(r"`([\w.]+)`(?:\s+and\s+`([\w.]+)`)?\s+in\s+`([\w./-]+\.py)`")
# Put together here, so that this file does not hold them.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.~-])/" + r"work/(?:main|shared|\.library)",
            "/tmp/" + r"(?:team|env|docs|bash_jobs)\b",
            "/opt/" + "(?:wheels|pypi)",
            r"\b(?:files\.)?python" + r"hosted\.org",
            r"(?<![\w/.])py" + r"pi\.org",
            r"registry\.npm" + r"js\.org",
            r"download\.py" + r"torch\.org",
            "--(?:extra-)?index" + "-url",
            "--trusted" + "-host",
        ]
    )
)


@cache
def tracked() -> tuple[Path, ...]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    names = sorted({name for name in listing.stdout.decode("utf-8").split("\0") if name})
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def pages() -> dict[str, str]:
    found = {name_of(x): x.read_text(encoding="utf-8") for x in tracked() if x.suffix == ".md"}
    return {name: text for name, text in found.items() if not name.startswith(DATA)}


def prose(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(text: str) -> set[str]:
    """Fragments of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(text: str) -> Iterator[str]:
    """Lines of code blocks that are commands, and inline code."""
    for language, block, inline in CODE.findall(text):
        if inline:
            yield inline
        elif language in ("console", "bash", "sh"):
            joined = block.replace("\\\n", " ")
            prompt = "$ " if language == "console" else ""
            yield from (x.removeprefix(prompt) for x in joined.splitlines() if x.startswith(prompt))


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the tables below a heading, up to the next one; the head of each table is left out."""
    _, _, below = pages()[page].partition(f"\n{heading}\n")
    assert below, f"{page} has no {heading!r}"
    section = re.split(r"^#", below, maxsplit=1, flags=re.MULTILINE)[0]
    lines = [x for x in section.splitlines() if x.startswith("|")]
    heads = {i for i, x in enumerate(lines) if re.fullmatch(r"[|\s:-]+", x)}
    body = [x for i, x in enumerate(lines) if i not in heads and i + 1 not in heads]
    return [[cell.strip() for cell in x.strip("|").split("|")] for x in body]


def first_codes(page: str, heading: str) -> list[str]:
    return [code for row in rows(page, heading) for code in re.findall(r"`([^`]+)`", row[0])]


# ---- links and places


def test_relative_links_lead_somewhere() -> None:
    broken: list[str] = []
    for name, text in pages().items():
        for target in LINK.findall(prose(text)):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            found = (ROOT / name).parent / path if path else ROOT / name
            if not found.exists():
                broken.append(f"{name}: {target}")
            elif fragment and fragment not in anchors(found.read_text(encoding="utf-8")):
                broken.append(f"{name}: no such heading: {target}")
    assert broken == []


def test_a_symbol_that_a_page_places_in_a_file_is_there() -> None:
    wrong: list[str] = []
    checked = 0
    files = [name_of(x) for x in tracked() if x.suffix == ".py"]
    for name, text in pages().items():
        for *symbols, place in SYMBOL_IN_FILE.findall(prose(text)):
            candidates = [x for x in files if x == place or x.endswith(f"/{place}")]
            for symbol in filter(None, symbols):
                checked += 1
                last = symbol.rpartition(".")[2]
                defined = re.compile(rf"^\s*(?:class|def|async def) {last}\b|^\s*{last}\b.*=", re.MULTILINE)
                if not any(defined.search((ROOT / x).read_text(encoding="utf-8")) for x in candidates):
                    wrong.append(f"{name}: {symbol} in {place}")
    assert wrong == []
    assert checked >= 15


def test_paths_that_pages_name_exist() -> None:
    folders = "acl|api|benchmarks|docs|ingestion|secure_rag|tests"
    named = re.compile(rf"(?:{folders})/[\w./-]*[\w/]")
    wrong = [
        f"{name}: {path}"
        for name, text in pages().items()
        for path in code(text)
        if named.fullmatch(path) and not any((base / path).exists() for base in (ROOT, (ROOT / name).parent))
    ]
    assert wrong == []


# ---- commands


@cache
def root_command() -> Any:
    return typer.main.get_command(app)


def command_lines() -> Iterator[tuple[str, str]]:
    """(page, words after `secure-rag`) of every mention in code."""
    for name, text in pages().items():
        for line in code(text):
            for found in re.finditer(r"(?<![\w/.-])secure-rag((?: [^|;&)]*)?)", line):
                if found[1].strip():
                    yield name, found[1].strip()


def problem_of(words: str) -> str | None:
    """What is wrong with a command line; arguments and values are not looked at."""
    command = root_command()
    tokens = [x for x in shlex.split(words, comments=True) if x != "…"]
    while tokens and hasattr(command, "commands"):
        if tokens[0].startswith("-"):
            break
        command = command.commands.get(tokens.pop(0))
        if command is None:
            return "no such command"
    known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
    unknown = [x for x in tokens if re.match(r"--?[a-z]", x) and x not in known]
    return f"no such option: {unknown}" if unknown else None


def test_commands_that_pages_name_exist() -> None:
    named = list(command_lines())
    assert [f"{page}: secure-rag {words}" for page, words in named if problem_of(words)] == []
    assert len([page for page, _ in named if page == "README.md"]) >= 10


@pytest.mark.parametrize(
    "words",
    ["retreive x", "audit veryfy", "retrieve x --ass user:x", "audit tail -x", "runs list --outcome x"],
)
def test_the_check_of_commands_sees_mistakes(words: str) -> None:
    assert problem_of(words) is not None


def test_make_targets_that_pages_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        target
        for text in pages().values()
        for line in code(text)
        for target in re.findall(r"^make ([a-z-]+)", line)
    }
    assert named - targets == set()
    documented = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) - {"help", "clean"}
    assert documented - named == set()


def test_modules_that_make_starts_are_programs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    modules = re.findall(r"python -m ((?:benchmarks|secure_rag\w*|tests)[\w.]*)", makefile)
    texts = {name_of(x): x.read_text(encoding="utf-8") for x in tracked() if x.suffix == ".py"}
    silent = [
        module
        for module in modules
        if not any(
            name.endswith(f"{module.replace('.', '/')}.py") and 'if __name__ == "__main__"' in text
            for name, text in texts.items()
        )
    ]
    assert silent == []
    assert len(modules) >= 3


def test_every_command_but_serve_speaks_json() -> None:
    def leaves(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        for name, child in getattr(command, "commands", {}).items():
            yield from leaves(f"{path} {name}", child)
        if not hasattr(command, "commands"):
            yield path.strip(), command

    silent = [path for path, x in leaves("", root_command()) if not any("--json" in p.opts for p in x.params)]
    assert silent == ["serve"]


def test_pip_installs_an_extra_within_the_constraints_only() -> None:
    """Without them another package could bring another torch, and CUDA with it."""
    places = {name: list(code(text)) for name, text in pages().items()}
    places["Makefile"] = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    calls = [
        (name, line)
        for name, lines in places.items()
        for line in lines
        if re.search(r"\bpip install\b.*\[\w", line)
    ]
    assert [x for x in calls if "-c constraints.txt" not in x[1]] == []
    assert {name for name, _ in calls} >= {"Makefile", "README.md"}


# ---- examples


def test_files_that_pages_show_are_accepted(tmp_path: Path) -> None:
    shown: list[str] = []
    for page in ("acl/README.md", "ingestion/README.md"):
        for block in re.findall(r"```yaml\n(.*?)```", pages()[page], re.DOTALL):
            kind = next(x for x in KINDS if re.search(rf"^{x}:", block, re.MULTILINE))
            KINDS[kind](block, tmp_path)
            shown.append(kind)
    assert sorted(shown) == ["label", "labels", "root", "rules", "rules", "rules", "users"]


def _manifest(block: str, folder: Path) -> None:
    (folder / "source.yaml").write_text(block, encoding="utf-8")
    assert load_manifest(folder / "source.yaml").id == "hr"


# By the key that only this kind of file has.
KINDS: dict[str, Callable[[str, Path], object]] = {
    "users": lambda block, _: parse_directory(block.encode(), "directory.yaml"),
    "labels": lambda block, _: parse_labels(block.encode(), "labels.yaml"),
    "rules": lambda block, _: parse_mapping(block.encode(), "mapping.yaml", "hr"),
    "root": _manifest,
    "label": lambda block, _: parse_mapping(b"{source: hr, rules: []}", "mapping.yaml", "hr").map(
        "a.txt", block.encode(), None
    ),
}


# ---- lists


def test_every_control_is_in_the_threat_model_and_every_id_there_is_a_control() -> None:
    areas = "|".join(sorted({name.partition(":")[0] for name in CONTROLS}))
    named = set(re.findall(rf"`((?:{areas}):[a-z0-9-]+)`", pages()["docs/threat-model.md"]))
    assert sorted(set(CONTROLS) - named) == []
    assert sorted(named - set(CONTROLS)) == []


def test_reasons_and_notices_of_the_glossary_are_those_of_the_code() -> None:
    assert sorted(first_codes("docs/glossary.md", "## Reasons of a decision")) == sorted(Reason)
    assert sorted(first_codes("docs/glossary.md", "## Notices of an answer")) == sorted(Notice)


def test_statuses_outcomes_and_reason_codes_of_runs_are_those_of_the_code() -> None:
    cells = [
        cell for row in rows("ingestion/README.md", "## Statuses, outcomes, reasons") for cell in row[:-1]
    ]
    listed = {code for cell in cells for code in re.findall(r"`([a-z_]+)`", cell)}
    assert sorted(listed) == sorted(
        {str(x) for kind in (RunStatus, Outcome, ReasonCode, ParseReason) for x in kind}
    )


def test_settings_are_those_of_the_code() -> None:
    def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
        for name, field in model.model_fields.items():
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            sections = [x for x in kinds if isinstance(x, type) and issubclass(x, BaseModel)]
            if sections:
                yield from fields(sections[0], f"{prefix}{name}.")
            else:
                yield prefix + name

    assert sorted(first_codes("docs/operating.md", "## Settings")) == sorted(fields(Settings))


def test_exit_codes_are_those_of_the_code() -> None:
    listed = {int(row[0]): row[1] for row in rows("docs/operating.md", "## Exit codes")}
    assert listed == {int(x): x.name.lower() for x in ExitCode}


# ---- what must not be in the repository


def test_no_file_names_a_machine_or_a_registry() -> None:
    found: list[str] = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found.extend(f"{name_of(path)}: {x[0]}" for x in FORBIDDEN.finditer(text))
    assert found == []
