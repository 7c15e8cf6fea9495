"""What documents hold cannot steer the terminal of who reads about them, and JSON is JSON."""

from __future__ import annotations

import json
import sqlite3

import pytest

from secure_rag_api.cli.output import console_out, emit, printable, printable_lines, show_table, when
from tests.integration.cli.company import Company

TITLE = "\x1b]0;owned\x07\x1b[2Jcolours\x9b31m\u202etxt\u2028end"


@pytest.fixture
def hostile(company: Company) -> Company:
    """Titles, names and text that a stranger chose to steer terminals."""
    with sqlite3.connect(company.home / "control.db") as connection:
        connection.execute("UPDATE document SET title = ?, native_id = native_id || ?", (TITLE, TITLE))
        connection.execute("UPDATE chunk SET text = text || ?", (TITLE + "\r\n\tmore",))
        connection.execute("UPDATE run_item SET native_id = native_id || ?, detail = ?", (TITLE, TITLE))
        connection.execute("UPDATE finding SET evidence = ?, rule = ?", (TITLE, TITLE))
    connection.close()
    return company


def test_nothing_that_people_read_holds_what_steers_a_terminal(hostile: Company) -> None:
    run = hostile.run("runs", "list", "--json").json[0]["run"]
    document = hostile.quarantined()
    asked = ("retrieve", "pump torque", "--as", "user:ann", "--app", "app:chat")
    for words in (
        (*asked, "--explain"),
        ("runs", "show", run),
        ("quarantine", "list"),
        ("quarantine", "show", document),
        ("doctor",),
        ("audit", "tail"),
    ):
        for json_output in (False, True):
            ran = hostile.run(*words, *(["--json"] if json_output else []))
            assert ran.code in (0, 1), ran.err
            steering = {c for c in ran.out + ran.err if not c.isprintable()}
            assert steering <= {"\n", "\t"}, words
            if json_output and words[0] != "audit":
                json.loads(ran.out)
    # It was really there: the JSON of an answer gives it back whole.
    assert hostile.run(*asked, "--json").json["results"][0]["title"] == TITLE


def test_errors_hold_nothing_that_steers_a_terminal(founded: Company) -> None:
    for words in (("runs", "show", TITLE), ("retrieve", "x", "--as", TITLE), ("ingest", "run", TITLE)):
        ran = founded.run(*words)
        assert ran.code != 0
        assert {c for c in ran.err if not c.isprintable()} == {"\n"}
        assert ran.err.count("\n") == 1


def test_text_is_made_printable() -> None:
    assert printable("a\x1b[31mb\tc\nd\u202ee\ud800f") == "a�[31mb c d�e�f"
    assert printable("Grüße, 日本, “ok”") == "Grüße, 日本, “ok”"
    assert printable_lines("a\x1bb\nc\r\nd\u2028e") == "a�b\nc\nd\ne"


def test_json_keeps_letters_and_escapes_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"text": "Grüße \x1b\x9b\u202e\ud800\U000e0041 \"'\\"}
    emit(document)
    printed = capsys.readouterr().out
    assert "Grüße" in printed
    assert all(c.isprintable() for c in printed.rstrip("\n"))
    assert json.loads(printed) == document


def test_tables_are_plain_lines_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("a", "b"), [("x\ny", "z\tw"), ("[red]", None)])
    assert capsys.readouterr().out == "a\tb\nx y\tz w\n[red]\tNone\n"


def test_a_table_on_a_terminal_takes_no_markup_from_its_cells(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert console_out().is_terminal
    show_table(("a", "b"), [("[link=file:///etc/passwd]x[/link]", "\x1b[2J")])
    printed = capsys.readouterr().out
    assert "[link=file:///etc/passwd]" in printed.replace("\n", "")
    assert "\x1b[2J" not in printed


def test_instants_are_for_people() -> None:
    assert when(0) == "never"
    assert when(2**62) == "no end"
    assert when(1_700_000_000_000_000) == "2023-11-14T22:13:20Z"
