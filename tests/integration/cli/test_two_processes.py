"""A change made by one process counts for the very next query of another; nothing waits."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from secure_rag import AuthenticationError, Client, NotFoundError
from tests.controls import control
from tests.integration.cli.company import ROOT, Company, command_line, environment, run_elsewhere


@contextmanager
def serving(company: Company) -> Generator[str]:
    """`secure-rag serve` as a process of its own; its address is printed once the port is bound."""
    process = subprocess.Popen(
        command_line("serve", "--port", "0", "--home", company.home),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("Serving on http://127.0.0.1:"), process.stderr.read()
        yield line.removeprefix("Serving on ")
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (-signal.SIGTERM, "", "")


def client(closing: ExitStack, company: Company, address: str, *words: str) -> Client:
    tokens = company.run("token", *words, "--json").json
    made = Client(address, token=tokens["token"], subject_token=tokens["subject_token"])
    return closing.enter_context(made)


def titles(asking: Client) -> list[str]:
    return sorted(x.title for x in asking.retrieve("pump torque"))


@control("retrieval:revocation-next-query")
def test_what_one_process_takes_away_the_next_query_of_another_is_without(company: Company) -> None:
    # A second source, whose files are this test's own.
    for path in (company.manifest, company.manifest.parent / "mapping.yaml"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["id" if "id" in content else "source"] = "other"
        path.write_text(json.dumps(content), encoding="utf-8")
    assert company.run("ingest", "run", company.manifest).code == 1
    first = company.delegation()
    second = json.loads(
        company.run(
            "delegations",
            "create",
            "--agent",
            "agent:second",
            "--by",
            "agent:helper",
            "--parent",
            first,
            "--json",
        ).out
    )["delegation"]
    with serving(company) as address, ExitStack() as closing:
        ann = client(closing, company, address, "--app", "app:chat", "--as", "user:ann")
        helper = client(closing, company, address, "--delegation", first)
        passed_on = client(closing, company, address, "--delegation", second)
        for asking in (ann, helper, passed_on):
            assert titles(asking) == 2 * ["colours"] + 2 * ["drive"] + 2 * ["manual"]
        drive = next(x.chunk_id for x in ann.retrieve("prototype drive") if x.title == "drive")
        assert ann.chunk(drive).result.text.startswith("Pump torque of the prototype")

        # A membership ends: for the person, for who asks on her behalf, and for a chunk whose id is known.
        company.write_directory(engineers=("user:ben",))
        assert run_elsewhere("directory", "import", company.directory, "--home", company.home).code == 0
        for asking in (ann, helper, passed_on):
            assert titles(asking) == ["colours", "colours", "manual", "manual"]
        with pytest.raises(NotFoundError):
            ann.chunk(drive)

        # A delegation ends, and with it what was passed on from it.
        assert run_elsewhere("delegations", "revoke", first, "--home", company.home).out == "2 ended\n"
        for asking in (helper, passed_on):
            with pytest.raises(AuthenticationError):
                asking.retrieve("pump torque")

        # A mapping takes a source away.
        mapping = company.manifest.parent / "mapping.yaml"
        content = json.loads(mapping.read_text(encoding="utf-8"))
        content["rules"] = []
        mapping.write_text(json.dumps(content), encoding="utf-8")
        assert run_elsewhere("ingest", "run", company.manifest, "--home", company.home).code == 1
        assert titles(ann) == ["colours", "manual"]

        # Somebody leaves the company.
        content = json.loads(company.directory.read_text(encoding="utf-8"))
        content["users"][0]["state"] = "disabled"
        company.directory.write_text(json.dumps(content), encoding="utf-8")
        assert run_elsewhere("directory", "import", company.directory, "--home", company.home).code == 0
        assert titles(ann) == []


@control("retrieval:revocation-next-query")
def test_a_grant_that_one_process_adds_the_next_query_of_another_has(company: Company) -> None:
    with serving(company) as address, ExitStack() as closing:
        ben = client(closing, company, address, "--app", "app:chat", "--as", "user:ben")
        assert titles(ben) == ["colours", "manual"]
        content = json.loads(company.write_directory(engineers=("user:ben",)).read_text(encoding="utf-8"))
        content["users"][1]["clearance"] = "Confidential"
        company.directory.write_text(json.dumps(content), encoding="utf-8")
        assert run_elsewhere("directory", "import", company.directory, "--home", company.home).code == 0
        assert titles(ben) == ["colours", "drive", "manual"]


def test_a_port_that_is_taken_and_a_host_for_others_are_refused(company: Company) -> None:
    with serving(company) as address:
        ran = company.run("serve", "--port", address.rsplit(":", 1)[1])
        assert (ran.code, ran.out) == (3, "")
        assert ran.err.startswith("secure-rag: cannot bind to 127.0.0.1:")
    for words in (["--host", "192.0.2.1"], ["--port", "99999"], ["--port", "x"]):
        assert company.run("serve", *words).code in (2, 3)


def test_a_service_stopped_from_the_keyboard_ends_in_good_order(company: Company) -> None:
    process = subprocess.Popen(
        command_line("serve", "--port", "0", "--home", company.home),
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().strip().removeprefix("Serving on ")
    # An answer shows that the server has taken over the signals.
    assert httpx.get(f"{address}/healthz", trust_env=False).status_code == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_init_on_a_terminal_asks_for_folders_until_there_are_no_more(tmp_path: Path) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_line("init", "--home", tmp_path / "home"),
        cwd=ROOT, env=environment(), stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    answers = ["acme", "user:ada", "/no/such/folder", str(documents), "", "everyone", "Internal"]
    os.write(ours, ("\n".join(answers) + "\n").encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert "/no/such/folder: no such folder" in err
    assert "Another folder of documents (Return: none): " in err
    assert out.startswith(f"Created {tmp_path}/home (profile development, tenant acme, you are user:ada).")
