"""`backup` and `restore`: rights that were revoked since a backup do not come back with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controls import control
from tests.integration.cli.company import Company, run, set_operators


@pytest.fixture
def backup(company: Company, tmp_path: Path) -> Path:
    """A backup, after which Ann left the engineers and her delegation was revoked."""
    target = tmp_path / "backup"
    ran = company.run("backup", target, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["backup"] == str(target)
    assert {"audit.db", "config.yaml", "control.db", "keys/public-ids"} <= set(ran.json["files"])
    return target


@control("ops:restore-serves-nothing")
def test_a_restored_home_serves_nothing_until_directory_and_sources_are_read(
    company: Company, tmp_path: Path
) -> None:
    delegation = company.delegation()
    backup, restored = tmp_path / "backup", Company(tmp_path / "restored")
    assert company.run("backup", backup).code == 0
    ran = restored.run("restore", backup)
    assert ran.code == 0
    assert ran.out.startswith(
        f"Restored {restored.home}. Nothing is served until:\n  secure-rag directory import"
    )
    for who in ("user:ann", "user:ben"):
        assert restored.titles(who) == []
    ran = restored.run("retrieve", "pump", "--delegation", delegation)
    assert ran.code == 5
    doctor = restored.run("doctor").out
    assert "! tenant acme: this home was restored from a backup: nobody has rights" in doctor
    assert "! source acme/wiki: its permissions were never confirmed" in doctor

    # The sources alone: nobody is known to have rights yet.
    assert restored.run("ingest", "run").code == 1
    assert restored.titles("user:ann") == []
    # A directory that does not cover everything: what was revoked since might be left in the rest.
    company.write_directory(engineers=(), complete=False)
    ran = restored.run("directory", "import", company.directory)
    assert ran.code == 1
    assert "serving: False" in ran.out
    assert restored.titles("user:ann") == []
    company.write_directory(engineers=())
    assert restored.run("directory", "import", company.directory).code == 0
    assert restored.titles("user:ann") == ["colours", "manual"]
    assert restored.events("restore")[-1]["body"] == {"by": "user:operator", "from": str(backup)}


@control("ops:restore-serves-nothing")
def test_the_directory_alone_opens_no_document_of_a_restored_home(backup: Path, company: Company) -> None:
    restored = Company(backup.parent / "restored")
    assert restored.run("restore", backup, "--json").json["home"] == str(restored.home)
    assert restored.run("directory", "import", company.directory).code == 0
    assert restored.titles("user:ann") == []
    assert "permissions were confirmed too long ago" in restored.ask("user:ann").out
    assert restored.run("ingest", "run").code == 1
    assert restored.titles("user:ann") == ["colours", "drive", "manual"]


def test_what_init_wrote_comes_back_too(tmp_path: Path) -> None:
    documents, home = tmp_path / "documents", tmp_path / "home"
    documents.mkdir()
    (documents / "a.txt").write_text("Flights need approval.", encoding="utf-8")
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
    run("init", "--home", home, "--documents", documents, *words)
    run("ingest", "run", "--home", home)
    run("backup", tmp_path / "backup", "--home", home)
    steps = run("restore", tmp_path / "backup", "--home", tmp_path / "new", "--json").json["next"]
    assert steps[0] == f"secure-rag directory import {tmp_path}/new/directory.yaml --home {tmp_path}/new"
    for step in steps:
        assert run(*step.split()[1:]).code == 0
    assert "Flights" in run("retrieve", "flights", "--as", "user:ada", "--home", tmp_path / "new").out


def test_wrong_places_are_refused(company: Company, backup: Path, tmp_path: Path) -> None:
    ran = company.run("backup", backup)
    assert (ran.code, ran.err) == (3, f"secure-rag: {backup}: File exists\n")
    ran = company.run("backup", "/proc/no/such/place")
    assert ran.code == 3
    ran = company.run("restore", backup)
    assert (ran.code, ran.out) == (3, "")
    assert "not empty; a backup is restored into a new home" in ran.err
    for source in (tmp_path / "nothing", company.documents):
        ran = run("restore", source, "--home", tmp_path / "new")
        assert (ran.code, ran.err) == (3, f"secure-rag: {source}: not a backup\n")
    assert not (tmp_path / "new").exists()


def test_an_altered_backup_and_a_stranger_restore_nothing(backup: Path, tmp_path: Path) -> None:
    with (backup / "control.db").open("ab") as file:
        file.write(b"more")
    ran = run("restore", backup, "--home", tmp_path / "new")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"secure-rag: {backup}/control.db: missing or altered since the backup was made\n"
    set_operators(backup, {"somebody-else": "user:operator"})
    ran = run("restore", backup, "--home", tmp_path / "new")
    assert (ran.code, ran.out) == (5, "")
    assert not (tmp_path / "new").exists()
