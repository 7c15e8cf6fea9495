"""`acl unresolved` and `acl parity`: what is listed, what is suggested, and what a confirmation writes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.home import Home
from secure_rag_api import mapping_names
from secure_rag_api.operators import os_user
from tests.controls import control
from tests.integration.cli.company import Company, Ran, set_operators

ANN, TEAM, NOBODY = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1201", "S-1-5-21-9-9-9-9"
OBJECT = "0a000000-0000-4000-8000-000000000001"
MAPPING = """\
# who is who on the share
source: share
principals:
  - {native: "sid:S-1-1-0", principal: everyone}   # the whole firm
# rules only add
rules: []
"""


def give_roles(home: Path, assigned: list[tuple[str, str, str | None]]) -> None:
    """Assign roles by plain rows: principal, role, source."""
    engine = open_engine(Home(home).control)
    with write(engine) as connection:
        tenant = connection.execute(sa.select(t.tenant.c.id)).scalar_one()
        for who, role, source in assigned:
            person = sa.select(t.principal.c.id).where(t.principal.c.name == who)
            values = {
                "tenant_id": tenant,
                "principal_id": connection.execute(person).scalar_one(),
                "role": role,
                "source_id": connection.execute(
                    sa.select(t.source.c.id).where(t.source.c.name == source)
                ).scalar(),
                "valid_from": 0,
            }
            connection.execute(sa.insert(t.role_assignment).values(**values))
    engine.dispose()


class Share:
    """A source with an NTFS export, in a company of its own."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.folder = company.base / "share"
        self.mapping = self.folder / "mapping.yaml"
        self.export = self.folder / "export.json"
        documents = company.base / "share documents"
        documents.mkdir()
        self.folder.mkdir()
        for name in ("pump.txt", "valve.txt", "seal.txt"):
            path = documents / name
            path.write_text(f"About the {name} torque.", encoding="utf-8")
            # Before the export.
            os.utime(path, (1_500_000_000, 1_500_000_000))
        manifest = {
            "id": "share",
            "tenant": "acme",
            "kind": "filesystem",
            "root": str(documents),
            "mapping": "mapping.yaml",
            "trust": "internal",
            "default_label": "Internal",
            "max_acl_age": "9999d",
            "permissions": {"format": "ntfs", "file": "export.json"},
        }
        (self.folder / "source.yaml").write_text(json.dumps(manifest), encoding="utf-8")
        self.mapping.write_text(MAPPING, encoding="utf-8")
        self.dump(
            pump=f"(D;;FA;;;{TEAM})(A;;0x1200a9;;;WD)",
            valve=f"(D;;FA;;;{NOBODY})(A;;0x1200a9;;;{ANN})",
            seal=f"(A;;0x1200a9;;;{ANN})(A;;0x1200a9;;;AU)",
        )
        self.people()
        self.ingest()

    def dump(self, **items: str) -> None:
        content = {
            "exported_at": "2026-03-01T06:00:00Z",
            "share": {"name": "share", "sddl": "O:SYG:SYD:(A;;0x1200a9;;;WD)"},
            "items": [{"path": f"{name}.txt", "sddl": f"O:BAG:DUD:{sddl}"} for name, sddl in items.items()],
        }
        self.export.write_text(json.dumps(content), encoding="utf-8")

    def people(self) -> None:
        path = self.company.write_directory()
        content = json.loads(path.read_text(encoding="utf-8"))
        content["users"][0] |= {"sid": ANN, "object_id": OBJECT, "mail": "ann@acme.example"}
        content["groups"][0] |= {"sid": TEAM}
        path.write_text(json.dumps(content), encoding="utf-8")
        assert self.company.run("directory", "import", path).code in (0, 1)

    def ingest(self) -> Ran:
        return self.company.run("ingest", "run", self.folder / "source.yaml", "--json")

    def names(self, *words: str) -> dict[str, dict[str, Any]]:
        ran = self.company.run("acl", "unresolved", "--source", "share", "--json", *words)
        assert ran.code in (0, 1), ran.err
        (found,) = ran.json["sources"]
        return {f"{x['effect']} {x['name']}": x for x in found["names"]}


@pytest.fixture
def share(company: Company) -> Share:
    return Share(company)


