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
        listed.append(
            {"path": f"{name}.md", "file": file, "permission_pages": [{"permissions": [entry]}]}
        )
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
@pytest.mark.parametrize("error", [MemoryError(), RecursionError(), TypeError("secret detail"), KeyError("x")])
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
