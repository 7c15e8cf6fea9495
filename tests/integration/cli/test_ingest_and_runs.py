"""`ingest run`, `runs list` and `runs show`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from secure_rag_api.cli import ingest
from tests.integration.cli.company import ROOT, Company, command_line, environment
from tests.support.terminal import on_terminal


def rename(company: Company, name: str) -> Path:
    """Make the copied source one of its own, with its documents beside it."""
    for path in (company.manifest, company.manifest.parent / "mapping.yaml"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if "id" in content:
            content |= {"id": name, "root": str(company.documents)}
        else:
            content["source"] = name
        path.write_text(json.dumps(content), encoding="utf-8")
    return company.manifest


def test_json_is_one_line_per_item_and_run(company: Company) -> None:
    ran = company.run("ingest", "run", rename(company, "other"), "--json")
    assert ran.code == 1
    *items, last = ran.lines
    assert {x["item"]["native_id"]: x["item"]["outcome"] for x in items}["broken.docx"] == "failed"
    assert {x["manifest"] for x in items} == {str(company.manifest)}
    assert (last["run"]["tenant"], last["run"]["source"]) == ("acme", "other")
    assert last["run"]["outcomes"] == {"added": 5, "failed": 1, "quarantined": 1}
    assert ran.err == ""


def test_text_names_what_failed_and_what_is_held(company: Company) -> None:
    ran = company.run("ingest", "run", rename(company, "other"))
    assert ran.code == 1
    assert "failed: broken.docx: corrupt" in ran.err
    assert "quarantined: planted.txt: detected unicode_tags" in ran.err
    head, row = ran.out.splitlines()
    assert head == "tenant\tsource\tstatus\toutcomes\tchunks embedded\trun"
    assert row.startswith("acme\tother\tcompleted\t5 added, 1 failed, 1 quarantined\t6\tr_")


def test_a_terminal_shows_a_progress_bar_and_what_failed(company: Company) -> None:
    words = command_line("ingest", "run", rename(company, "other"), "--home", company.home)
    code, out, shown = on_terminal(words, ROOT, environment())
    assert code == 1
    assert "acme\tother\tcompleted" in out
    assert re.search(r"wiki \S*━.* \S*7/7", shown)
    assert "failed: broken.docx: corrupt" in shown


def test_all_registered_sources_run_when_none_is_named(company: Company) -> None:
    (company.documents / "broken.docx").unlink()
    company.run("ingest", "run", rename(company, "other"))
    ran = company.run("ingest", "run", "--json")
    sources = {x["run"]["source"]: x["run"] for x in ran.lines if "run" in x}
    assert set(sources) == {"wiki", "other"}
    assert sources["other"]["embedded"] == 0
    assert ran.code == 1  # the broken document of the first source is still there


def test_a_clean_run_ends_with_0(company: Company) -> None:
    (company.documents / "broken.docx").unlink()
    assert company.run("ingest", "run", rename(company, "other")).code == 0


def test_of_several_sources_one_that_cannot_run_does_not_stop_the_others(company: Company) -> None:
    company.run("ingest", "run", rename(company, "other"))
    mapping = company.manifest.parent / "mapping.yaml"
    mapping.write_text("source: other\nrules: [\n", encoding="utf-8")
    ran = company.run("ingest", "run", "--json")
    assert ran.code == 1
    assert [x["run"]["source"] for x in ran.lines if "run" in x] == ["wiki"]
    assert [x["error"]["manifest"] for x in ran.lines if "error" in x] == [str(company.manifest)]
    assert f"secure-rag: {mapping}:" in ran.err
    ran = company.run("ingest", "run", company.manifest)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"secure-rag: {mapping}:")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["/no/such/source.yaml"], 3, "/no/such/source.yaml: no such file or folder"),
        (["{documents}"], 3, "no source.yaml below {documents}"),
        (["{documents}/manual.txt"], 3, "{documents}/manual.txt"),
    ],
)
def test_wrong_places_end_in_one_line(founded: Company, words: list[str], code: int, complaint: str) -> None:
    documents = founded.documents
    ran = founded.run("ingest", "run", *(x.format(documents=documents) for x in words))
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"secure-rag: {complaint.format(documents=documents)}")
    assert ran.err.count("\n") == 1


def test_a_source_inside_the_home_is_refused(company: Company) -> None:
    content = json.loads(rename(company, "keys").read_text(encoding="utf-8"))
    for root in (company.home, company.home / "keys", company.base):
        company.manifest.write_text(json.dumps({**content, "root": str(root)}), encoding="utf-8")
        ran = company.run("ingest", "run", company.manifest)
        assert (ran.code, ran.out) == (3, ""), root
        assert company.titles("user:ann", "pump torque", "--source", "keys") == []


def test_nothing_registered_is_said(tmp_path: Path) -> None:
    from tests.integration.cli.company import run

    home = tmp_path / "home"
    run("init", "--home", home, "--tenant", "acme", "--operator", "user:operator")
    ran = run("ingest", "run", "--home", home)
    assert (ran.code, ran.err) == (3, "secure-rag: no source is registered yet: name a source.yaml\n")
    assert "no source is registered" in run("doctor", "--home", home).out


def test_an_interrupted_run_says_so_and_is_known_as_such(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ingest, "_report", interrupt)
    ran = company.run("ingest", "run", rename(company, "other"))
    assert (ran.code, ran.out, ran.err) == (130, "", "secure-rag: interrupted\n")
    monkeypatch.undo()
    assert company.run("runs", "list", "--limit", "1", "--json").json[0]["status"] == "interrupted"
    assert "was interrupted" in company.run("doctor").out
    assert company.run("ingest", "run", company.manifest, "--json").lines[-1]["run"]["status"] == "completed"


# ---- runs


def test_runs_are_listed_and_shown(founded: Company) -> None:
    (found,) = founded.run("runs", "list", "--json").json
    assert (found["source"], found["status"], found["by"], found["items"]) == (
        "wiki",
        "completed",
        "user:operator",
        7,
    )
    shown = founded.run("runs", "show", found["run"], "--json").json
    assert shown["run"] == found
    outcomes = {x["item"]: (x["outcome"], x["reason"]) for x in shown["items"]}
    assert outcomes["broken.docx"] == ("failed", "corrupt")
    assert outcomes["manual.txt"] == ("added", "new")
    text = founded.run("runs", "show", found["run"], "--outcome", "quarantined").out
    assert "planted.txt\tquarantined\tdetected\t" in text
    assert "manual.txt" not in text
    assert founded.run("runs", "list").out.splitlines()[1].startswith(found["run"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "r_nothing"], 6),
        (["show"], 2),
        (["show", "r_1", "--outcome", "bogus"], 2),
        (["list", "--limit", "0"], 2),
    ],
)
def test_wrong_uses_of_runs(founded: Company, words: list[str], code: int) -> None:
    ran = founded.run("runs", *words)
    assert (ran.code, ran.out) == (code, "")
    assert "Traceback" not in ran.err