def test_denies_come_first_with_counts_and_samples(share: Share) -> None:
    found = share.names()
    assert list(found) == [f"deny sid:{TEAM}", f"deny sid:{NOBODY}", f"allow sid:{ANN}", "allow sid:S-1-5-11"]
    assert found[f"allow sid:{ANN}"] == {
        "effect": "allow",
        "name": f"sid:{ANN}",
        "why": "unmapped",
        "documents": 2,
        "samples": ["seal.txt", "valve.txt"],
        "candidates": [],
        "display": None,
        "suggestion": None,
    }
    ran = share.company.run("acl", "unresolved", "--source", "share")
    assert ran.code == 1
    head, first, *_ = ran.out.splitlines()
    assert head == "source\teffect\tname\twhy\tdocuments\texamples\tsuggestion"
    assert first == f"share\tdeny\tsid:{TEAM}\tunmapped\t1\tpump.txt\t"


def test_every_source_without_a_name_of_one(share: Share) -> None:
    ran = share.company.run("acl", "unresolved", "--json")
    assert ran.code == 1
    assert {x["source"]: len(x["names"]) for x in ran.json["sources"]} == {"share": 4, "wiki": 2}


def test_suggestions_are_whom_the_directory_has_and_never_for_everyone_like_names(share: Share) -> None:
    found = share.names("--suggest")
    assert found[f"allow sid:{ANN}"]["suggestion"] == {"principal": "user:ann", "by": "sid", "merge": False}
    assert found[f"deny sid:{TEAM}"]["suggestion"]["principal"] == "group:engineers"
    assert found[f"deny sid:{NOBODY}"]["suggestion"] is None
    assert found["allow sid:S-1-5-11"]["suggestion"] is None
    ran = share.company.run("acl", "unresolved", "--source", "share", "--suggest")
    assert f"allow\tsid:{ANN}\tunmapped\t2\tseal.txt, valve.txt\tuser:ann (by sid)" in ran.out


