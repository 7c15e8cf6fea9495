"""No error of a user ends in a traceback, and each has its exit code."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from sqlalchemy import exc
from typer.testing import CliRunner

from secure_rag import errors
from secure_rag.errors import SecureRagError
from secure_rag_api.cli.boundary import Boundary, ExitCode, exit_code
from tests.integration.cli.company import ROOT, Company, command_line, environment, run

EVERY_ERROR: dict[str, ExitCode] = {
    "AuthenticationError": ExitCode.NOT_PERMITTED,
    "ConfigError": ExitCode.CONFIG,
    "IngestionError": ExitCode.CONFIG,
    "InvalidRequestError": ExitCode.USAGE,
    "ModelError": ExitCode.CONFIG,
    "NotFoundError": ExitCode.NOT_FOUND,
    "PermissionsUnknownError": ExitCode.CONFIG,
    "PolicyError": ExitCode.CONFIG,
    "QuotaExceededError": ExitCode.CONFIG,
    "RateLimitedError": ExitCode.UNAVAILABLE,
    "SecureRagError": ExitCode.UNAVAILABLE,
    "StaleSourceError": ExitCode.UNAVAILABLE,
    "StoreError": ExitCode.UNAVAILABLE,
    "UnavailableError": ExitCode.UNAVAILABLE,
}


def ends(work: Callable[[], None]) -> tuple[int, str, str]:
    """How a command ends that does this."""
    app = typer.Typer(cls=Boundary, pretty_exceptions_enable=False)
    app.command("work")(work)
    app.command("other")(lambda: None)
    ran = CliRunner().invoke(app, ["work"])
    return ran.exit_code, ran.stdout, ran.stderr


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_every_error_of_the_product_has_an_exit_code() -> None:
    assert set(EVERY_ERROR) == set(errors.__all__)


@pytest.mark.parametrize("name", sorted(EVERY_ERROR))
def test_errors_of_the_product_are_one_line(name: str) -> None:
    kind: type[SecureRagError] = getattr(errors, name)
    assert ends(raising(kind("two\nlines \x1b[31m"))) == (
        EVERY_ERROR[name],
        "",
        "secure-rag: two lines �[31m\n",
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (PermissionError(13, "Permission denied", "/x"), 3, "/x: Permission denied"),
        (FileNotFoundError(2, "No such file or directory", "/x"), 3, "/x: No such file or directory"),
        (OSError(28, "No space left on device"), 4, "No space left on device"),
        (
            sqlite3.OperationalError("database is locked"),
            4,
            "a database of the home cannot be used: database is locked",
        ),
        (
            exc.OperationalError("SELECT secret", {}, Exception("disk I/O error")),
            4,
            "a database of the home cannot be used: disk I/O error",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_the_system_are_one_line(error: BaseException, code: int, line: str) -> None:
    assert ends(raising(error)) == (code, "", f"secure-rag: {line}\n")


def test_a_fault_of_ours_keeps_its_traceback_and_has_a_code_of_its_own() -> None:
    code, out, err = ends(raising(ZeroDivisionError("ours")))
    assert (code, out) == (ExitCode.FAULT, "")
    assert "Traceback" in err
    assert err.endswith("secure-rag: a fault of this program: ZeroDivisionError\n")
    assert exit_code(ZeroDivisionError()) is ExitCode.FAULT


def test_a_command_may_end_with_any_code() -> None:
    assert ends(raising(typer.Exit(1))) == (1, "", "")


@pytest.mark.parametrize(
    "words", [[], ["nonsense"], ["runs"], ["runs", "shwo"], ["runs", "list", "--nonsense"]]
)
def test_wrong_words_are_usage(words: list[str]) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert "Traceback" not in ran.err + ran.out


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"],
        ["doctor"],
        ["audit", "tail"],
        ["audit", "verify"],
        ["quarantine", "list"],
        ["delegations", "list"],
    ],
)
def test_a_folder_that_is_no_home_is_one_line(tmp_path: Path, words: list[str]) -> None:
    ran = run(*words, "--home", tmp_path / "nothing")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"secure-rag: {tmp_path}/nothing/config.yaml: cannot be read; `secure-rag init` creates a home\n"
    )
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ("tenant: acme\noperators: [", "config.yaml:2: not valid YAML: expected the node content"),
        ("tenant: \x07", "config.yaml: not valid YAML"),
        ("nonsense: 1", "config.yaml: nonsense: Extra inputs are not permitted"),
        ("operators: {{{user}: bogus}}", "config.yaml: operators.{user}: not a principal: 'bogus'"),
        ("profile: staging", "config.yaml: profile: Input should be"),
    ],
)
def test_wrong_settings_are_one_line(company: Company, settings: str, complaint: str) -> None:
    from secure_rag_api.operators import os_user

    user = os_user()
    text = settings.format(user=user) if "{user}" in settings else settings
    (company.home / "config.yaml").write_text(text, encoding="utf-8")
    ran = company.run("runs", "list")
    assert (ran.code, ran.out) == (3, "")
    assert complaint.replace("{user}", user) in ran.err
    assert ran.err.count("\n") == 1


def test_whoever_stops_reading_ends_the_command_quietly(founded: Company) -> None:
    process = subprocess.Popen(
        command_line("audit", "tail", "--home", founded.home),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    complaint = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), complaint) == (ExitCode.PIPE_CLOSED, "")


def test_a_full_disk_under_the_output_is_one_line(founded: Company) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            command_line("labels", "list", "--home", founded.home),
            cwd=ROOT, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (4, "secure-rag: No space left on device\n")
