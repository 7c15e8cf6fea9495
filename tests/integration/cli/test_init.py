"""`init`: asks what it would be dangerous to guess, leaves nothing behind when it fails, ends in a first answer."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from secure_rag_api import starter
from secure_rag_api.operators import os_user
from tests.integration.cli.company import Ran, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "Our documents"
    place.mkdir()
    (place / "travel.md").write_text("# Travel\n\nFlights need approval by the head.\n", encoding="utf-8")
    return place


def init(home: Path, *words: str | Path, answers: str | None = None) -> Ran:
    return run("init", "--home", home, *words, answers=answers)


def told(ran: Ran) -> list[list[str]]:
    """The commands that init says come next."""
    _, _, after = ran.out.partition("Next:\n")
    return [shlex.split(line) for line in after.splitlines()]


def test_its_next_steps_end_in_a_first_answer(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "a home"
    ran = init(
        home, "--tenant", "acme", "--operator", "user:ada", "--documents", folder,
        "--readers", "everyone", "--default-label", "internal",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.startswith(f"Created {home} (profile development, tenant acme, you are user:ada).\n")
    steps = told(ran)
    assert [x[:2] for x in steps] == [
        ["secure-rag", "ingest"],
        ["secure-rag", "retrieve"],
        ["secure-rag", "doctor"],
    ]
    done = [run(*words[1:]) for words in steps]
    assert [x.code for x in done] == [0, 0, 0]
    assert "our-documents: Travel  (Internal, internal)" in done[1].out
    assert done[2].out.endswith("Nothing needs attention.\nuser:ada can read 1 document.\n")


def test_it_asks_for_what_is_not_given_and_asks_again(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "home"
    answers = [
        "Not A Name",
        "acme",
        "group:staff",
        "user:ada",
        "everybody",
        "group:staff",
        "Secret",
        "Internal",
    ]
    ran = init(home, "--documents", folder, answers="\n".join(answers) + "\n")
    assert ran.code == 0, ran.err
    assert "not a tenant name: 'Not A Name'" in ran.err
    assert "an operator is a person or a service" in ran.err
    assert "not a principal: 'everybody'" in ran.err
    assert "unknown label 'Secret'" in ran.err
    mapping = yaml.safe_load((home / "mapping.yaml").read_text(encoding="utf-8"))
    assert mapping["rules"] == [{"path": "**", "allow": ["group:staff"]}]
    assert run("ingest", "run", "--home", home).code == 0
    assert "Travel" in run("retrieve", "flights", "--as", "user:ada", "--home", home).out


def test_who_only_presses_return_gets_what_is_closed(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "home"
    ran = init(home, "--tenant", "acme", "--operator", "user:ada", "--documents", folder, answers="\n\n")
    assert ran.code == 0, ran.err
    assert run("ingest", "run", "--home", home).code == 0
    ran = run("retrieve", "flights", "--as", "user:ada", "--home", home)
    assert ran.out.startswith("Nothing found, among 0 documents that can be read.\n! 1 document withheld")
    assert yaml.safe_load((home / "source.yaml").read_text(encoding="utf-8"))["default_label"] == "Restricted"


def test_several_folders_become_several_sources(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other" / "our documents"
    other.mkdir(parents=True)
    (other / "pay.txt").write_text("Salaries are paid on the 25th.\n", encoding="utf-8")
    home = tmp_path / "home"
    ran = init(
        home, "--tenant", "acme", "--operator", "user:ada", "--documents", folder, "--documents", other,
        "--readers", "everyone", "--readers", "user:bo", "--default-label", "Internal", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert [Path(x).relative_to(home).as_posix() for x in ran.json["files"]] == [
        "labels.yaml",
        "directory.yaml",
        "sources/our-documents/source.yaml",
        "sources/our-documents/mapping.yaml",
        "sources/our-documents-2/source.yaml",
        "sources/our-documents-2/mapping.yaml",
    ]
    assert run("ingest", "run", "--home", home).code == 0
    found = run("retrieve", "salaries flights", "--as", "user:bo", "--home", home, "--json").json["results"]
    assert sorted(x["source"] for x in found) == ["our-documents", "our-documents-2"]
    found = run("retrieve", "salaries flights", "--as", "user:ada", "--home", home, "--json").json["results"]
    assert [x["source"] for x in found] == ["our-documents"]


def test_without_folders_it_says_what_to_bring(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ran = init(home, "--tenant", "acme", "--operator", "service:deploy", "--production")
    assert ran.code == 0, ran.err
    assert [x[1:3] for x in told(ran)] == [["labels", "import"], ["directory", "import"], ["ingest", "run"]]
    settings = yaml.safe_load((home / "config.yaml").read_text(encoding="utf-8"))
    assert settings == {"profile": "production", "tenant": "acme", "operators": {os_user(): "service:deploy"}}
    assert run("runs", "list", "--home", home, "--json").json == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--tenant", "A B", "--operator", "user:ada"], "not a tenant name: 'A B'"),
        (["--tenant", "acme", "--operator", "everyone"], "an operator is a person or a service"),
        (["--tenant", "acme", "--operator", "ada"], "not a principal: 'ada'"),
        (["--documents", "{folder}/nothing"], "{folder}/nothing: no such folder"),
        (["--documents", "{folder}/travel.md"], "{folder}/travel.md: no such folder"),
        (["--documents", "{folder}", "--readers", "agent:x"], "readers are everyone, nobody, user:"),
        (["--documents", "{folder}", "--readers", "everyone", "--default-label", "x"], "unknown label 'x'"),
        (
            ["--documents", "{folder}", "--readers", "everyone", "--readers", "nobody"],
            "--readers is given 2 times for 1 folders",
        ),
        (["--documents", "{folder}"], "not answered: Who may read {folder}?"),
    ],
)
def test_a_wrong_answer_leaves_no_home_behind(
    tmp_path: Path, folder: Path, words: list[str], complaint: str
) -> None:
    home = tmp_path / "home"
    given = [x.format(folder=folder) for x in words]
    base = [] if "--tenant" in words else ["--tenant", "acme", "--operator", "user:ada"]
    ran = init(home, *base, *given)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].startswith(f"secure-rag: {complaint.format(folder=folder)}")
    assert not home.exists()


def test_home_and_documents_must_not_lie_inside_each_other(tmp_path: Path, folder: Path) -> None:
    for home in (folder / "home", tmp_path):
        ran = init(
            home, "--tenant", "acme", "--operator", "user:ada", "--documents", folder,
            "--readers", "everyone", "--default-label", "Internal",
        )  # fmt: skip
        assert (ran.code, ran.out) == (2, "")
        assert "must not lie inside each other" in ran.err
    assert sorted(x.name for x in folder.iterdir()) == ["travel.md"]


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir(mode=0o755)
    (home / "config.yaml").write_text("mine: true\n", encoding="utf-8")
    ran = init(home, "--tenant", "acme", "--operator", "user:ada")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"secure-rag: {home}: not empty; a home gets a folder of its own\n"
    assert [x.name for x in home.iterdir()] == ["config.yaml"]
    assert home.stat().st_mode & 0o777 == 0o755
    fresh = tmp_path / "home"
    assert init(fresh, "--tenant", "acme", "--operator", "user:ada").code == 0
    ran = init(fresh, "--tenant", "acme", "--operator", "user:ada")
    assert (ran.code, ran.err) == (3, f"secure-rag: {fresh}: there is a home already\n")


def test_a_failure_half_way_leaves_no_home_behind(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(starter, "apply_directory", full)
    home = tmp_path / "home"
    words = [
        "--tenant",
        "acme",
        "--operator",
        "user:ada",
        "--readers",
        "everyone",
        "--default-label",
        "Public",
    ]
    ran = init(home, "--documents", folder, *words)
    assert (ran.code, ran.err) == (4, "secure-rag: No space left on device\n")
    assert not home.exists()
    monkeypatch.undo()
