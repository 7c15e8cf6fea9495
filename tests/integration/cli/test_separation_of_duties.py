"""Who may do what through the command line: roles decide, refusals are on record, and nobody approves her own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_rag_api.operators import os_user
from tests.controls import control
from tests.integration.cli.company import Company, Ran, found, set_operators

NOT_PERMITTED = 5
PEOPLE = {
    "user:olive": ("data_owner", "wiki"),
    "user:oscar": ("data_owner", "other"),
    "user:audrey": ("auditor", None),
    "user:ivan": ("ingestion_engineer", None),
    "user:rita": ("agent_registrar", None),
    "user:sam": ("security_officer", None),
    "user:nemo": (None, None),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, _module_commands: None) -> Company:
    return with_roles(found(Company(tmp_path_factory.mktemp("duties") / "acme")))


@pytest.fixture(scope="module")
def _module_commands() -> Any:
    from tests.integration.cli.conftest import _as_commands

    with _as_commands():
        yield


@pytest.fixture
def company(made: Company, tmp_path: Path) -> Company:
    """A copy; the files of its source are shared, and nothing here changes them."""
    return made.copy(tmp_path / "acme")


def with_roles(company: Company) -> Company:
    content = json.loads(company.directory.read_text(encoding="utf-8"))
    content["users"] += [
        {"id": who, "kind": "member", "clearance": "Confidential"} for who in (*PEOPLE, "user:both")
    ]
    company.directory.write_text(json.dumps(content), encoding="utf-8")
    assert company.run("directory", "import", company.directory).code == 0
    second = company.base / "second"
    second.mkdir()
    manifest = json.loads(company.manifest.read_text(encoding="utf-8"))
    (company.base / "elsewhere").mkdir()
    manifest |= {"id": "other", "root": str(company.base / "elsewhere")}
    (second / "source.yaml").write_text(json.dumps(manifest), encoding="utf-8")
    (second / "mapping.yaml").write_text(json.dumps({"source": "other", "rules": []}), encoding="utf-8")
    assert company.run("ingest", "run", second / "source.yaml").code == 0
    roles = [
        {"principal": who, "role": role} | ({} if source is None else {"source": source})
        for who, (role, source) in PEOPLE.items()
        if role is not None
    ]
    roles += [{"principal": "user:both", "role": "auditor"}]
    roles += [{"principal": "user:both", "role": "data_owner", "source": "wiki"}]
    roles += [{"principal": "user:both", "role": "security_officer"}]
    file = company.base / "roles.yaml"
    file.write_text(json.dumps({"tenant": "acme", "roles": roles}), encoding="utf-8")
    ran = company.run("roles", "import", "-f", file)
    assert ran.code == 0, ran.err
    return company


def as_(company: Company, who: str) -> Company:
    set_operators(company.home, {os_user(): who})
    return company


def proposal(company: Company) -> Path:
    mapping = json.loads((company.manifest.parent / "mapping.yaml").read_text(encoding="utf-8"))
    mapping["rules"][1]["allow"] = ["Engineers", "user:ben"]
    mapping["rules"][1]["label"] = "Internal"
    file = company.base / "proposal.yaml"
    file.write_text(json.dumps(mapping), encoding="utf-8")
    return file


def plan(company: Company, who: str = "user:olive") -> str:
    ran = as_(company, who).run("acl", "plan", "-f", proposal(company), "--json")
    assert ran.code == 1, ran.err
    return str(ran.json["plan"])


def labels_plan(company: Company, who: str = "user:sam") -> str:
    content = json.loads((company.base / "labels.yaml").read_text(encoding="utf-8"))
    content["external_mix_threshold"] = "Restricted"
    file = company.base / "labels-proposal.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    ran = as_(company, who).run("acl", "plan", "--labels", "-f", file, "--json")
    assert ran.code == 1, ran.err
    return str(ran.json["plan"])


def quarantined(company: Company) -> str:
    return str(as_(company, "user:sam").run("quarantine", "list", "--json").json[0]["document"])


def a_run(company: Company) -> str:
    return str(as_(company, "user:sam").run("runs", "list", "--json").json[0]["run"])


Act = Callable[[Company, str], Ran]


def words(*fixed: str) -> Act:
    return lambda company, who: as_(company, who).run(*fixed)


def on(make: Callable[[Company], str], *before: str) -> Act:
    """The same thing for everybody, made once."""
    made: dict[Path, str] = {}

    def act(company: Company, who: str) -> Ran:
        if company.base not in made:
            made[company.base] = make(company)
        return as_(company, who).run(*before, made[company.base])

    return act


def planned(company: Company, who: str) -> Ran:
    return as_(company, who).run("acl", "plan", "-f", proposal(company))


def labels_planned(company: Company, who: str) -> Ran:
    file = company.base / "labels.yaml"
    return as_(company, who).run("acl", "plan", "--labels", "-f", file)


OWNER, OTHER, AUDITOR, ENGINEER, REGISTRAR, OFFICER, NOBODY = PEOPLE
DELEGATION = ("delegations", "create", "--agent", "agent:helper", "--by", "app:chat", "--for", "user:ann")
RELEASE = ("quarantine", "release", "--version", "1", "--note", "harmless")
# Decided by hand: who may, apart from the author; everybody else is refused.
TABLE: tuple[tuple[str, Act, set[str]], ...] = (
    ("plan a mapping", planned, {OWNER}),
    ("apply a mapping", on(plan, "acl", "apply"), {OWNER}),
    ("approve a mapping", on(plan, "acl", "approve"), {OFFICER}),
    ("revert a mapping", words("acl", "revert", "v1", "--source", "wiki"), {OWNER}),
    ("plan labels", labels_planned, {OFFICER}),
    ("approve labels", on(labels_plan, "acl", "approve"), set()),
    ("import labels", lambda c, who: as_(c, who).run("labels", "import", c.base / "labels.yaml"), {OFFICER}),
    ("read history", words("acl", "history", "--source", "wiki"), {OWNER, AUDITOR, OFFICER}),
    ("read a diff", words("acl", "diff", "v1..v2", "--source", "wiki"), {OWNER, AUDITOR, OFFICER}),
    ("show a plan", on(plan, "acl", "show"), {OWNER, AUDITOR, OFFICER}),
    ("lint", words("acl", "lint", "--source", "wiki"), {OWNER, AUDITOR, OFFICER}),
    ("test", words("acl", "test"), {AUDITOR, OFFICER}),
    ("run an ingest", lambda c, who: as_(c, who).run("ingest", "run", "--json"), {ENGINEER}),
    ("read runs of the other source", on(a_run, "runs", "show"), {OTHER, AUDITOR, ENGINEER, OFFICER}),
    ("import a directory", lambda c, who: as_(c, who).run("directory", "import", c.directory), {REGISTRAR}),
    ("import roles", lambda c, who: as_(c, who).run("roles", "import", "-f", c.base / "roles.yaml"), {OFFICER}),
    ("list roles", words("roles", "list"), {AUDITOR, OFFICER}),
    ("make a delegation", words(*DELEGATION), {REGISTRAR}),
    ("list delegations", words("delegations", "list"), {REGISTRAR}),
    ("end a delegation", words("delegations", "revoke", "g_1"), {REGISTRAR}),
    ("look at quarantine", on(quarantined, "quarantine", "show"), {OWNER, OFFICER}),
    ("release from quarantine", on(quarantined, *RELEASE), {OWNER, OFFICER}),
    ("read the audit log", words("audit", "tail"), {AUDITOR, OFFICER}),
    ("verify the audit log", words("audit", "verify"), {AUDITOR, OFFICER}),
    ("act as somebody", words("retrieve", "pump", "--as", "user:ann", "--app", "app:chat"), {AUDITOR, OFFICER}),
)  # fmt: skip


@control("ops:roles", "ops:separation-of-duties")
@pytest.mark.parametrize(("what", "act", "may"), TABLE, ids=[x[0].replace(" ", "-") for x in TABLE])
def test_roles_decide_through_the_command_line(company: Company, what: str, act: Act, may: set[str]) -> None:
    able = {who for who in PEOPLE if act(company, who).code != NOT_PERMITTED}
    assert able == may, what


@control("ops:separation-of-duties")
def test_an_auditor_never_edits_whatever_else_she_is(company: Company) -> None:
    made = plan(company)
    as_(company, "user:both")
    for edit in (
        ("acl", "plan", "-f", str(proposal(company))),
        ("acl", "approve", made),
        ("acl", "apply", made),
        ("labels", "import", str(company.base / "labels.yaml")),
        ("acl", "plan", "--labels", "-f", str(company.base / "labels.yaml")),
        ("ingest", "run"),
        ("directory", "import", str(company.directory)),
        ("roles", "import", "-f", str(company.base / "roles.yaml")),
    ):
        assert company.run(*edit).code == NOT_PERMITTED, edit
    assert company.run("audit", "tail").code == 0


@control("ops:separation-of-duties")
def test_nobody_approves_her_own(company: Company) -> None:
    made = plan(company)
    assert as_(company, OWNER).run("acl", "approve", made).code == NOT_PERMITTED
    of_labels = labels_plan(company)
    assert as_(company, OFFICER).run("acl", "approve", of_labels).code == NOT_PERMITTED
    assert as_(company, OFFICER).run("acl", "apply", of_labels).code == NOT_PERMITTED


@control("ops:roles")
def test_a_refused_act_is_on_record(company: Company) -> None:
    assert as_(company, NOBODY).run("acl", "plan", "-f", proposal(company)).code == NOT_PERMITTED
    refused = as_(company, AUDITOR).events("not_permitted")[-1]
    assert refused["tenant"] == "acme"
    assert refused["body"] == {"by": NOBODY, "action": "mapping.plan", "source": "wiki"}


@control("ops:roles")
def test_who_may_not_plan_learns_nothing_from_errors(company: Company) -> None:
    file = company.base / "broken.yaml"
    file.write_text("source: [", encoding="utf-8")
    ran = as_(company, NOBODY).run("acl", "plan", "-f", file, "--source", "wiki")
    assert ran.code == NOT_PERMITTED


@control("ops:roles")
def test_acting_as_oneself_needs_no_role(company: Company) -> None:
    ran = as_(company, NOBODY).run("retrieve", "pump", "--as", NOBODY, "--app", "app:chat")
    assert ran.code == 0, ran.err
