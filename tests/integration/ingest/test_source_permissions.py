"""Permissions that the source itself gives, through real runs: exports of three formats, and the file system."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from secure_rag.database import interning
from secure_rag.database import tables as t
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from secure_rag.model.permissions import NARROWER
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.formats import posix_live
from secure_rag_acl.formats.exports import read_export
from secure_rag_acl.formats.native import Limits
from secure_rag_acl.parity import parity
from secure_rag_api import source_permissions
from secure_rag_ingestion.connectors import filesystem
from tests.controls import control
from tests.support.ingest_home import DIRECTORY, Source, World, acl_as_of, company

ALL = ("user:ann", "user:ben", "user:cleo", "user:dora", "user:gus")
ANN, STAFF, CONTRACTORS = "S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1201", "S-1-5-21-1-2-3-1107"
OBJECT = "0a000000-0000-4000-8000-000000000001"
EXPORTED = "2026-03-01T06:00:00Z"
EXPORTED_AT = 1_772_344_800_000_000
WRITTEN = 1_500_000_000
"""Seconds."""


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        known_people(found)
        yield found


def known_people(world: World) -> None:
    """The directory with identifiers and addresses."""
    ids: dict[str, dict[str, str]] = {
        "user:ann": {"sid": ANN, "object_id": OBJECT, "mail": "ann@acme.example"},
        "user:ben": {"mail": "ben@acme.example"},
        "group:staff": {"sid": STAFF},
        "group:contractors": {"sid": CONTRACTORS},
    }
    content: Any = json.loads(json.dumps(DIRECTORY))
    for entry in (*content["users"], *content["groups"]):
        entry |= ids.get(entry["id"], {})
    parsed = parse_directory(yaml.safe_dump(content).encode(), "directory.yaml")
    import_directory(world.opened.engine, parsed, actor="user:operator", now=world.opened.clock.now())


class OldSource(Source):
    """Documents that were there before any export of these tests."""

    def write(self, path: str, content: str | bytes) -> Path:
        target = super().write(path, content)
        os.utime(target, (WRITTEN, WRITTEN))
        return target


def share(tmp_path: Path, form: str | None = "ntfs", *lines: dict[str, Any], **more: Any) -> Source:
    """A source whose documents are pump.txt, team/valve.txt and team/seal.txt."""
    source = OldSource(
        tmp_path, "share", rules=[], settings={"default_label": "Internal", "max_acl_age": "9999d"}
    )
    file = {} if form == "posix-live" else {"file": "dump"}
    source.settings["permissions"] = {"format": form, **file, **more}
    source.principals = list(lines) or [{"sid_table": True}]
    source.write("pump.txt", "The seals of the pump are changed every second year.")
    source.write("team/valve.txt", "The valve opens at nine bar.")
    source.write("team/seal.txt", "The seal is made of rubber.")
    return source


def dump(source: Source, content: object) -> Path:
    path = source.manifest.parent / "dump"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def ntfs(*items: tuple[str, str], **more: object) -> dict[str, object]:
    return {
        "exported_at": EXPORTED,
        "share": {"name": "\\\\fs1\\share", "sddl": "O:SYG:SYD:(A;;0x1200a9;;;WD)"},
        "items": [{"path": path.replace("/", "\\"), "sddl": f"O:BAG:DUD:{sddl}"} for path, sddl in items],
        **more,
    }


def reads(who: str) -> str:
    return f"(A;;0x1200a9;;;{who})"


EVERYONE = {"native": "sid:S-1-1-0", "principal": "everyone"}
NTFS = ntfs(
    ("pump.txt", reads(STAFF)),
    ("team/valve.txt", f"(D;;FA;;;{CONTRACTORS}){reads(STAFF)}{reads(ANN)}"),
    ("team/seal.txt", f"(D;;FA;;;S-1-5-21-9-9-9-9){reads(STAFF)}"),
)


def readers(world: World, path: str, query: str) -> set[str]:
    return {who for who in ALL if f"share/{path}" in world.ask(who, query)}


def everything(world: World) -> dict[str, set[str]]:
    return {
        "pump.txt": readers(world, "pump.txt", "seals of the pump"),
        "team/valve.txt": readers(world, "team/valve.txt", "valve opens"),
        "team/seal.txt": readers(world, "team/seal.txt", "seal made of rubber"),
    }


def test_ntfs_through_the_identifiers_of_the_directory(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    ran = world.run(source)
    assert (ran.report.status.value, ran.report.outcomes) == ("completed", {"added": 3})
    staff = {"user:ann", "user:cleo", "user:dora"}
    assert everything(world) == {"pump.txt": staff, "team/valve.txt": staff, "team/seal.txt": set()}
    assert world.why("user:ann", "share/team/seal.txt") == "unresolved_deny"
    assert "deny sid:S-1-5-21-9-9-9-9" in ran.items["team/seal.txt"].detail
    assert world.run(source).report.outcomes == {"unchanged": 3}


def test_posix_by_pattern(world: World, tmp_path: Path) -> None:
    source = share(
        tmp_path,
        "posix",
        {"pattern": "posix-user:([a-z]+)", "principal": "user:{1}"},
        {"pattern": "posix-group:([a-z]+)", "principal": "group:{1}"},
        {"native": "posix-other", "principal": "everyone"},
        below_root=True,
    )
    head = "# source-root: /srv/share\n# exported-at: 2026-03-01T06:00:00Z\n"
    folder = "# owner: root\n# group: root\nuser::rwx\ngroup::r-x\nother::r-x\n\n"
    dump(
        source,
        f"{head}\n# file: /srv/share\n{folder}# file: /srv/share/team\n# owner: root\n# group: staff\n"
        "user::rwx\ngroup::r-x\nother::---\n\n"
        "# file: /srv/share/pump.txt\n# owner: ben\n# group: root\nuser::rw-\nuser:cleo:r--\ngroup::---\nmask::r--\n"
        "other::---\n\n"
        "# file: /srv/share/team/valve.txt\n# owner: root\n# group: root\nuser::rw-\ngroup::r--\nother::r--\n\n"
        "# file: /srv/share/team/seal.txt\n# owner: root\n# group: staff\nuser::rw-\ngroup::r--\nother::---\n",
    )
    world.run(source)
    found = everything(world)
    assert found["pump.txt"] == {"user:ben", "user:cleo"}
    assert found["team/seal.txt"] == {"user:ann", "user:cleo", "user:dora"}
    assert found["team/valve.txt"] <= {"user:ann", "user:cleo", "user:dora"}


def graph_item(path: str, *permissions: dict[str, object]) -> dict[str, object]:
    return {"path": path, "permissions": {"value": list(permissions)}}


def granted(user: dict[str, str]) -> dict[str, object]:
    return {"id": f"p-{user['id']}", "roles": ["read"], "grantedToV2": {"user": user}}


def test_graph_by_object_id_and_mail(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "graph", {"object_ids": True}, {"mail_domain": "acme.example", "merge": True})
    stranger = "0a000000-0000-4000-8000-00000000000"
    dump(
        source,
        {
            "format": "graph-permissions",
            "version": 1,
            "exported_at": EXPORTED,
            "tenant": "0f000000-0000-4000-8000-000000000001",
            "sites": [],
            "securables": [],
            "items": [
                graph_item("pump.txt", granted({"id": OBJECT, "email": "ann@acme.example"})),
                graph_item("team/valve.txt", granted({"id": f"{stranger}2", "email": "Ben@acme.example"})),
                # The directory knows the identifier as one person and the address as another.
                graph_item("team/seal.txt", granted({"id": OBJECT, "email": "ben@acme.example"})),
            ],
        },
    )
    ran = world.run(source)
    assert ran.report.outcomes == {"added": 3}, ran.items
    assert everything(world) == {
        "pump.txt": {"user:ann"},
        "team/valve.txt": {"user:ben"},
        "team/seal.txt": set(),
    }


@control("acl:rules-only-add")
def test_rules_and_sidecars_add_to_what_the_source_says(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    source.rules = [
        {"path": "pump.txt", "locks": [{"allow": ["user:ann", "user:ben"]}], "label": "Confidential"}
    ]
    source.sidecar("team/valve.txt", locks=[{"allow": ["user:dora", "user:ben"]}])
    world.run(source)
    assert everything(world) == {
        "pump.txt": {"user:ann"},
        "team/valve.txt": {"user:dora"},
        "team/seal.txt": set(),
    }


@control("acl:permissions-unknown", "ingest:failure-withholds")
def test_an_item_without_known_permissions_is_withheld_and_the_run_goes_on(
    world: World, tmp_path: Path
) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    world.run(source)
    twice = ntfs(
        ("team/valve.txt", reads(STAFF)), ("team/VALVE.txt", reads(STAFF)), ("pump.txt", reads(STAFF))
    )
    dump(source, twice)
    ran = world.run(source)
    assert ran.report.status.value == "completed"
    assert ran.outcome("team/valve.txt") == ("failed", "permissions_unknown")
    assert "occurs twice" in ran.items["team/valve.txt"].detail
    assert ran.outcome("team/seal.txt") == ("failed", "permissions_unknown")
    assert world.state("share/team/seal.txt") == "withheld"
    assert everything(world) == {
        "pump.txt": {"user:ann", "user:cleo", "user:dora"},
        "team/valve.txt": set(),
        "team/seal.txt": set(),
    }
    dump(source, NTFS)
    ran = world.run(source)
    assert ran.outcome("team/valve.txt") == ("permission_updated", "confirmed")
    assert ran.report.embedded == 0
    assert everything(world)["team/valve.txt"] == {"user:ann", "user:cleo", "user:dora"}


@control("acl:permissions-unknown", "ingest:failure-withholds")
@pytest.mark.parametrize("broken", ["{", "missing", "unknown", "large"])
def test_an_export_that_cannot_be_trusted_withholds_its_source_and_no_other(
    world: World, tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Source(tmp_path, "other")
    other.write("note.txt", "A note about the pump.")
    world.run(other)
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    path = dump(source, NTFS)
    world.run(source)
    before = acl_as_of(world.opened, "share")
    (source.folder / "pump.txt").unlink()
    if broken == "missing":
        path.unlink()
    elif broken == "unknown":
        dump(source, {**NTFS, "surprise": 1})
    elif broken == "large":
        small = partial(read_export, limits=Limits(max_items=1))
        monkeypatch.setattr(
            source_permissions, "read_export", lambda path, name, **_: small(path, name, below_root=False)
        )
    else:
        dump(source, broken)
    ran = world.run(source)
    assert ran.report.status.value == "failed"
    assert str(path) in ran.report.detail
    assert ran.report.outcomes == {"failed": 3}
    assert {x.reason for x in ran.items.values()} == {"permissions_unknown"}
    assert {world.state(f"share/{x}") for x in ("pump.txt", "team/valve.txt", "team/seal.txt")} == {
        "withheld"
    }
    assert everything(world) == {"pump.txt": set(), "team/valve.txt": set(), "team/seal.txt": set()}
    assert acl_as_of(world.opened, "share") == before
    assert "other/note.txt" in world.ask("user:ann", "note about the pump")
    monkeypatch.undo()
    dump(source, NTFS)
    assert world.run(source).report.outcomes == {"deleted": 1, "permission_updated": 2}


def test_permissions_count_as_confirmed_when_they_were_exported(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    world.run(source)
    assert acl_as_of(world.opened, "share") == EXPORTED_AT
    # Without a word of its own, by its file; never later than the run.
    silent = {x: y for x, y in NTFS.items() if x != "exported_at"}
    written = EXPORTED_AT + 60_000_000
    path = dump(source, silent)
    os.utime(path, ns=(written * 1_000, written * 1_000))
    world.run(source)
    assert acl_as_of(world.opened, "share") == written
    future = 4_000_000_000_000_000
    os.utime(dump(source, silent), ns=(future * 1_000, future * 1_000))
    world.run(source)
    assert acl_as_of(world.opened, "share") < world.opened.clock.now()
    with world.opened.reader.connect() as connection:
        latest = connection.execute(sa.select(sa.func.max(t.document.c.acl_as_of))).scalar_one()
    assert latest <= acl_as_of(world.opened, "share")


@control("acl:permissions-unknown")
def test_an_older_export_than_the_last_one_changes_nothing(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    world.run(source)
    before = everything(world)
    wider = ntfs(*((path, reads("S-1-1-0")) for path in before), exported_at="2026-02-28T06:00:00Z")
    dump(source, wider)
    with pytest.raises(ConfigError, match="older than the export that was used last"):
        world.run(source)
    assert everything(world) == before
    assert acl_as_of(world.opened, "share") == EXPORTED_AT


@control("acl:permissions-unknown")
def test_a_document_that_changed_after_the_export_is_withheld_until_the_next_one(
    world: World, tmp_path: Path
) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS)
    world.run(source)
    assert readers(world, "pump.txt", "seals of the pump")
    changed = source.write("pump.txt", "The seals of the pump now hold the payroll.")
    later = EXPORTED_AT // 1_000_000 + 1
    os.utime(changed, (later, later))
    ran = world.run(source)
    assert ran.outcome("pump.txt") == ("failed", "permissions_unknown")
    assert readers(world, "pump.txt", "seals of the pump") == set()
    dump(source, NTFS | {"exported_at": "2026-03-02T06:00:00Z"})
    assert world.run(source).outcome("pump.txt") == ("content_updated", "content_changed")
    assert readers(world, "pump.txt", "seals of the pump")


def test_an_export_older_than_the_source_allows_is_not_served(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, NTFS | {"exported_at": "2020-01-01T00:00:00Z"})
    source.settings["max_acl_age"] = "30d"
    assert world.run(source).report.outcomes == {"added": 3}
    assert everything(world) == {"pump.txt": set(), "team/valve.txt": set(), "team/seal.txt": set()}
    assert world.why("user:ann", "share/pump.txt") == "acl_stale"


def test_an_export_must_not_lie_among_the_documents(world: World, tmp_path: Path) -> None:
    source = share(tmp_path)
    source.settings["permissions"]["file"] = str(source.write("dump", json.dumps(NTFS)))
    with pytest.raises(ConfigError, match="its exported permissions must not lie among the documents"):
        world.run(source)


def test_what_is_narrower_is_kept_and_reported(world: World, tmp_path: Path) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    conditional = '(XA;;0x1200a9;;;AU;(@User.Department == "HR"))'
    dump(source, ntfs(
        ("pump.txt", f"{reads(STAFF)}{conditional}"),
        ("team/valve.txt", reads(STAFF)),
        ("team/seal.txt", f"{reads('S-1-5-21-7-7-7-7')}{conditional}"),
    ))  # fmt: skip
    ran = world.run(source)
    assert f"{NARROWER}: " in ran.items["pump.txt"].detail
    with world.opened.reader.connect() as connection:
        key = connection.execute(sa.select(t.source.c.id)).scalar_one()
        report = parity(connection, key, "share")
    assert report.documents == 3
    conditions = [x for x in report.differences if any("XA" in entry for entry in x.entries)]
    assert [(x.kind, x.documents, x.samples) for x in conditions] == [
        (NARROWER, 2, ("pump.txt", "team/seal.txt"))
    ]
    kinds = {x.kind: x for x in report.differences}
    assert kinds["unmapped_allow"].why == "sid:S-1-5-21-7-7-7-7"
    # Permissions change, the content stays: the report follows.
    dump(source, ntfs(("pump.txt", reads(STAFF)), ("team/valve.txt", reads(STAFF))))
    world.run(source)
    with world.opened.reader.connect() as connection:
        report = parity(connection, key, "share")
    assert ("withheld", "permissions_unknown", 1) in {
        (x.kind, x.why, x.documents) for x in report.differences
    }
    assert not any("XA" in entry for x in report.differences for entry in x.entries)


def test_too_many_classes_fail_their_source_only(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = share(tmp_path, "ntfs", EVERYONE, {"sid_table": True})
    dump(source, ntfs(*((x, reads(STAFF)) for x in ("pump.txt", "team/valve.txt", "team/seal.txt"))))
    world.run(source)
    (source.folder / "team/seal.txt").unlink()
    monkeypatch.setattr(interning, "MAX_CLASSES_PER_SOURCE", 2)
    dump(source, ntfs(("pump.txt", reads(ANN)), ("team/valve.txt", f"{reads(ANN)}{reads(STAFF)}")))
    ran = world.run(source)
    assert (ran.report.status.value, ran.report.outcomes) == (
        "failed",
        {"failed": 1, "permission_updated": 1},
    )
    assert ran.outcome("team/valve.txt") == ("failed", "quota_exceeded")
    assert world.state("share/team/seal.txt") == "live", "a run that exceeds a quota deletes nothing"
    other = Source(tmp_path, "other")
    other.write("note.txt", "A note about the pump.")
    assert world.run(other).report.status.value == "completed"


# ---- the file system


def live(tmp_path: Path) -> Source:
    source = share(
        tmp_path,
        "posix-live",
        {"pattern": "posix-uid:1000", "principal": "user:ann"},
        {"native": "posix-uid:1001", "principal": "user:ben"},
        {"native": "posix-other", "principal": "everyone"},
        below_root=True,
    )
    for path in sorted(source.folder.rglob("*")):
        os.chown(path, 1000, 65_000)
        path.chmod(0o755 if path.is_dir() else 0o600)
    return source


@pytest.fixture
def numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No account of this host has a name."""
    monkeypatch.setattr("secure_rag_acl.formats.live.system_accounts", posix_live.Accounts)


