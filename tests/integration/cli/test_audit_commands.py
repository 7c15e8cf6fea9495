"""`audit tail|verify|checkpoint|prune`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.integration.cli.company import Company, set_operators


def test_the_last_events_are_shown(founded: Company) -> None:
    event = founded.run("audit", "tail", "-n", "1", "--kind", "ingest_run", "--json").lines[0]
    assert event["kind"] == "ingest_run"
    assert event["tenant"] == "acme"
    assert event["body"]["by"] == "user:operator"
    assert event["at"].endswith("Z")
    line = founded.run("audit", "tail", "-n", "1", "--kind", "ingest_run").out
    assert line.startswith(f"{event['at']} acme ingest_run {event['event_id']} {{")
    assert founded.run("audit", "tail", "--tenant", "globex", "--json").out == ""


def test_a_decision_is_found_by_its_id(company: Company) -> None:
    asked = company.run("retrieve", "pump torque", "--as", "user:ann", "--app", "app:chat", "--json").json
    found = company.run("audit", "tail", "--id", asked["decision_id"], "--json").lines
    assert [(x["kind"], x["event_id"]) for x in found] == [("retrieve", asked["decision_id"])]
    assert found[0]["body"]["subject"] == "user:ann"
    assert len(found[0]["body"]["results"]) == len(asked["results"])


def test_an_untouched_log_verifies_and_a_changed_one_does_not(company: Company) -> None:
    ran = company.run("audit", "verify")
    assert ran.code == 0
    assert ran.out.endswith("cannot be seen.\nok\n")
    assert company.run("audit", "verify", "--json").json["ok"] is True
    with sqlite3.connect(company.home / "audit.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE event SET body = replace(body, 'operator', 'somebody')")
    connection.close()
    ran = company.run("audit", "verify")
    assert ran.code == 1
    assert ran.out.endswith("NOT OK\n")
    found = company.run("audit", "verify", "--json")
    assert (found.code, found.json["ok"]) == (1, False)


def test_an_exported_checkpoint_shows_a_lost_tail(company: Company, tmp_path: Path) -> None:
    file, key = tmp_path / "checkpoint.json", company.home / "keys" / "audit-ed25519.pub"
    company.ask("user:ann")
    assert company.run("audit", "checkpoint", file).out == f"Wrote {file}\n"
    assert company.events("audit_checkpoint_exported")[-1]["body"]["by"] == "user:operator"
    assert company.run("audit", "verify", "--checkpoint", file, "--public-key", key).code == 0
    with sqlite3.connect(company.home / "audit.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM event WHERE rowid = (SELECT max(rowid) FROM event)")
    connection.close()
    assert company.run("audit", "verify", "--checkpoint", file).code == 1


def test_pruning_wants_a_setting_and_names_who_did_it(company: Company) -> None:
    ran = company.run("audit", "prune")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"secure-rag: {company.home}/config.yaml: audit.retention_days is not set\n"
    set_operators(company.home, audit={"retention_days": 30})
    ran = company.run("audit", "prune", "--json")
    assert ran.code == 0
    assert ran.json == {"events": 0, "chains": 0, "erased": True, "problems": []}
    assert company.events("audit_prune")[-1]["body"] == {"by": "user:operator", "days": 30}


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["tail", "-n", "0"], 2, "between 1 and 100000 events can be shown"),
        (["tail", "-n", "many"], 2, ""),
        (["tail", "--id", "unheard-of"], 6, "no event 'unheard-of'"),
        (
            ["verify", "--checkpoint", "/no/such/file"],
            3,
            "/no/such/file: the exported checkpoint cannot be read",
        ),
        (["verify", "--public-key", "/no/such/key"], 3, "/no/such/key: the public key cannot be read"),
        (["checkpoint", "/no/such/folder/file"], 4, "/no/such/folder/file: the checkpoint cannot be written"),
        (["checkpoint"], 2, ""),
    ],
)
def test_wrong_uses_end_with_their_code(
    founded: Company, words: list[str], code: int, complaint: str
) -> None:
    ran = founded.run("audit", *words)
    assert (ran.code, ran.out) == (code, "")
    if complaint:
        assert ran.err.startswith(f"secure-rag: {complaint}")
        assert ran.err.count("\n") == 1


def test_the_log_is_read_although_the_rest_of_the_home_is_damaged(company: Company) -> None:
    (company.home / "control.db").write_bytes(b"damaged")
    assert company.run("audit", "verify").code == 0
    assert company.run("audit", "tail", "-n", "1").out.count("\n") == 1
    ran = company.run("runs", "list")
    assert (ran.code, ran.out) == (3, "")
    assert "control.db: not a control database" in ran.err
