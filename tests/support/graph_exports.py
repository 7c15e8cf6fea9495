"""Exports of Microsoft Graph permissions for tests, and the table that was decided by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from secure_rag_acl.formats import graph
from secure_rag_acl.formats.native import ItemProblem, NativePermissions, PermissionDump
from tests.support.native_readers import may_read

GOLDEN = Path(__file__).parents[1] / "unit/acl/formats/golden/graph.yaml"
NOW = 1_795_521_600_000_000
"""2026-11-24T12:00:00Z."""
Read = Callable[[bytes, str], PermissionDump]
Json = dict[str, Any]


def export(*items: Mapping[str, object], **sections: object) -> bytes:
    """An export of these items."""
    whole = {"format": "graph-permissions", "version": 1, **sections, "items": list(items)}
    return json.dumps(whole).encode("utf-8")


def read_one(
    item: Mapping[str, object], read: Read = graph.read, **sections: object
) -> NativePermissions | ItemProblem:
    """What a single item comes to."""
    return read(export({"path": "doc.docx", **item}, **sections), "export.json").items["doc.docx"]


def opened(item: Mapping[str, object], **sections: Any) -> NativePermissions:
    """The same, when it must be readable."""
    found = read_one(item, **sections)
    assert isinstance(found, NativePermissions), found
    return found


def problem(item: Mapping[str, object], **sections: Any) -> str:
    """The same, when it must not be."""
    found = read_one(item, **sections)
    assert isinstance(found, ItemProblem)
    return found.why


@cache
def golden() -> tuple[dict[str, list[str]], dict[str, Json]]:
    """Readers and cases of the table."""
    with GOLDEN.open(encoding="utf-8") as file:
        table = yaml.safe_load(file)
    return table["readers"], {case["id"]: case for case in table["cases"]}


def broken_cases(read: Read) -> list[str]:
    """Complaints of the table about a reader."""
    readers, cases = golden()
    return [f"{name}: {x}" for name, case in cases.items() for x in _complaints(case, readers, read)]


def _complaints(case: Json, readers: dict[str, list[str]], read: Read) -> list[str]:
    sections = {key: case[key] for key in ("sites", "securables", "tenant") if key in case}
    found = read_one(case["item"], read, **sections)
    if isinstance(found, ItemProblem):
        return [] if case.get("problem", "-") in found.why else [f"a problem: {found.why}"]
    wrong = [f"{x} may not" for x in case.get("may", []) if not may_read(found, readers[x], NOW)]
    wrong += [f"{x} may" for x in case.get("may_not", []) if may_read(found, readers[x], NOW)]
    lock = found.locks[0]
    for key, whys in (
        ("narrowed", [x.why for x in found.narrowed]),
        ("closed", [x.why for x in lock.closed]),
    ):
        if (key in case) != bool(whys) or not all(case[key] in why for why in whys):
            wrong.append(f"{key}: {whys}")
    if case.get("broad") and not all(x.principal.broad for x in lock.allow):
        wrong.append("a name that should be broad is not")
    return [*wrong, *(["should be a problem"] if "problem" in case else [])]
