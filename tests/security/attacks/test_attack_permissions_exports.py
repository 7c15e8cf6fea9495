"""Exports that break more than what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from secure_rag_acl.formats.exports import Export
from secure_rag_api import source_permissions
from tests.controls import control
from tests.support.ingest_home import Source, World, company

QUERY = "valve opens at nine bar"
LINE = {"native": "drive-user:ann@acme.example", "principal": "user:ann"}


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        yield found


def permission(**more: object) -> dict[str, object]:
    return {"id": "1", "type": "user", "role": "reader", "emailAddress": "ann@acme.example", **more}


def drive(world: World, **items: dict[str, object]) -> Source:
    source = Source(world.base, "share", rules=[], principals=[LINE])
    source.settings = {
        "default_label": "Internal",
        "max_acl_age": "9999d",
        "permissions": {"format": "drive", "file": "dump"},
    }
    listed: list[object] = []
    for name, entry in items.items():
        source.write(f"{name}.md", "The valve opens at nine bar.")
        file = {"id": name, "name": name, "mimeType": "text/markdown"}
        listed.append({"path": f"{name}.md", "file": file, "permission_pages": [{"permissions": [entry]}]})
    source.save()
    dump = {"format": "drive", "fields": {"files": "*", "permissions": "*"}, "items": listed}
    (source.manifest.parent / "dump").write_text(json.dumps(dump), encoding="utf-8")
    return source


@control("acl:permissions-unknown")
@pytest.mark.parametrize("role", [{}, [], {"a": 1}, 7, None])
def test_a_detail_of_another_type_breaks_no_other_item(world: World, role: object) -> None:
    odd = permission(permissionDetails=[{"role": role, "inherited": False}])
    ran = world.run(drive(world, a=permission(), b=odd))
    assert ran.report.status.value == "completed"
    assert "share/a.md" in world.ask("user:ann", QUERY)


@control("acl:permissions-unknown")
@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError(), TypeError("secret detail"), KeyError("x")]
)
def test_a_reader_that_breaks_withholds_its_source(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    source = drive(world, a=permission())
    world.run(source)
    assert world.ask("user:ann", QUERY) == {"share/a.md"}

    def broken(*_: object, **__: object) -> Export:
        raise error

    monkeypatch.setattr(source_permissions, "read_export", broken)
    ran = world.run(source)
    assert ran.report.status.value == "failed"
    assert "secret" not in ran.report.detail
    assert world.ask("user:ann", QUERY) == set()
    monkeypatch.undo()
    world.run(source)
    assert world.ask("user:ann", QUERY) == {"share/a.md"}


def confluence(world: World, *paths: str) -> Source:
    nobody = {"results": [], "start": 0, "limit": 10, "size": 0}
    content: list[object] = []
    source = Source(world.base, "share", rules=[])
    source.principals = [{"native": "confluence-group:staff", "principal": "group:staff"}]
    source.settings = {
        "default_label": "Internal",
        "max_acl_age": "9999d",
        "permissions": {"format": "confluence", "file": "dump"},
    }
    for number, path in enumerate(paths):
        source.write(path, "The valve opens at nine bar.")
        lists = {"operation": "read", "restrictions": {"user": nobody, "group": nobody}}
        entry = {"id": str(number), "path": path, "type": "page", "space": "S", "restrictions": lists}
        content.append(entry | {"parent": None if number == 0 else "0"})
    operation = {"operationKey": "read", "targetType": "space"}
    views = [{"operation": operation, "subject": {"type": "group", "name": "staff"}}]
    spaces = [{"key": "S", "data_center": views}]
    source.save()
    dump = {"format": "confluence", "spaces": spaces, "content": content}
    (source.manifest.parent / "dump").write_text(json.dumps(dump), encoding="utf-8")
    return source


@control("acl:permissions-unknown")
@pytest.mark.parametrize("odd", ["\U0001f469\u200d\U0001f4bb.md", "Plan\u202egpj.md", "Plan\u00ad.md"])
def test_the_title_of_one_page_withholds_no_other(world: World, odd: str) -> None:
    ran = world.run(confluence(world, odd, "below.md"))
    assert ran.report.status.value == "completed"
    assert world.ask("user:ann", QUERY) == {"share/below.md"}


@control("acl:permissions-unknown")
def test_the_permissions_of_a_path_are_of_no_path_that_is_spelt_otherwise(world: World) -> None:
    # In NFC these are one name; on a Linux file system, and in the source, they are two files.
    source = confluence(world, "caf\u00e9.md")
    (source.folder / "caf\u00e9.md").unlink()
    source.write("cafe\u0301.md", "The valve opens at nine bar.")
    source.write("\u212a.md", "The valve opens at nine bar.")
    world.run(source)
    assert world.ask("user:ann", QUERY) == set()
    source = confluence(world, "cafe\u0301.md", "\u212a.md")
    source.write("caf\u00e9.md", "The valve opens at nine bar.")
    source.write("K.md", "The valve opens at nine bar.")
    world.run(source)
    assert world.ask("user:ann", QUERY) == {"share/cafe\u0301.md", "share/\u212a.md"}
