"""Who may manage a home, who may read its files, and what a home must be to be opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from secure_rag_api.cli.main import app
from secure_rag_api.operators import os_user
from secure_rag_api.private_files import open_to_others, read_secret
from tests.controls import control
from tests.integration.cli.company import Company, run, set_operators

# They make a home, which has no operators yet; or they manage nothing, and whoever asks brings tokens.
OPEN_TO_ALL = {"init", "demo", "serve", "conform"}


def leaves(path: str = "", command: Any = None) -> Iterator[tuple[str, Any]]:
    command = typer.main.get_command(app) if command is None else command
    for name, child in getattr(command, "commands", {}).items():
        yield from leaves(f"{path} {name}", child)
    if not hasattr(command, "commands"):
        yield path.strip(), command


def words_for(path: str, command: Any, company: Company) -> list[str]:
    """The command with a value for whatever it demands."""
    words = path.split()
    for parameter in command.params:
        if parameter.required and parameter.name != "home":
            value = {"version": "1", "subject": "user:x", "file": str(company.directory)}.get(
                parameter.name, str(company.base / "x")
            )
            words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return words


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(x.relative_to(root)): x.read_bytes() for x in sorted(root.rglob("*")) if x.is_file()}


@control("ops:operators-only")
@pytest.mark.parametrize("path", sorted({path for path, _ in leaves()} - OPEN_TO_ALL))
def test_who_is_no_operator_manages_nothing(company: Company, path: str) -> None:
    set_operators(company.home, {"somebody-else": "user:operator"})
    before = snapshot(company.base)
    command = dict(leaves())[path]
    home = company.home if path != "restore" else company.base / "restored"
    words = words_for(path, command, company)
    if path == "restore":
        words = ["restore", str(company.home)]
    ran = run(*words, "--home", home)
    assert (ran.code, ran.out) == (5, ""), ran.err
    assert ran.err == (
        f"secure-rag: OS user {os_user()!r} is no operator of this home; see `operators` in its config.yaml\n"
    )
    assert snapshot(company.base) == before


@control("ops:operators-only")
def test_the_environment_does_not_say_who_somebody_is(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_operators(company.home, {"somebody-else": "user:operator"})
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    assert company.run("runs", "list").code == 5


def test_a_user_without_a_name_is_known_by_number(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert os_user() == "4000000"
    set_operators(company.home, {"4000000": "user:operator"})
    assert company.run("runs", "list").code == 0


@control("ops:private-files")
def test_every_file_of_a_home_is_its_owners_alone(tmp_path: Path) -> None:
    documents, home = tmp_path / "documents", tmp_path / "home"
    documents.mkdir()
    (documents / "a.txt").write_text("Flights need approval.", encoding="utf-8")
    second = tmp_path / "second"
    second.mkdir()
    before = os.umask(0)
    try:
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
        at = ["--home", str(home)]
        assert run("init", *at, "--documents", documents, "--documents", second, *words).code == 0
        assert run("ingest", "run", *at).code == 0
        assert run("retrieve", "flights", "--as", "user:ada", "--context", "c", *at).code == 0
        assert run("token", "--as", "user:ada", *at).code == 0
        assert run("backup", tmp_path / "backup", *at).code == 0
        assert run("restore", tmp_path / "backup", "--home", tmp_path / "restored").code == 0
    finally:
        os.umask(before)
    assert list(open_to_others(home)) == []
    assert list(open_to_others(tmp_path / "restored")) == []
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o700
    assert {x.name for x in home.rglob("*.pub")} == {"audit-ed25519.pub"}


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    from secure_rag.errors import ConfigError

    file = tmp_path / "key"
    file.write_text(" abc-123\n", encoding="utf-8")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read this secret"):
        read_secret(file)
    file.chmod(0o600)
    assert read_secret(file) == "abc-123"
    for content in (b"", b" \n", b"x" * 4097, b"two\nlines", "schlüssel".encode()):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="holds no secret"):
            read_secret(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(tmp_path / "nothing")


TRIGGERS = ("bump_membership_update", "bump_access_grant_delete", "bump_document_update", "keep_class_update")


@control("ops:triggers-checked")
@pytest.mark.parametrize("trigger", TRIGGERS)
@pytest.mark.parametrize("altered", [False, True])
def test_a_home_with_a_missing_or_altered_trigger_is_not_opened(
    company: Company, trigger: str, altered: bool
) -> None:
    with sqlite3.connect(company.home / "control.db") as connection:
        table = connection.execute(
            "SELECT tbl_name FROM sqlite_master WHERE name = ?", (trigger,)
        ).fetchone()[0]
        connection.execute(f"DROP TRIGGER {trigger}")
        if altered:
            connection.execute(f"CREATE TRIGGER {trigger} AFTER UPDATE ON {table} BEGIN SELECT 1; END")
    connection.close()
    for words in (
        ("retrieve", "pump", "--as", "user:ann", "--app", "app:chat"),
        ("ingest", "run"),
        ("directory", "import", company.directory),
        ("serve", "--port", "0"),
    ):
        ran = company.run(*words)
        assert (ran.code, ran.out) == (3, "")
        assert ran.err.endswith(f"triggers are missing or altered: {trigger}\n")
