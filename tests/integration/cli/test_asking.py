"""`retrieve`, `doctor` and `token`: asking as somebody, and why so little comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.company import Company, set_operators


def test_each_gets_what_she_may_read(founded: Company) -> None:
    assert founded.titles("user:ann") == ["colours", "drive", "manual"]
    assert founded.titles("user:ben") == ["colours", "manual"]
    assert founded.titles("user:gil") == []


def test_an_answer_for_people_ends_with_its_decision(founded: Company) -> None:
    ran = founded.ask("user:ann", "tighten crosswise", "-k", "1")
    first, text, decision = ran.out.splitlines()
    assert first.startswith("1. 0.")
    assert first.endswith("wiki: manual  (Internal, internal)")
    assert text.strip().startswith("Pump torque for the flange")
    assert decision.startswith("Decision ")


def test_an_answer_as_json_has_one_shape(founded: Company) -> None:
    answer = founded.ask("user:ann", "pump torque", "--json").json
    assert set(answer) == {
        "decision_id", "policy_version", "effective_label", "complete", "notices", "results",
    }  # fmt: skip
    assert answer["effective_label"] == "Confidential"
    assert answer["results"][0]["source"] == "wiki"


def test_an_empty_answer_says_at_once_what_was_withheld_and_why(founded: Company) -> None:
    ran = founded.ask("user:gil")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "Nothing found, among 0 documents that can be read."
    assert "! 2 documents withheld from user:gil: label (the clearance or a ceiling" in ran.out
    assert "! 2 documents withheld from user:gil: not_on_list (no allow entry" in ran.out
    assert "! 1 document withheld from user:gil: unresolved_deny (a deny names somebody" in ran.out
    assert "! 1 document withheld from user:gil: quarantined" in ran.out


def test_explain_names_lock_principal_and_source_entry(founded: Company) -> None:
    ran = founded.ask("user:ann", "prototype drive", "-k", "1", "--explain")
    assert "why: wiki/secret/drive.txt, permissions confirmed 2" in ran.out
    assert "label Confidential, clearance Confidential" in ran.out
    assert "lock 1 of 1 opened through group:engineers" in ran.out
    place = founded.manifest.parent / "mapping.yaml"
    assert f"allow Engineers at {place}:" in ran.out
    assert "passed app:chat, up to Confidential" in ran.out


def test_explain_as_json_holds_every_lock(founded: Company) -> None:
    why = founded.ask("user:ann", "manual", "-k", "1", "--explain", "--json").json["results"][0][
        "explanation"
    ]
    assert why["document"] == "wiki/manual.txt"
    assert why["reason"] == "allowed"
    assert why["locks"][0]["through"] == ["everyone"]
    assert {x["entry"] for x in why["locks"][0]["origins"]} == {"everyone", "Old Intranet"}


def test_acting_as_somebody_is_recorded_with_the_operator(company: Company) -> None:
    company.ask("user:ann", "pump torque", "--explain")
    event = company.events("acted_as")[-1]
    assert event["tenant"] == "acme"
    assert event["body"]["by"] == "user:operator"
    assert event["body"]["subject"] == "user:ann"
    assert event["body"]["explain"] is True


def test_options_narrow_the_answer(founded: Company) -> None:
    assert founded.titles("user:ann", "tighten crosswise", "-k", "1") == ["manual"]
    assert founded.titles("user:ann", "pump torque", "--label-max", "Internal") == ["colours", "manual"]
    assert founded.titles("user:ann", "pump torque", "--source", "other") == []
    assert founded.titles("user:ann", "pump torque", "--modified-after", "2999-01-01") == []
    assert founded.titles("user:ann", "pump torque", "--purpose", "training") == []
    assert founded.titles("user:ann", "pump torque", "--context", "c1") == ["colours", "drive", "manual"]


def test_the_only_application_and_the_last_hop_need_not_be_named(company: Company) -> None:
    delegation = company.delegation()
    ran = company.run("retrieve", "pump torque", "--delegation", delegation, "--json")
    assert sorted(x["title"] for x in ran.json["results"]) == ["colours", "drive", "manual"]
    ran = company.run("retrieve", "pump torque", "--as", "user:ann")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "secure-rag: name the calling application (--app): one of app:chat, app:other\n"


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--as", "user:ann", "-k", "101"], 2, "k must be 1 to 100"),
        (["--as", "bogus"], 2, "not a principal: 'bogus'"),
        (
            ["--as", "user:ann", "--app", "app:nobody"],
            2,
            "app:nobody is no active application or agent of tenant 'acme'",
        ),
        (["--as", "user:ann", "--app", "user:ben"], 2, "user:ben is no active application or agent"),
        ([], 2, "give either a subject (--as) or a delegation"),
        (["--as", "user:ann", "--delegation", "g_1"], 2, "give either a subject (--as) or a delegation"),
        (["--delegation", "g_1"], 2, "tenant 'acme' has no delegation 'g_1'"),
        (["--delegation", "g_1", "--app", "agent:helper"], 5, "the caller may not speak for this subject"),
        (["--as", "user:ann", "--app", "agent:helper"], 5, "the caller may not speak for this subject"),
        (["--as", "user:ann", "--tenant", "globex"], 6, "there is no tenant 'globex'"),
        (["--as", "user:ann", "--tenant", "A B"], 2, "not a tenant name: 'A B'"),
        (
            ["--as", "user:ann", "--app", "app:chat", "--modified-after", "soon"],
            2,
            "not an ISO 8601 date: 'soon'",
        ),
        (
            ["--as", "user:ann", "--app", "app:chat", "--max-staleness", "-1"],
            2,
            "max_staleness_s must not be",
        ),
        (
            ["--as", "user:ann", "--app", "app:chat", "--max-staleness", "0"],
            4,
            "permissions of a source are older",
        ),
    ],
)
def test_wrong_questions_end_in_one_line(
    founded: Company, words: list[str], code: int, complaint: str
) -> None:
    ran = founded.run("retrieve", "pump", *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"secure-rag: {complaint}")
    assert ran.err.count("\n") == 1


def test_the_home_may_come_from_the_environment(founded: Company) -> None:
    from tests.integration.cli.company import run

    ran = run("labels", "list", "--json", env={"SECURE_RAG_HOME": str(founded.home)})
    assert [x["name"] for x in ran.json] == ["Public", "General", "Internal", "Confidential", "Restricted"]
    assert run("labels", "list").code == 2


# ---- doctor


def test_doctor_names_everything_that_makes_answers_empty(founded: Company) -> None:
    ran = founded.run("doctor")
    assert ran.code == 1
    lines = [x.removeprefix("! ") for x in ran.out.splitlines() if x.startswith("! ")]
    assert lines == [
        "tenant acme: 1 users have no clearance and see nothing: service:kiosk",
        "source acme/wiki: 1 document in quarantine: `secure-rag quarantine list`",
        "source acme/wiki: 1 document labelled Restricted, the label of what has none; `default_label` in its"
        " source.yaml gives another",
        lines[3],
        'source acme/wiki: "Agency" is not mapped; in the deny list of 1 document it closes the lock for everybody',
        'source acme/wiki: "Old Intranet" is not mapped; in the allow list of 3 documents it grants nothing',
    ]
    assert lines[3].startswith("source acme/wiki: 1 document failed in its last run and are withheld (")
    assert ran.out.splitlines()[-1] == "6 points need attention."
    assert "source acme/wiki: 5 live, 1 quarantined; permissions as of 2" in ran.out


def test_doctor_counts_for_a_subject(founded: Company) -> None:
    ran = founded.run("doctor", "--as", "user:ben", "--app", "app:chat")
    assert "! 2 documents withheld from user:ben: label (the clearance or a ceiling" in ran.out
    assert "! 1 document withheld from user:ben: unresolved_deny (a deny names somebody" in ran.out
    assert ran.out.splitlines()[-1] == "user:ben can read 2 documents."
    found = founded.run("doctor", "--as", "user:ben", "--app", "app:chat", "--json").json
    assert found["withheld"] == [
        {
            "source": "wiki",
            "documents": {"allowed": 2, "label": 2, "quarantined": 1, "unresolved_deny": 1},
        }
    ]
    assert found["sources"][0]["documents"] == {"live": 5, "quarantined": 1}
    assert founded.events("doctor")[-1]["body"]["subject"] == "user:ben"


def test_doctor_sees_a_missing_manifest_and_open_files(company: Company) -> None:
    registered = Path(company.run("doctor", "--json").json["home"])
    assert registered == company.home
    # The copy of the company is registered anew from its own place.
    names = {
        "id: wiki": "id: short",
        '"id": "wiki"': '"id": "short"',
        '"source": "wiki"': '"source": "short"',
    }
    for path in (company.manifest, company.manifest.parent / "mapping.yaml"):
        text = path.read_text(encoding="utf-8")
        for old, new in names.items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
    assert company.run("ingest", "run", company.manifest).code == 1
    company.manifest.unlink()
    (company.home / "control.db").chmod(0o644)
    ran = company.run("doctor")
    place = company.home / "control.db"
    assert f"! others can reach files of the home; `chmod -R go= {company.home}`: {place}\n" in ran.out
    assert f"! source acme/short: {company.manifest}: cannot be read: No such file or directory" in ran.out


def test_doctor_reports_an_index_of_another_engine(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_rag.testing.static_embedder import HashingEmbedder
    from secure_rag_api import wiring

    monkeypatch.setattr(wiring, "open_embedder", lambda *_: HashingEmbedder(32))
    ran = company.run("doctor")
    assert "! tenant acme: its index was made by test-hashing-v1:d64, not by test-hashing-v1:d32" in ran.out
    ran = company.ask("user:ann")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("secure-rag: the index was made by test-hashing-v1:d64")


def test_doctor_goes_on_without_a_model(company: Company) -> None:
    set_operators(company.home, embedding="st:/no/such/model")
    with pytest.MonkeyPatch.context() as patched:
        from secure_rag.embedding import open_embedder
        from secure_rag_api import wiring

        patched.setattr(wiring, "open_embedder", open_embedder)
        ran = company.run("doctor")
    assert ran.code == 1
    assert "/no/such/model" in ran.out
    assert "source acme/wiki: 5 live" in ran.out


def test_doctor_refuses_a_subject_without_a_single_application(founded: Company) -> None:
    ran = founded.run("doctor", "--as", "user:ann")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("secure-rag: name the calling application")


# ---- token


def test_tokens_are_issued_in_development_and_recorded(company: Company) -> None:
    ran = company.run("token", "--app", "app:chat", "--as", "user:ann")
    assert [x.split("=")[0] for x in ran.out.splitlines()] == [
        "export SECURE_RAG_TOKEN",
        "export SECURE_RAG_SUBJECT_TOKEN",
    ]
    issued = company.run("token", "--app", "app:chat", "--as", "user:ann", "--json").json
    assert set(issued) == {"token", "subject_token"}
    body = company.events("development_token")[-1]["body"]
    assert (body["by"], body["subject"]) == ("user:operator", "user:ann")
    assert issued["token"] not in company.run("audit", "tail").out


def test_tokens_are_refused_in_production_and_with_wrong_options(company: Company) -> None:
    assert company.run("token", "--app", "app:chat").code == 2
    assert company.run("token", "--app", "app:chat", "--as", "user:ann", "--lifetime", "0").code == 2
    assert company.run("token", "--app", "app:chat", "--as", "user:ann", "--lifetime", "3601").code == 2
    set_operators(company.home, profile="production")
    ran = company.run("token", "--app", "app:chat", "--as", "user:ann")
    assert (ran.code, ran.out) == (3, "")
    assert "development profile only" in ran.err
