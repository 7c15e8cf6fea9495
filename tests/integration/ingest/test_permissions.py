"""From what a data owner wrote to who can read: mappings, labels and sidecars through real runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from secure_rag.model.locks import MAX_LOCKS
from tests.controls import control
from tests.support.file_faults import refuse
from tests.support.ingest_home import Source, World, company, index

ALL = ("user:ann", "user:ben", "user:cleo", "user:dora", "user:gus")
PUMP = "wiki/pump.txt"


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        yield found


@pytest.fixture
def wiki(tmp_path: Path) -> Source:
    source = Source(tmp_path, "wiki")
    source.write("pump.txt", "The seals of the pump are changed every second year.")
    return source


def readers(world: World) -> set[str]:
    return {who for who in ALL if PUMP in world.ask(who, "seals of the pump")}


def test_no_rule_is_nobody(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "other/**", "allow": ["everyone"], "label": "Public"}]
    assert world.run(wiki).outcome("pump.txt") == ("added", "new")
    assert readers(world) == set()
    assert world.why("user:cleo", PUMP) == "not_on_list"


def test_an_unmapped_name_in_an_allow_list_grants_nothing_and_is_reported(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "**", "allow": ["Old Team", "user:cleo"], "label": "Internal"}]
    ran = world.run(wiki)
    assert ran.items["pump.txt"].detail == "unresolved: allow Old Team"
    assert readers(world) == {"user:cleo"}


def test_an_unmapped_name_in_a_deny_list_closes_the_lock_for_all(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "**", "allow": ["everyone"], "deny": ["Old Team"], "label": "Public"}]
    ran = world.run(wiki)
    assert ran.items["pump.txt"].detail == "unresolved: deny Old Team"
    assert readers(world) == set()
    assert world.why("user:cleo", PUMP) == "unresolved_deny"
    # Mapping it to a group that the directory knows opens the lock again, without the group.
    wiki.principals = [{"native": "Old Team", "principal": "group:contractors"}]
    assert world.run(wiki).outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert readers(world) == {"user:ann", "user:cleo", "user:dora"}


def test_a_principal_that_the_directory_never_saw(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "**", "allow": ["everyone", "user:nobody.knows"], "label": "Public"}]
    world.run(wiki)
    assert "user:gus" not in readers(world)
    wiki.rules = [{"path": "**", "allow": ["everyone"], "deny": ["user:nobody.knows"], "label": "Public"}]
    world.run(wiki)
    assert readers(world) == set()
    assert world.why("user:ann", PUMP) == "unresolved_deny"


def test_a_missing_label_is_the_highest(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "**", "allow": ["everyone"]}]
    world.run(wiki)
    assert readers(world) == {"user:cleo"}
    assert world.why("user:ann", PUMP) == "label"


def test_the_default_label_of_a_source_and_its_change(world: World, wiki: Source) -> None:
    wiki.rules = [{"path": "**", "allow": ["everyone"]}]
    wiki.settings["default_label"] = "Internal"
    world.run(wiki)
    assert readers(world) == {"user:ann", "user:ben", "user:cleo", "user:dora"}
    wiki.settings["default_label"] = "Confidential"
    assert world.run(wiki).outcome("pump.txt") == ("label_updated", "label_changed")
    assert readers(world) == {"user:ann", "user:ben", "user:cleo"}


@pytest.mark.parametrize("place", ["mapping", "sidecar"])
def test_an_unknown_label_is_the_highest_whatever_the_default_of_the_source(
    world: World, wiki: Source, place: str
) -> None:
    wiki.settings["default_label"] = "Public"
    rule = {"path": "**", "allow": ["everyone"]}
    wiki.rules = [rule | {"label": "Top Secret"} if place == "mapping" else rule]
    if place == "sidecar":
        wiki.sidecar("pump.txt", label="Top Secret")
    ran = world.run(wiki)
    assert ran.items["pump.txt"].detail == "unknown label: Top Secret"
    assert readers(world) == {"user:cleo"}


def test_a_sidecar_raises_the_label(world: World, wiki: Source) -> None:
    wiki.sidecar("pump.txt", label="Restricted", compartments=["heron"])
    world.run(wiki)
    assert readers(world) == {"user:cleo"}


@pytest.mark.parametrize("from_rule", [True, False])
def test_a_sidecar_cannot_lower_the_label(world: World, wiki: Source, from_rule: bool) -> None:
    wiki.settings["default_label"] = "Restricted"
    rule: dict[str, object] = {"path": "**", "allow": ["everyone"]}
    wiki.rules = [rule | {"label": "Restricted"} if from_rule else rule]
    wiki.sidecar("pump.txt", label="Public")
    world.run(wiki)
    assert readers(world) == {"user:cleo"}


def test_a_sidecar_adds_a_lock_and_opens_none(world: World, wiki: Source) -> None:
    wiki.sidecar("pump.txt", locks=[{"allow": ["everyone", "user:gus"], "deny": ["user:dora"]}])
    world.run(wiki)
    assert readers(world) == {"user:ann", "user:cleo"}
    wiki.rules = []
    world.run(wiki)
    assert readers(world) == set()


def test_authoritative_sidecars_replace_locks_and_label(world: World, wiki: Source) -> None:
    wiki.sidecar("pump.txt", locks=[{"allow": ["user:ben"]}], label="Public")
    world.run(wiki)
    assert readers(world) == set()
    wiki.settings["sidecars"] = "authoritative"
    assert world.run(wiki).outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert readers(world) == {"user:ben"}
    # Without one, the mapping holds.
    (wiki.folder / "pump.txt.acl.yaml").unlink()
    world.run(wiki)
    assert readers(world) == {"user:ann", "user:cleo", "user:dora"}


@control("ingest:failure-withholds")
@pytest.mark.parametrize(
    "content",
    [b"locks: [", b"locks: []", b"lable: Restricted", b"\xff\xfe", b"", b"[]", b"locks: [{allow: [everyone], deny: 5}]",
     b"label: Public\nlabel: Restricted", b"label: &a Public", b"#" * ((1 << 20) + 1)],
    ids=["broken", "no-lock", "misspelt", "encoding", "empty", "list", "type", "twice", "anchor", "large"],
)  # fmt: skip
def test_a_bad_sidecar_withholds_its_document_until_it_is_mended(
    world: World, wiki: Source, content: bytes
) -> None:
    wiki.write("valve.txt", "The valve opens at nine bar.")
    world.run(wiki)
    assert readers(world) != set()
    wiki.write("pump.txt.acl.yaml", content)
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("failed", "bad_sidecar")
    assert ran.outcome("valve.txt") == ("unchanged", "same")
    assert ran.report.status.value == "completed"
    assert readers(world) == set()
    assert world.state(PUMP) == "withheld"
    wiki.sidecar("pump.txt", label="Confidential")
    assert world.run(wiki).outcome("pump.txt")[0] in ("permission_updated", "label_updated")
    assert readers(world) == {"user:ann", "user:cleo"}


@control("ingest:failure-withholds")
def test_an_unreadable_sidecar_withholds_its_document(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(wiki)
    wiki.sidecar("pump.txt", label="Confidential")
    with monkeypatch.context() as patched:
        refuse(patched, "pump.txt.acl.yaml")
        assert world.run(wiki).outcome("pump.txt") == ("failed", "bad_sidecar")
        assert readers(world) == set()
    # Readable again: permissions are confirmed, nothing is embedded.
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("permission_updated", "confirmed")
    assert ran.report.embedded == 0
    assert readers(world) == {"user:ann", "user:cleo"}


@control("ingest:failure-withholds")
def test_a_sidecar_with_a_misspelt_name_withholds_its_document(world: World, wiki: Source) -> None:
    world.run(wiki)
    wiki.write("pump.txt.acl.yml", "label: Restricted")
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("failed", "bad_sidecar")
    assert "pump.txt.acl.yaml" in ran.items["pump.txt"].detail
    assert readers(world) == set()


def test_more_locks_than_a_class_may_have(world: World, wiki: Source) -> None:
    world.run(wiki)
    wiki.sidecar("pump.txt", locks=[{"allow": [f"user:u{n}"]} for n in range(MAX_LOCKS)])
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("failed", "bad_sidecar")
    assert readers(world) == set()


def test_a_sidecar_full_of_unknown_names_does_not_fill_the_records(world: World, wiki: Source) -> None:
    wiki.sidecar("pump.txt", locks=[{"allow": ["everyone"], "deny": [f"Old Team {n}" for n in range(5_000)]}])
    ran = world.run(wiki)
    assert ran.outcome("pump.txt") == ("added", "new")
    assert len(ran.items["pump.txt"].detail) == 500
    assert ran.items["pump.txt"].detail.endswith("…")
    assert readers(world) == set()
    with world.opened.reader.connect() as connection:
        stored = connection.exec_driver_sql("SELECT unresolved FROM document").scalar_one()
    assert "Old Team 4999" in stored


def test_a_list_of_thousands(world: World, wiki: Source) -> None:
    wiki.rules = [
        {"path": "**", "allow": [*(f"user:extra-{n}" for n in range(3_000)), "user:ann"], "label": "Internal"}
    ]
    assert world.run(wiki).outcome("pump.txt") == ("added", "new")
    assert readers(world) == {"user:ann"}
    (document,) = index(world.opened).values()
    assert "user:extra-2999" in str(document["class"])