pytestmark_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytestmark_root
@pytest.mark.usefixtures("numbers")
def test_permissions_of_the_file_system(world: World, tmp_path: Path) -> None:
    source = live(tmp_path)
    assert world.run(source).report.outcomes == {"added": 3}
    assert everything(world) == {x: {"user:ann"} for x in ("pump.txt", "team/valve.txt", "team/seal.txt")}
    os.chown(source.folder / "pump.txt", 1001, 65_000)
    (source.folder / "team").chmod(0o700)
    (source.folder / "team" / "seal.txt").chmod(0o644)
    ran = world.run(source)
    assert ran.outcome("pump.txt") == ("permission_updated", "permissions_changed")
    assert everything(world) == {
        "pump.txt": {"user:ben"},
        "team/valve.txt": {"user:ann"},
        "team/seal.txt": {"user:ann"},
    }


@pytestmark_root
@control("ingest:content-then-permissions")
@pytest.mark.usefixtures("numbers")
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("always", [False, True])
def test_permissions_that_change_while_a_file_is_read_are_read_again_or_held(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, always: bool
) -> None:
    source = live(tmp_path)
    target = source.folder / ("team/valve.txt" if what == "file" else "team")
    real = filesystem.FilesystemConnector._guards
    seen: list[str] = []

    def guards(connector: filesystem.FilesystemConnector, native_id: str) -> object:
        found = real(connector, native_id)
        if native_id == "team/valve.txt" and (always or not seen):
            seen.append(native_id)
            target.chmod(0o700 if len(seen) % 2 else 0o750 if what == "file" else 0o755)
        return found

    monkeypatch.setattr(filesystem.FilesystemConnector, "_guards", guards)
    ran = world.run(source)
    assert ran.outcome("team/valve.txt") == (("failed", "changed_while_read") if always else ("added", "new"))
    assert ran.outcome("pump.txt") == ("added", "new")


@pytestmark_root
@control("acl:permissions-unknown")
@pytest.mark.usefixtures("numbers")
def test_live_permissions_that_cannot_be_read_withhold_their_item(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = live(tmp_path)
    world.run(source)

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("secure_rag_acl.formats.live.read_live", fails)
        ran = world.run(source)
    assert ran.report.outcomes == {"failed": 3}
    assert ran.outcome("pump.txt") == ("failed", "permissions_unknown")
    assert everything(world)["pump.txt"] == set()
    assert world.run(source).report.outcomes == {"permission_updated": 3}
    assert Micros(0) < acl_as_of(world.opened, "share")
