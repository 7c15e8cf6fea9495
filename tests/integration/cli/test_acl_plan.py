"""`acl plan|approve|apply|history|diff|revert` through the command line: from a proposal to its effect and back."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from secure_rag.audit.log import AuditLog
from secure_rag.errors import UnavailableError
from secure_rag_api.ingesting import locked_source
from secure_rag_api.operators import os_user
from secure_rag_api.wiring import open_installation
from tests.controls import control
from tests.integration.cli.company import Company, Ran, found, set_operators


@pytest.fixture
def company(tmp_path: Path) -> Company:
    """Made for each test: a copy would share the files of its sources."""
    return found(Company(tmp_path / "acme"))


def as_(company: Company, who: str) -> None:
    """From here on this OS user acts as somebody else."""
    set_operators(company.home, {os_user(): who})


def mapping(company: Company) -> Path:
    return company.manifest.parent / "mapping.yaml"


def proposed(company: Company, change: Any) -> Path:
    content = json.loads(mapping(company).read_text(encoding="utf-8"))
    change(content["rules"])
    file = company.base / "proposal.yaml"
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return file


def open_drive(rules: list[dict[str, Any]]) -> None:
    rules[1]["allow"] = ["Engineers", "user:ben"]
    rules[1]["label"] = "Internal"


def plan(company: Company, file: Path, *words: str) -> Ran:
    return company.run("acl", "plan", "-f", file, *words, "--json")


def applied(company: Company, file: Path) -> Ran:
    made = plan(company, file)
    assert made.code in (0, 1), made.err
    if made.json["needs_approval"]:
        as_(company, "user:second")
        assert company.run("acl", "approve", made.json["plan"]).code == 0
        as_(company, "user:operator")
    ran = company.run("acl", "apply", made.json["plan"], "--json")
    assert ran.code == 0, ran.err
    return ran


def test_a_plan_says_who_gains_and_changes_nothing(company: Company) -> None:
    made = plan(company, proposed(company, open_drive))
    assert made.code == 1
    report = made.json["report"]
    gains = {x["principal"]: x["gains"] for x in report["people"] if x["gains"]["documents"]}
    assert gains == {"user:ben": {"documents": 1, "samples": ["wiki/secret/drive.txt"]}}
    assert report["labels"] == [{"label": "Internal", "gains": {"documents": 1, "people": 1}}]
    assert report["sources"] == [{"source": "wiki", "gains": {"documents": 1, "people": 1}}]
    assert made.json["needs_approval"] == []
    assert report["unresolved"][0]["effect"] == "deny"
    assert company.titles("user:ben") == ["colours", "manual"]


def test_apply_takes_effect_at_once_and_revert_goes_back(company: Company) -> None:
    done = applied(company, proposed(company, open_drive))
    assert (done.json["version"], done.json["withheld"]) == (2, 0)
    assert company.titles("user:ben") == ["colours", "drive", "manual"]
    versions = company.run("acl", "history", "--source", "wiki", "--json").json
    assert [(x["scope"], x["version"]) for x in versions] == [
        ("mapping:wiki", 2), ("source:wiki", 1), ("mapping:wiki", 1),
    ]  # fmt: skip
    assert versions[0]["plan"] == done.json["plan"]
    changed = company.run("acl", "diff", "v1..v2", "--source", "wiki")
    assert '+    "user:ben"' in changed.out
    back = company.run("acl", "revert", "v1", "--source", "wiki", "--json")
    assert back.code == 0
    assert company.run("acl", "apply", back.json["plan"]).code == 0
    assert company.titles("user:ben") == ["colours", "manual"]
    event = company.events("access_plan_applied")[-1]["body"]
    assert (event["by"], event["scope"], event["version"]) == ("user:operator", "mapping:wiki", 3)


def test_a_file_on_disk_is_only_a_proposal_once_a_plan_was_applied(company: Company) -> None:
    applied(company, mapping(company))
    content = json.loads(mapping(company).read_text(encoding="utf-8"))
    open_drive(content["rules"])
    mapping(company).write_text(json.dumps(content), encoding="utf-8")
    ran = company.run("ingest", "run", "--json")
    assert "differs from its applied version 1" in ran.lines[-1]["run"]["detail"]
    assert company.titles("user:ben") == ["colours", "manual"]
    assert "differs from its applied version 1" in company.run("doctor").out
    assert "differs from its applied version 1" in company.run("runs", "list").out


def test_before_that_the_file_is_used(company: Company) -> None:
    content = json.loads(mapping(company).read_text(encoding="utf-8"))
    open_drive(content["rules"])
    mapping(company).write_text(json.dumps(content), encoding="utf-8")
    company.run("ingest", "run")
    assert company.titles("user:ben") == ["colours", "drive", "manual"]


@pytest.mark.parametrize("again", [False, True])
def test_a_plan_is_applied_once(company: Company, again: bool) -> None:
    made = plan(company, proposed(company, open_drive)).json["plan"]
    other = plan(company, proposed(company, lambda rules: rules.pop())).json["plan"]
    assert company.run("acl", "apply", made).code == 0
    ran = company.run("acl", "apply", made if again else other)
    assert ran.code == 3
    assert ("was applied already" if again else "is not in force any more") in ran.err


def test_a_run_after_an_applied_plan_finds_nothing_to_do(company: Company) -> None:
    applied(company, proposed(company, open_drive))
    ran = company.run("ingest", "run", "--json")
    outcomes = ran.lines[-1]["run"]["outcomes"]
    assert set(outcomes) <= {"unchanged", "failed"}
    assert company.titles("user:ben") == ["colours", "drive", "manual"]


# ---- what stops a plan


@control("acl:plan-guarded")
def test_a_plan_that_cannot_be_recorded_changes_nothing(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(company, proposed(company, open_drive)).json["plan"]
    real = AuditLog.record

    def failing(self: AuditLog, tenant: str, kind: str, *rest: Any) -> None:
        if kind == "access_plan_applied":
            raise UnavailableError("the audit log is full")
        real(self, tenant, kind, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(AuditLog, "record", failing)
        assert company.run("acl", "apply", made).code == 4
    assert company.titles("user:ben") == ["colours", "manual"]
    assert company.run("acl", "history", "--json").json == []
    assert company.run("acl", "apply", made).code == 0


@control("acl:plan-guarded")
def test_no_plan_is_applied_while_its_source_runs(company: Company) -> None:
    made = plan(company, proposed(company, open_drive)).json["plan"]
    with open_installation(company.home) as opened, locked_source(opened, "acme", "wiki"):
        ran = company.run("acl", "apply", made)
    assert (ran.code, "another run of source 'wiki' is going on" in ran.err) == (4, True)
    assert company.titles("user:ben") == ["colours", "manual"]


@control("acl:plan-guarded")
def test_somebody_who_joined_since_stops_a_plan(company: Company) -> None:
    def widen(rules: list[dict[str, Any]]) -> None:
        rules[1]["label"] = "Internal"

    made = plan(company, proposed(company, widen)).json
    assert made["report"]["people"] == []
    company.write_directory(engineers=("user:ann", "user:ben"))
    company.run("directory", "import", company.directory)
    ran = company.run("acl", "apply", made["plan"])
    assert (ran.code, "user:ben would gain 1" in ran.err) == (3, True)


@control("acl:plan-guarded")
def test_what_reaches_the_mixing_threshold_needs_somebody_else(company: Company) -> None:
    company.write_directory(engineers=("user:ben", "user:ann"))
    content = json.loads(company.directory.read_text(encoding="utf-8"))
    content["users"][1]["clearance"] = "Confidential"
    content["groups"][0]["members"] = ["user:ann"]
    company.directory.write_text(json.dumps(content), encoding="utf-8")
    assert company.run("directory", "import", company.directory).code == 0

    def open_to_ben(rules: list[dict[str, Any]]) -> None:
        rules[1]["allow"] = ["Engineers", "user:ben"]

    made = plan(company, proposed(company, open_to_ben)).json
    assert made["needs_approval"] == ["documents labelled Confidential are gained, at or above Confidential"]
    ran = company.run("acl", "apply", made["plan"])
    assert (ran.code, "needs the approval of somebody else" in ran.err) == (5, True)
    own = company.run("acl", "approve", made["plan"])
    assert (own.code, "and not the author" in own.err) == (5, True)
    as_(company, "user:second")
    assert company.run("acl", "approve", made["plan"], "--digest", "0" * 16).code == 2
    assert company.run("acl", "approve", made["plan"], "--digest", made["digest"][:16]).code == 0
    as_(company, "user:operator")
    done = company.run("acl", "apply", made["plan"], "--json")
    assert done.json["approver"] == "user:second"
    assert company.titles("user:ben") == ["colours", "drive", "manual"]
    refused = company.events("not_permitted")[-1]["body"]
    assert (refused["by"], refused["action"], refused["source"]) == (
        "user:operator",
        "mapping.approve",
        "wiki",
    )


@control("acl:plan-guarded")
def test_a_gain_that_came_up_since_stops_everything(company: Company) -> None:
    made = plan(company, proposed(company, open_drive)).json["plan"]
    (company.documents / "secret" / "more.txt").write_text("Pump torque of another drive.", encoding="utf-8")
    company.run("ingest", "run")
    ran = company.run("acl", "apply", made)
    assert ran.code == 3
    assert "does not have these gains, so nothing was changed" in ran.err
    assert "wiki/secret/more.txt" in ran.err
    assert company.titles("user:ben") == ["colours", "manual"]
    assert company.run("acl", "history", "--json").json == []


@control("acl:plan-guarded")
def test_a_plan_expires(company: Company) -> None:
    made = plan(company, proposed(company, open_drive)).json["plan"]
    with sqlite3.connect(company.home / "control.db") as database:
        database.execute("UPDATE access_plan SET expires_at = 1")
    ran = company.run("acl", "apply", made)
    # Whoever changes a stored plan changes what its digest covers.
    assert (ran.code, "is damaged" in ran.err) == (3, True)
    assert company.titles("user:ben") == ["colours", "manual"]


@control("acl:plan-guarded")
def test_changed_content_is_withheld_rather_than_opened(company: Company) -> None:
    (company.documents / "secret" / "drive.txt").write_text(
        "Pump torque: nothing secret any more.", encoding="utf-8"
    )
    made = plan(company, proposed(company, open_drive)).json
    assert made["report"]["withheld"][0]["samples"] == ["wiki/secret/drive.txt"]
    assert company.run("acl", "apply", made["plan"]).code == 0
    assert company.titles("user:ben") == ["colours", "manual"]
    assert company.titles("user:ann") == ["colours", "manual"]
    company.run("ingest", "run")
    assert company.titles("user:ben") == ["colours", "drive", "manual"]


# ---- labels and manifests


def labels(company: Company, change: Any) -> Path:
    content = json.loads((company.base / "labels.yaml").read_text(encoding="utf-8"))
    change(content)
    file = company.base / "labels-proposal.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def lower_confidential(content: dict[str, Any]) -> None:
    order = {x["name"]: x for x in content["labels"]}
    order["Confidential"]["priority"], order["Internal"]["priority"] = 2, 3


@control("acl:change-control", "acl:labels-guarded")
def test_another_order_of_labels_is_a_plan_with_gains(company: Company) -> None:
    company.write_directory(engineers=("user:ann", "user:ben"))
    company.run("directory", "import", company.directory)
    file = labels(company, lower_confidential)
    ran = company.run("labels", "import", file, "--accept-changes")
    assert (ran.code, "it needs a plan" in ran.err) == (3, True)
    made = plan(company, file, "--labels")
    assert made.code == 1
    people = {x["principal"]: x["gains"]["documents"] for x in made.json["report"]["people"]}
    assert people["user:ben"] == 1
    as_(company, "user:second")
    assert company.run("acl", "approve", made.json["plan"]).code == 0
    as_(company, "user:operator")
    ran = company.run("acl", "apply", made.json["plan"])
    assert ran.code == 0, ran.err
    # The application passes on up to Confidential, which Internal is above now.
    assert company.titles("user:ben") == ["drive"]
    # Now the tenant is under change control: whatever may widen is a plan.
    ran = company.run(
        "labels", "import", labels(company, lambda x: x.update(default="Public")), "--accept-changes"
    )
    assert (ran.code, "it needs a plan" in ran.err) == (3, True)


@control("acl:change-control")
def test_trust_is_a_matter_for_a_plan_under_change_control(company: Company) -> None:
    applied(company, mapping(company))
    content = json.loads(company.manifest.read_text(encoding="utf-8"))
    company.manifest.write_text(json.dumps(content | {"trust": "verified"}), encoding="utf-8")
    ran = company.run("ingest", "run", "--json")
    assert "the manifest says something else" in ran.lines[-1]["run"]["detail"]
    made = plan(company, company.manifest)
    assert made.json["needs_approval"] == ["trust is raised from internal to verified"]
    as_(company, "user:second")
    company.run("acl", "approve", made.json["plan"])
    as_(company, "user:operator")
    assert company.run("acl", "apply", made.json["plan"]).code == 0
    company.run("ingest", "run")
    results = company.ask("user:ann", "pump torque", "--json").json["results"]
    assert {x["trust"] for x in results} == {"verified"}
    assert company.run("acl", "diff", "v1..v2", "--source", "wiki", "--manifest").code == 0


@control("acl:change-control")
def test_a_source_can_ask_for_change_control_from_the_start(company: Company) -> None:
    content = json.loads(company.manifest.read_text(encoding="utf-8"))
    company.manifest.write_text(json.dumps(content | {"change_control": True}), encoding="utf-8")
    company.run("ingest", "run")
    rules = json.loads(mapping(company).read_text(encoding="utf-8"))
    open_drive(rules["rules"])
    mapping(company).write_text(json.dumps(rules), encoding="utf-8")
    company.run("ingest", "run")
    assert company.titles("user:ben") == ["colours", "manual"]
    found = company.run("acl", "history", "--source", "wiki", "--json").json
    assert {(x["scope"], x["version"]) for x in found} == {("mapping:wiki", 1), ("source:wiki", 1)}


# ---- access tests and lint


def written_tests(company: Company, *tests: dict[str, Any]) -> Path:
    file = company.base / "access_tests.yaml"
    file.write_text(json.dumps({"tenant": "acme", "tests": list(tests)}), encoding="utf-8")
    return file


SECRET = {
    "id": "ben-no-secrets",
    "as": "user:ben",
    "app": "app:chat",
    "document": "wiki/secret/**",
    "must_not_see": True,
}
MANUAL = {
    "id": "ben-reads-the-manual", "as": "user:ben", "agent": "agent:helper", "app": "app:chat",
    "query": "pump torque", "must_see": ["wiki/manual.txt"], "must_not_see": ["wiki/secret/**"],
}  # fmt: skip


@control("acl:access-tests")
def test_stored_access_tests_stop_a_plan(company: Company) -> None:
    file = written_tests(company, SECRET, MANUAL)
    ran = company.run("acl", "test", "-f", file, "--store", "--json")
    assert (ran.code, ran.json["run"], ran.json["failures"]) == (0, 2, []), ran.out + ran.err
    made = plan(company, proposed(company, open_drive)).json["plan"]
    ran = company.run("acl", "apply", made)
    assert ran.code == 3
    assert "access tests would fail, so nothing was changed: ben-no-secrets" in ran.err
    assert company.titles("user:ben") == ["colours", "manual"]
    assert company.run("acl", "test").code == 0


@control("acl:access-tests")
def test_a_rule_that_no_test_misses_is_named(company: Company) -> None:
    ran = company.run("acl", "test", "-f", written_tests(company, SECRET, MANUAL), "--mutate", "--json")
    assert ran.code == 1
    survivors = {(x["rule"], x["why"]) for x in ran.json["mutation"]["survivors"]}
    assert survivors == {
        (3, "no test names a document that it decides about"),
        (4, "no test names a document that it decides about"),
    }


@control("acl:access-tests")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"must_not_see": None, "must_see": True}, "user:ben must see it and may not (label)"),
        ({"as": "user:nobody"}, "the directory does not have user:nobody as active"),
        (
            {"document": "wiki/nowhere.txt", "must_not_see": None, "must_see": True},
            "must be seen, and is no document",
        ),
        ({"document": "wiki/manual.txt"}, "user:ben must not see it and may"),
    ],
)
def test_access_tests_that_do_not_hold(company: Company, change: dict[str, Any], why: str) -> None:
    test = {k: v for k, v in {**SECRET, **change}.items() if v is not None}
    ran = company.run("acl", "test", "-f", written_tests(company, test), "--json")
    assert ran.code == 1
    assert [x["why"] for x in ran.json["failures"]] == [why]


def test_lint_finds_what_is_probably_not_meant(company: Company) -> None:
    (company.documents / "manual.txt").write_text(
        "Pump torque: forty.\n\nCONFIDENTIAL\n\nTighten.", encoding="utf-8"
    )
    rules = json.loads(mapping(company).read_text(encoding="utf-8"))
    rules["rules"][1]["allow"] = [
        "Engineers",
        "group:ghosts",
        "user:gone",
        {"principal": "user:ben", "expires": "2020-01-01"},
    ]
    rules["rules"][1]["deny"] = ["user:gil"]
    rules["rules"].insert(0, {"path": "secret/old/**", "allow": ["everyone"], "label": "Internal"})
    mapping(company).write_text(json.dumps(rules), encoding="utf-8")
    content = json.loads(company.directory.read_text(encoding="utf-8"))
    content["groups"].append({"id": "group:ghosts", "members": []})
    company.directory.write_text(json.dumps(content), encoding="utf-8")
    company.run("directory", "import", company.directory)
    company.run("ingest", "run")
    ran = company.run("acl", "lint", "--json")
    assert ran.code == 1
    found = {(x["check"], x["what"].partition(" at ")[0]) for x in ran.json["findings"]}
    assert found >= {
        ("empty_group", "group:ghosts"),
        ("orphan_principal", "user:gone is unknown"),
        ("dormant_grant", "the entry of user:ben has ended"),
        ("idle_deny", "user:gil"),
        ("everyone_on_label", "Restricted"),
        ("label_below_marking", "Confidential, labelled Internal"),
        ("unreachable_rule", "rule 1 (secret/old/**)"),
    }
    assert all(x["hint"] for x in ran.json["findings"])
    assert "label_below_marking: wiki: Confidential" in company.run("acl", "lint").out
