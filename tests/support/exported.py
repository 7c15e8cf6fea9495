"""Exports of Drive, ADLS and prefix access files for tests, and the golden rows of each as such an export."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from secure_rag.errors import SecureRagError
from secure_rag_acl.formats.native import ItemProblem, NativePermissions, PermissionDump
from tests.support.golden_exports import Case, load_cases

Read = Callable[[bytes, str], PermissionDump]
GOLDEN = Path(__file__).parents[1] / "unit/acl/formats/golden"
NOW = 1_780_272_000_000_000
"""2026-06-01T00:00:00Z."""
CONTAINER = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/data/providers/Microsoft.Storage"
    "/storageAccounts/acmelake/blobServices/default/containers/handbook"
)
ROLES = {
    "owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
    "contributor": "ba92f5b4-2d11-453d-a403-e96b0029c9fe",
    "reader": "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
    "control-owner": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "custom": "11111111-2222-3333-4444-555555555555",
}
_OIDS = {
    "$ADA": "00000000-0000-0000-0000-00000000000a",
    "$BEN": "00000000-0000-0000-0000-00000000000b",
    "$ENG": "00000000-0000-0000-0000-0000000000c1",
    "$OPS": "00000000-0000-0000-0000-0000000000c2",
}
_PASS = "user::rwx,group::--x,mask::rwx,other::--x"


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def drive_export(items: Sequence[Mapping[str, object]], **more: object) -> dict[str, object]:
    return {"format": "drive", "fields": {"files": "*", "permissions": "*"}, "items": list(items), **more}


def adls_path(
    path: str, acl: str, owner: str = "ff", group: str = "ee", *, folder: bool = False
) -> dict[str, object]:
    access = {"acl": acl, "owner": oid(owner), "group": oid(group), "permissions": "rwxr-x---+"}
    return {"path": path, "directory": folder, "access": access}


def oid(tail: str) -> str:
    return tail if tail.startswith("$") else tail.rjust(12, "0").join(("00000000-0000-0000-0000-", ""))


def role(principal: str, kind: str, name: str, scope: str = CONTAINER, **more: object) -> dict[str, object]:
    definition = f"{CONTAINER[:51]}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[name]}"
    return {
        "principalId": principal, "principalType": kind, "roleDefinitionId": definition, "scope": scope,
        "roleDefinitionName": name, "condition": None, **more,
    }  # fmt: skip


def adls_export(paths: Sequence[Mapping[str, object]], **more: object) -> dict[str, object]:
    base: dict[str, object] = {"format": "adls", "container": CONTAINER, "paths": list(paths)}
    return base | {"role_assignments": [], "deny_assignments": []} | more


def prefix_export(acl: object, keys: Sequence[str], **more: object) -> dict[str, object]:
    contents = [{"Key": key, "Size": 1, "ETag": '"0"'} for key in keys]
    listing = {"Contents": contents, "IsTruncated": False, "Name": "acme"}
    return {"format": "prefix", "bucket": "acme", "listing": listing, "acl": acl, **more}


def drive_row(read: Read, case: Case) -> NativePermissions | ItemProblem:
    file = {"id": "f1", "name": "a.md", "mimeType": "text/markdown", **_mapping(case.raw.get("file", {}))}
    item: dict[str, object] = {"path": "a.md", "file": file}
    if "permissions" in case.raw:
        item["permission_pages"] = [{"kind": "drive#permissionList", "permissions": case.raw["permissions"]}]
    more: dict[str, object] = {"drives": [case.raw["drive"]]} if "drive" in case.raw else {}
    if "domains" in case.raw:
        more["organization_domains"] = case.raw["domains"]
    return read(encoded(drive_export([item], **more)), "drive.json").items["a.md"]


def adls_row(read: Read, case: Case) -> NativePermissions | ItemProblem:
    def filled(key: str, default: str) -> str:
        text = str(case.raw.get(key, default))
        for name, value in _OIDS.items():
            text = text.replace(name, value)
        return text

    def one(path: str, key: str, default: str, *, folder: bool) -> dict[str, object]:
        named = key == "file"
        access = {
            "acl": filled(key, default),
            "owner": filled("owner", oid("ff")) if named else oid("ff"),
            "group": filled("group", oid("ee")) if named else oid("ee"),
        }
        return {"path": path, "directory": folder, "access": access}

    paths = [
        one("/", "top", _PASS, folder=True),
        one("hr", "folder", _PASS, folder=True),
        one("hr/a.md", "file", "", folder=False),
    ]
    given = case.raw.get("roles", [])
    assert isinstance(given, list)
    roles: list[dict[str, object]] = []
    for raw in given:
        extra = {k: v for k, v in raw.items() if k == "condition"}
        scope = CONTAINER + "-old" if raw.get("scope") == "another" else CONTAINER
        roles.append(role(_OIDS[raw["principalId"]], raw["principalType"], raw["role"], scope, **extra))
    denied = case.raw.get("deny_assignments", [])
    export = adls_export(paths, role_assignments=roles, deny_assignments=denied)
    return read(encoded(export), "adls.json").items["hr/a.md"]


def prefix_row(read: Read, case: Case) -> NativePermissions | ItemProblem:
    acl = [
        {"keyPrefix": f"s3://acme/{prefix}", "aclEntries": [_short(x) for x in entries]}
        for prefix, entries in _mapping(case.raw["acl"]).items()
        if isinstance(entries, list)
    ]
    key = str(case.raw["key"])
    return read(encoded(prefix_export(acl, [key])), "acl.json").items[key]


def unnoticed(
    module: ModuleType,
    replacements: Sequence[tuple[str, str]],
    row: Callable[[Read, Case], NativePermissions | ItemProblem],
    table: str,
) -> bool:
    """Whether a reader with changed source still agrees with every row of its table."""
    read = mutant(module, replacements).read
    try:
        return all(x.agrees(row(read, x), NOW) is None for x in load_cases(GOLDEN / table))
    except (SecureRagError, KeyError, TypeError, AttributeError, IndexError):
        return False  # it fails instead of answering


def mutant(module: ModuleType, replacements: Sequence[tuple[str, str]]) -> ModuleType:
    """A module made of another one's source with replacements; every left side must occur."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in source, f"{module.__name__} no longer holds: {old}"
        source = source.replace(old, new)
    changed = ModuleType("mutated_format")
    sys.modules[changed.__name__] = changed
    try:
        exec(compile(source, changed.__name__, "exec"), changed.__dict__)  # noqa: S102 -- our own source, changed
    finally:
        del sys.modules[changed.__name__]
    return changed


def _short(entry: object) -> object:
    if not isinstance(entry, str):
        return entry
    access = "ALLOW" if entry[0] == "+" else "DENY"
    if entry[1] == "u":
        return {"Name": f"{entry[3:]}@acme.example", "Type": "USER", "Access": access}
    return {"Name": entry[3:], "Type": "GROUP", "Access": access}


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value