def test_confirming_all_suggestions_keeps_the_file_and_takes_effect_with_the_next_run(share: Share) -> None:
    share.mapping.chmod(0o640)
    before = share.mapping.stat()
    ran = share.company.run("acl", "unresolved", "--source", "share", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["mapping"] == str(share.mapping)
    text = share.mapping.read_text(encoding="utf-8")
    added = [
        f'  - {{native: "sid:{TEAM}", principal: "group:engineers"}}\n',
        f'  - {{native: "sid:{ANN}", principal: "user:ann"}}\n',
    ]
    assert text == MAPPING.replace("# rules only add\n", "".join(added) + "# rules only add\n")
    assert share.mapping.stat().st_mode == before.st_mode
    assert not list(share.folder.glob(".*"))
    event = share.company.events("mapping_names_confirmed")[-1]
    assert event["body"]["by"] == "user:operator"
    assert event["body"]["names"] == [
        [f"sid:{TEAM}", "group:engineers", False],
        [f"sid:{ANN}", "user:ann", False],
    ]
    assert share.names()[f"allow sid:{ANN}"]["why"] == "mapped_since"
    share.ingest()
    assert list(share.names()) == [f"deny sid:{NOBODY}", "allow sid:S-1-5-11"]
    again = share.company.run("acl", "unresolved", "--source", "share", "--yes")
    assert (again.code, again.out) == (0, "nothing to confirm\n")


def test_confirming_a_file_that_somebody_looked_through(share: Share, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen.yaml"
    chosen.write_text(f"principals:\n  - {{native: 'sid:{NOBODY}', principal: user:ben}}\n", encoding="utf-8")
    ran = share.company.run("acl", "unresolved", "--source", "share", "--confirm", chosen)
    assert ran.code == 0, ran.err
    assert f"sid:{NOBODY}\tuser:ben" in ran.out
    share.ingest()
    assert f"deny sid:{NOBODY}" not in share.names()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("principals: [{mail_domain: acme.example}]", "only names are confirmed"),
        ("principals: [{native: 'user:ann', principal: user:ann}]", "reads like a canonical principal"),
        ("principals: [{native: 'sid:S-1-1-0', principal: user:ann}]", "occurs twice"),
        ("principals: [{native: a, principal: everyone}]", "merge: true"),
        ("names: []", "principals: is missing"),
        ("principals: [{native: a, principal: ann}]", "not a principal"),
    ],
)
def test_a_confirmation_that_would_break_the_mapping_changes_nothing(
    share: Share, tmp_path: Path, content: str, said: str
) -> None:
    chosen = tmp_path / "chosen.yaml"
    chosen.write_text(content, encoding="utf-8")
    ran = share.company.run("acl", "unresolved", "--source", "share", "--confirm", chosen)
    assert ran.code == 3
    assert said in ran.err
    assert share.mapping.read_text(encoding="utf-8") == MAPPING
    assert not share.company.events("mapping_names_confirmed")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--yes"], 2, "--source"),
        (["--yes", "--confirm", "x", "--source", "share"], 2, "either --confirm or --yes"),
        (["--source", "none"], 6, "there is no source 'none'"),
    ],
)
def test_wrong_usage(share: Share, words: list[str], code: int, said: str) -> None:
    ran = share.company.run("acl", "unresolved", *words)
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_a_mapping_that_somebody_changes_meanwhile_is_left_alone(
    share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mapping_names._record

    def changed(*given: Any) -> None:
        real(*given)
        share.mapping.write_text(MAPPING + "# new\n", encoding="utf-8")

    monkeypatch.setattr(mapping_names, "_record", changed)
    ran = share.company.run("acl", "unresolved", "--source", "share", "--yes")
    assert (ran.code, "changed while it was edited" in ran.err) == (3, True)
    assert share.mapping.read_text(encoding="utf-8") == MAPPING + "# new\n"
    assert not list(share.folder.glob(".*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_of_the_file_stays(share: Share) -> None:
    os.chown(share.mapping, 1000, 1000)
    assert share.company.run("acl", "unresolved", "--source", "share", "--yes").code == 0
    assert (share.mapping.stat().st_uid, share.mapping.stat().st_gid) == (1000, 1000)


def test_an_export_that_cannot_be_read_is_said_and_what_is_stored_is_listed(share: Share) -> None:
    share.export.write_text("{", encoding="utf-8")
    ran = share.company.run("acl", "unresolved", "--source", "share", "--suggest")
    assert ran.code == 1
    assert f"share: {share.export}:1: not valid JSON" in ran.err
    assert "user:ann (by sid)" in ran.out, "the name itself carries the identifier"


def test_a_run_that_fails_by_its_export_says_why(share: Share) -> None:
    share.export.write_text("{", encoding="utf-8")
    ran = share.company.run("ingest", "run", share.folder / "source.yaml")
    assert ran.code == 1
    assert "share\tfailed\t3 failed" in ran.out
    assert "the permissions of the source could not be read" in ran.err
    assert str(share.export) in ran.err


@control("acl:names-confirmed")
def test_only_who_may_edit_the_mapping_confirms_and_only_who_may_read_it_looks(share: Share) -> None:
    give = share.company
    set_operators(give.home, {os_user(): "user:gil"})
    give_roles(give.home, [("user:ben", "data_owner", "share"), ("user:ann", "auditor", None)])
    for who, looks, edits in (("user:gil", 5, 5), ("user:ann", 1, 5), ("user:ben", 1, 0)):
        set_operators(give.home, {os_user(): who})
        assert give.run("acl", "unresolved", "--source", "share").code == looks, who
        assert give.run("acl", "parity", "--source", "share").code == (0 if looks == 1 else 5), who
        assert give.run("acl", "unresolved", "--source", "share", "--yes").code == edits, who
    # Of another source she is told nothing, not even whether it exists.
    told = {give.run("acl", "unresolved", "--source", x).err for x in ("wiki", "none")}
    assert len(told) == 1
    assert {x["source"] for x in give.run("acl", "unresolved", "--json").json["sources"]} == {"share"}


def test_parity_says_what_the_source_shows_and_we_do_not(share: Share) -> None:
    ran = share.company.run("acl", "parity", "--source", "share", "--json")
    assert ran.code == 0
    found = ran.json
    assert (found["source"], found["documents"]) == ("share", 3)
    kinds = {(x["kind"], x["why"]): x for x in found["differences"]}
    assert kinds["unmapped_allow", f"sid:{ANN}"]["documents"] == 2
    assert kinds["closed_by_deny", f"sid:{NOBODY}"]["samples"] == ["valve.txt"]
    share.dump(pump="(A;;0x1200a9;;;WD)")
    share.ingest()
    text = share.company.run("acl", "parity", "--source", "share").out
    assert "withheld\tpermissions_unknown\t2\tseal.txt, valve.txt" in text


@pytest.mark.parametrize("label", ["Confidential", "Internal"])
def test_lint_names_links_and_everyone_of_an_export_on_high_labels(company: Company, label: str) -> None:
    share = Share(company)
    rules = f"rules:\n  - {{path: pump.txt, label: {label}}}\n"
    share.mapping.write_text(MAPPING.replace("rules: []\n", rules), encoding="utf-8")
    assert share.ingest().code == 0
    ran = company.run("acl", "lint", "--source", "share", "--json")
    links = [x for x in ran.json["findings"] if x["check"] == "link_on_label"]
    assert bool(links) is (label == "Confidential")
    for link in links:
        assert "sid:S-1-1-0" in link["what"]
        assert link["samples"] == ["share/pump.txt"]
        assert link["hint"]
