"""`acl plan|approve|apply|history|diff|revert` through the command line: from a proposal to its effect and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_rag_api.operators import os_user
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
    assert '+     "user:ben"' in changed.out
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
