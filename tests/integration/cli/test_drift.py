"""`ingest permissions` and `acl drift`: what they print, compare and tighten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag_api.drift import wilson
from tests.controls import control
from tests.integration.cli.company import Company
from tests.integration.cli.company import found as found_company
from tests.integration.cli.test_revoking import roles


@pytest.fixture
def company(tmp_path: Path) -> Company:
    """One whose documents and mapping a test may change."""
    return found_company(Company(tmp_path / "acme"))


def remap(company: Company, path: str, *allow: str, label: str = "Internal") -> None:
    mapping = company.manifest.parent / "mapping.yaml"
    content = json.loads(mapping.read_text(encoding="utf-8"))
    content["rules"].append({"path": path, "allow": list(allow), "label": label})
    mapping.write_text(json.dumps(content), encoding="utf-8")


def drift(company: Company, *words: str) -> tuple[int, Any]:
    ran = company.run("acl", "drift", "--source", "wiki", "--json", *words)
    assert ran.code in (0, 1), ran.err
    return ran.code, ran.json


@control("acl:drift-tightened")
def test_a_sweep_reports_and_tightens(company: Company) -> None:
    assert company.titles("user:ben") == ["colours", "manual"]
    assert drift(company, "--sweep")[0] == 0
    remap(company, "colours.txt", "Engineers")
    remap(company, "secret/drive.txt", "everyone")
    code, found = drift(company, "--sweep")
    assert (code, found["drifted"], found["wider"]) == (1, 2, 1)
    # Five are live, one is in quarantine, and the broken one was never indexed.
    assert (found["checked"], found["documents"], found["rate"]) == (6, 6, 2 / 6)
    assert found["interval"] == [found["rate"]] * 2
    by_name = {x["document"]: x for x in found["differing"]}
    colours, drive = by_name["wiki/colours.txt"], by_name["wiki/secret/drive.txt"]
    assert (colours["wider"], colours["difference"]["lost"], colours["difference"]["gained"]) == (
        True, ["user:ben", "user:operator"], [],
    )  # fmt: skip
    assert colours["difference"]["entries_lost"] == ["everyone"]
    assert (drive["difference"]["gained"], drive["difference"]["entries_gained"]) == (
        ["user:ben", "user:operator"], ["everyone"],
    )  # fmt: skip
    assert company.titles("user:ben") == ["drive", "manual"]
    (event,) = [x for x in company.events("drift_checked") if x["body"]["drifted"]]
    assert event["body"]["named"] == ["wiki/colours.txt", "wiki/secret/drive.txt"]
    assert drift(company, "--sweep")[1]["drifted"] == 0


@control("acl:drift-tightened")
def test_a_sample_has_an_interval_and_confirms_nothing(company: Company) -> None:
    as_of = confirmed(company)
    remap(company, "**", "Engineers")
    code, found = drift(company, "--sample", "3")
    assert (code, found["checked"], found["documents"], found["drifted"]) == (1, 3, 6, 3)
    low, high = found["interval"]
    assert 0.4 < low < 0.5
    assert high == 1.0
    assert confirmed(company) == as_of
    assert drift(company, "--sample", "100")[1]["drifted"] == 3


@control("acl:drift-tightened")
def test_an_index_that_is_wider_by_a_fault_is_found_though_its_digest_is_right(company: Company) -> None:
    """Permission digest and class are two columns: the class is what decides, so the class is compared."""
    engine = open_engine(company.home / "control.db")
    d = t.document.c
    with write(engine) as connection:
        wide = connection.execute(sa.select(d.class_id).where(d.native_id == "colours.txt")).scalar_one()
        connection.execute(
            sa.update(t.document).where(d.native_id == "secret/drive.txt").values(class_id=wide)
        )
    engine.dispose()
    assert company.titles("user:ben") == ["colours", "drive", "manual"]
    code, found = drift(company, "--sweep")
    assert (code, [x["document"] for x in found["differing"]]) == (1, ["wiki/secret/drive.txt"])
    assert company.titles("user:ben") == ["colours", "manual"]


@control("acl:drift-tightened")
def test_what_cannot_be_read_again_is_withheld(company: Company) -> None:
    (company.documents / "manual.txt.acl.yaml").write_text("locks: [", encoding="utf-8")
    (company.documents / "colours.txt").unlink()
    for words in (["--sample", "50"], ["--sweep"]):
        again = company.copy(company.base.with_name(words[0][2:]))
        code, found = drift(again, *words)
        reasons = {x["document"]: x["reason"] for x in found["differing"]}
        assert (code, reasons) == (
            1, {"wiki/manual.txt": "bad_sidecar", "wiki/colours.txt": "gone_at_source"},
        )  # fmt: skip
        assert again.titles("user:ben") == []


@control("ops:roles")
def test_a_check_of_drift_needs_who_may_see_and_revoke(company: Company) -> None:
    remap(company, "**", "Engineers")
    roles(company, operator="ingestion_engineer")
    assert company.run("acl", "drift", "--source", "wiki").code == 5
    assert company.run("runs", "list", "--json").json[0]["reads"] == "content"
    assert company.run("ingest", "permissions", "--source", "wiki").code == 0
    roles(company, operator="auditor")
    assert company.run("ingest", "permissions", "--source", "wiki").code == 5


def test_a_permission_run_prints_what_changed(company: Company) -> None:
    remap(company, "colours.txt", "Engineers")
    (company.documents / "manual.txt.acl.yaml").write_text("locks: [", encoding="utf-8")
    ran = company.run("ingest", "permissions", "--source", "wiki", "--json")
    assert ran.code == 1
    *items, last = ran.lines
    assert {x["item"]["native_id"]: x["item"]["outcome"] for x in items} == {
        "colours.txt": "permission_updated",
        "manual.txt": "failed",
    }
    assert last["run"]["outcomes"] == {"failed": 1, "permission_updated": 1, "unchanged": 4}
    (company.documents / "manual.txt.acl.yaml").unlink()
    ran = company.run("ingest", "permissions")
    assert (ran.code, ran.out.splitlines()[1].split("\t")[1:4]) == (
        0, ["wiki", "completed", "1 permission_updated, 5 unchanged"],
    )  # fmt: skip
    shown = company.run("runs", "list", "--json").json
    assert [x["reads"] for x in shown] == ["permissions", "permissions", "content"]


def test_sources_by_name_manifest_and_otherwise(company: Company) -> None:
    assert company.run("ingest", "permissions", "--source", company.manifest).code == 0
    assert company.run("ingest", "permissions", "--source", "none").code == 6
    other = company.base / "other.yaml"
    other.write_text(company.manifest.read_text(encoding="utf-8"), encoding="utf-8")
    assert company.run("ingest", "permissions", "--source", other).code == 3
    ran = company.run("acl", "drift", "--source", "wiki", "--sweep", "--sample", "3")
    assert ran.code == 2


def confirmed(company: Company) -> int:
    engine = open_engine(company.home / "control.db", read_only=True)
    with engine.connect() as connection:
        found = connection.execute(sa.select(t.source.c.acl_as_of)).scalar_one()
    engine.dispose()
    return int(found)


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(0, 10, 0.0, 0.277533), (1, 10, 0.017876, 0.404150), (5, 10, 0.236593, 0.763407), (0, 0, 0.0, 1.0)],
)
def test_the_interval_is_wilsons(hits: int, n: int, low: float, high: float) -> None:
    """Values of the published formula, computed by hand with z = 1.959964."""
    assert wilson(hits, n) == pytest.approx((low, high), abs=1e-5)
