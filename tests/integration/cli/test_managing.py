"""`directory`, `labels`, `delegations`, `quarantine`: what operators change, and that each change is on record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secure_rag.audit.log import AuditLog
from secure_rag.errors import UnavailableError
from tests.integration.cli.company import LABELS, Company, set_operators

# ---- directory and labels


def test_an_import_reports_and_records_what_changed(company: Company) -> None:
    company.write_directory(engineers=("user:ben",))
    ran = company.run("directory", "import", company.directory, "--json")
    assert ran.code == 0
    assert (ran.json["links_begun"], ran.json["links_ended"]) == (1, 1)
    body = company.events("directory_import")[-1]["body"]
    assert (body["by"], body["links_ended"]) == ("user:operator", 1)
    assert company.events("directory_import_started")[-1]["body"]["complete"] is True
    assert company.titles("user:ann") == ["colours", "manual"]


def test_text_of_an_import_leaves_out_what_is_empty(founded: Company) -> None:
    ran = founded.run("directory", "import", founded.directory)
    assert ran.code == 0
    assert ran.out.splitlines()[0] == "tenant: acme"
    assert "unknown:" not in ran.out


def test_an_incomplete_import_asks_for_attention(company: Company) -> None:
    company.write_directory(complete=False)
    ran = company.run("directory", "import", company.directory)
    assert ran.code == 1
    assert "uncertain: group:engineers" in ran.out
    assert (
        "not known for certain; a deny that names one closes its lock: group:engineers"
        in company.run("doctor").out
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "cannot be read: No such file or directory"),
        (
            "tenant: acme\ncomplete: true\nusers: [{id: ada, kind: member}]\n",
            ":3: users.0.id: not a principal",
        ),
        ("tenant: acme\ncomplete: true\nusers: [\n", ":4: "),
        ("tenant: acme\ncomplete: true\nusers: [{id: user:a, kind: member, clearance: Nope}]\n", "Nope"),
    ],
)
def test_a_wrong_directory_changes_nothing(company: Company, text: str | None, complaint: str) -> None:
    file = company.base / "other.yaml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    ran = company.run("directory", "import", file)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"secure-rag: {file}")
    assert complaint in ran.err
    assert ran.err.count("\n") == 1
    assert company.titles("user:ann") == ["colours", "drive", "manual"]


def test_forgetting_somebody_who_is_there_is_refused(company: Company) -> None:
    ran = company.run("directory", "import", company.directory, "--forget", "group:engineers")
    assert (ran.code, ran.out) == (3, "")


def test_an_export_of_an_identity_system_is_imported_by_written_rules(company: Company) -> None:
    rules, export = company.base / "identity.yaml", company.base / "people.ldif"
    rules.write_text(
        "tenant: acme\ncomplete: true\ndefaults: {clearance: {member: Internal}}\n"
        "users: {id: {attribute: uid}, members: {all: true}}\ngroups: {id: {attribute: cn}}\n",
        encoding="utf-8",
    )
    person = "dn: uid={0},dc=acme\nobjectClass: inetOrgPerson\nuid: {0}\n\n"
    team = "dn: cn=engineers,dc=acme\nobjectClass: groupOfNames\ncn: engineers\nmember: uid=ann,dc=acme\n"
    export.write_text(person.format("ann") + person.format("ben") + team, encoding="utf-8")
    words = ("directory", "import", export, "--format", "ldif", "--identity", rules)
    ran = company.run(*words, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["complete"], ran.json["notes"]) == (True, [])
    export.write_text(person.format("ann") + team + "member: uid=gone,dc=acme\n", encoding="utf-8")
    ran = company.run(*words)
    assert ran.code == 1
    assert "group:engineers is incomplete: 1 of its members are not in the export" in ran.out
    ran = company.run("directory", "import", export, "--format", "ldif")
    assert (ran.code, ran.out) == (3, "")
    assert "say --identity FILE" in ran.err


def test_labels_that_may_widen_need_a_knowing_yes(company: Company) -> None:
    file = company.base / "labels.yaml"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["default"] = "Public"
    file.write_text(json.dumps(content), encoding="utf-8")
    ran = company.run("labels", "import", file)
    assert (ran.code, ran.out) == (3, "")
    assert "may widen access" in ran.err
    ran = company.run("labels", "import", file, "--accept-changes", "--json")
    assert ran.code == 0
    assert "the default label becomes 'Public'" in ran.json["accepted"]
    assert company.events("labels_import")[-1]["body"]["by"] == "user:operator"


def test_labels_are_listed_lowest_first(founded: Company) -> None:
    found = founded.run("labels", "list", "--json").json
    assert {x["name"]: x["id"] for x in found} == LABELS
    assert [x["priority"] for x in found] == [0, 1, 2, 3, 4]
    assert founded.run("labels", "list").out.splitlines()[0] == "priority\tname\tid"
    assert founded.run("labels", "list", "--tenant", "globex").code == 6


# ---- delegations


def test_a_chain_is_made_listed_used_and_ended(company: Company) -> None:
    first = company.delegation("--label", "Internal", "--source", "wiki", "--purpose", "qa")
    ran = company.run(
        "delegations", "create", "--agent", "agent:second", "--by", "agent:helper", "--parent", first,
        "--expires", "2999-01-01", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    second = ran.json["delegation"]
    listed = {x["delegation"]: x for x in company.run("delegations", "list", "--json").json}
    assert listed[first]["label"] == "Internal"
    assert listed[first]["sources"] == ["wiki"]
    assert listed[second]["parent"] == first
    assert listed[second]["ends"] == listed[first]["ends"] == ran.json["expires"]
    found = company.run("retrieve", "pump torque", "--delegation", second, "--json").json
    assert sorted(x["title"] for x in found["results"]) == ["colours", "manual"]
    assert company.run("delegations", "revoke", first, "--json").json == {"ended": 2}
    assert company.run("delegations", "list", "--json").json == []
    ran = company.run("retrieve", "pump torque", "--delegation", second)
    assert (ran.code, ran.err) == (5, "secure-rag: the caller may not speak for this subject\n")
    created = company.events("delegation_created")
    assert [x["event_id"] for x in created] == [first, second]
    assert company.events("delegation_revoked")[-1]["body"]["ended"] == 2


def test_text_of_delegations_is_the_id_alone(company: Company) -> None:
    ran = company.run(
        "delegations", "create", "--agent", "agent:helper", "--by", "app:chat", "--for", "user:ann"
    )
    assert ran.out.startswith("g_")
    assert ran.out.count("\n") == 1
    assert company.run("delegations", "revoke", ran.out.strip()).out == "1 ended\n"
    assert company.run("delegations", "revoke", ran.out.strip()).out == "0 ended\n"


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ([], 2, "give --for to begin a chain, or --parent"),
        (["--for", "user:ann", "--parent", "g_1"], 2, "give --for to begin a chain, or --parent"),
        (["--parent", "g_1"], 6, "no such delegation"),
        (["--for", "user:nobody"], 6, "user:nobody is not an active principal"),
        (["--for", "ann"], 2, "not a principal: 'ann'"),
        (["--for", "group:engineers"], 2, "group:engineers is not a person or service"),
        (["--for", "user:ann", "--expires", "2020-01-01"], 2, "a delegation must end in the future"),
        (["--for", "user:ann", "--expires", "tomorrow"], 2, "not an ISO 8601 date: 'tomorrow'"),
        (["--for", "user:ann", "--label", "Top"], 2, "unknown label 'Top': one of Confidential, General"),
        (["--for", "user:ann", "--source", "wikki"], 2, "unknown source 'wikki': one of wiki"),
        (["--for", "user:ann", "--compartment", "herron"], 2, "unknown compartment 'herron': one of heron"),
        (["--for", "user:ann", "--tenant", "globex"], 6, "there is no tenant 'globex'"),
    ],
)
def test_wrong_delegations_end_in_one_line(
    founded: Company, words: list[str], code: int, complaint: str
) -> None:
    ran = founded.run("delegations", "create", "--agent", "agent:helper", "--by", "app:chat", *words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith(f"secure-rag: {complaint}")
    assert ran.err.count("\n") == 1


def test_only_the_previous_hop_passes_on(company: Company) -> None:
    first = company.delegation()
    for by, agent in (
        ("app:chat", "agent:second"),
        ("agent:second", "agent:helper"),
        ("agent:helper", "app:chat"),
    ):
        ran = company.run("delegations", "create", "--agent", agent, "--by", by, "--parent", first)
        assert (ran.code, ran.out) == (2, "")
    assert company.run("delegations", "revoke", "g_nothing").code == 6


# ---- quarantine


def test_a_quarantined_document_is_shown_released_and_then_read(company: Company) -> None:
    document = company.quarantined()
    shown = company.run("quarantine", "show", document, "--json").json
    assert (shown["path"], shown["state"], shown["version"]) == ("wiki/planted.txt", "quarantined", 1)
    assert shown["findings"][0]["detector"] == "unicode_tags"
    assert shown["text"].startswith("Pump torque of a supplier.")
    assert company.events("quarantine_viewed")[-1]["body"] == {
        "by": "user:operator", "document": document, "version": 1, "read": True,
    }  # fmt: skip
    assert "planted" not in company.titles("user:ann")
    ran = company.run("quarantine", "release", document, "--version", "1", "--note", "asked the author")
    assert (ran.code, ran.out) == (0, f"Released {document}\n")
    assert "planted" in company.titles("user:ann")
    assert company.events("quarantine_released")[-1]["body"]["note"] == "asked the author"
    assert company.run("quarantine", "list", "--json").json == []


def test_the_text_of_a_live_document_is_not_shown_to_reviewers(company: Company) -> None:
    drive = company.ask("user:ann", "prototype drive", "-k", "1", "--json").json["results"][0]["document_id"]
    ran = company.run("quarantine", "show", drive)
    assert ran.code == 0
    assert "nine hundred" not in ran.out
    assert ran.out.endswith("Not in quarantine; its text is not shown.\n")
    assert company.run("quarantine", "show", drive, "--json").json["text"] is None
    assert company.events("quarantine_viewed")[-1]["body"]["read"] is False


def test_only_the_reviewed_version_is_released_by_somebody_else_with_a_reason(company: Company) -> None:
    document = company.quarantined()
    for version, note, code in (("2", "fine", 2), ("1", " ", 2), ("x", "fine", 2)):
        ran = company.run("quarantine", "release", document, "--version", version, "--note", note)
        assert (ran.code, ran.out) == (code, "")
    assert company.run("quarantine", "release", document, "--version", "1").code == 2
    assert company.run("quarantine", "show", "d_nothing").code == 6
    assert company.run("quarantine", "release", "d_nothing", "--version", "1", "--note", "x").code == 6
    assert company.quarantined() == document


def test_a_contributor_cannot_release_what_is_theirs(company: Company) -> None:
    import sqlite3

    from secure_rag_api.operators import os_user

    document = company.quarantined()
    with sqlite3.connect(company.home / "control.db") as connection:
        connection.execute("UPDATE document SET contributor = 'user:gil' WHERE public_id = ?", (document,))
    connection.close()
    set_operators(company.home, {os_user(): "user:gil"})
    ran = company.run("quarantine", "release", document, "--version", "1", "--note", "mine")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err == "secure-rag: a contributor cannot release their own document\n"


# ---- nothing without a trace


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "delegation_created",
            ["delegations", "create", "--agent", "agent:helper", "--by", "app:chat", "--for", "user:ann"],
        ),
        ("delegation_revoked", ["delegations", "revoke", "{delegation}"]),
        ("quarantine_released", ["quarantine", "release", "{document}", "--version", "1", "--note", "ok"]),
        ("quarantine_viewed", ["quarantine", "show", "{document}"]),
        ("acted_as", ["retrieve", "pump torque", "--as", "user:ann", "--app", "app:chat"]),
        ("development_token", ["token", "--as", "user:ann", "--app", "app:chat"]),
        ("directory_import_started", ["directory", "import", "{directory}"]),
        ("labels_import_started", ["labels", "import", "{labels}", "--accept-changes"]),
        ("backup", ["backup", "{backup}"]),
    ],
)
def test_what_cannot_be_recorded_does_not_happen(
    company: Company, monkeypatch: pytest.MonkeyPatch, kind: str, words: list[str]
) -> None:
    delegation, document = company.delegation(), company.quarantined()
    company.write_directory(engineers=())
    labels = company.base / "labels.yaml"
    content = json.loads(labels.read_text(encoding="utf-8"))
    labels.write_text(json.dumps({**content, "compartments": ["heron", "new"]}), encoding="utf-8")
    backup = company.base / "backup"
    before = state(company)
    record = AuditLog.record

    def refuse(self: AuditLog, tenant: str, what: str, event_id: str, body: dict[str, object]) -> None:
        if what == kind:
            raise UnavailableError("the event was not made durable")
        record(self, tenant, what, event_id, body)

    monkeypatch.setattr(AuditLog, "record", refuse)
    given = [
        x.format(
            delegation=delegation,
            document=document,
            directory=company.directory,
            labels=labels,
            backup=backup,
        )
        for x in words
    ]
    ran = company.run(*given)
    monkeypatch.undo()
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "secure-rag: the event was not made durable\n"
    assert state(company) == before
    assert not backup.exists()


def state(company: Company) -> tuple[object, ...]:
    """What the commands above would change."""
    return (
        company.run("delegations", "list", "--json").json,
        company.run("quarantine", "list", "--json").json,
        company.titles("user:ann"),
        company.run("labels", "list", "--json").json,
        sorted(x.name for x in Path(company.base).iterdir()),
    )
