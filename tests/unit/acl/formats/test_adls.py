"""ADLS exports: the table of cases decided by hand, and exports that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.adls import read
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from tests.support.exported import (
    CONTAINER,
    GOLDEN,
    NOW,
    adls_export,
    adls_path,
    adls_row,
    encoded,
    oid,
    role,
)
from tests.support.golden_exports import Case, load_cases
from tests.support.native_readers import may_read

CASES = load_cases(GOLDEN / "adls.yaml")
PASS = "user::rwx,group::--x,other::--x"
OPEN = "user::rwx,group::r--,other::r--"
TOP = adls_path("/", PASS, folder=True)


def _problem(result: object) -> str:
    assert isinstance(result, ItemProblem)
    return result.why


@pytest.mark.parametrize("case", CASES, ids=[x.id for x in CASES])
def test_a_case_decided_by_hand(case: Case) -> None:
    assert case.agrees(adls_row(read, case), NOW) is None


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 12


def test_an_entry_says_where_it_stands_and_what_it_is() -> None:
    acl = f"user::rwx,user:{oid('aB')}:r--,group::---,mask::r--,other::---"
    dump = read(encoded(adls_export([TOP, adls_path("a.md", acl)])), "lake.json")
    found = dump.items["a.md"]
    assert isinstance(found, NativePermissions)
    assert [x.what for x in found.locks] == ["folder /", "file a.md"]
    entry = found.locks[1].allow[1]
    assert entry.place == "lake.json#/paths/1/access/acl"
    assert entry.entry == f"user:{oid('ab')}:r--"
    assert entry.principal.name == f"adls-user:{oid('ab')}"
    assert entry.principal.object_id == oid("ab")
    assert [x.principal.broad for x in found.locks[0].allow] == [False, False, True]


def test_a_folder_that_is_missing_or_broken_withholds_what_is_below() -> None:
    paths = [
        TOP,
        adls_path("bad", "user::rwx", folder=True),
        adls_path("file", OPEN),
        adls_path("twice", PASS, folder=True),
        adls_path("twice", PASS, folder=True),
        *(adls_path(f"{folder}/a.md", OPEN) for folder in ("gone", "bad", "file", "twice")),
        adls_path("bad/b.md", OPEN),
        adls_path("good.md", OPEN),
    ]
    dump = read(encoded(adls_export(paths)), "lake.json")
    assert "'gone' above it is not in the export" in _problem(dump.items["gone/a.md"])
    assert "group:: is missing" in _problem(dump.items["bad/a.md"])
    assert "group:: is missing" in _problem(dump.items["bad/b.md"])
    assert "is no folder" in _problem(dump.items["file/a.md"])
    assert "occurs twice" in _problem(dump.items["twice/a.md"])
    assert isinstance(dump.items["good.md"], NativePermissions)


def test_without_the_root_of_the_container_nothing_opens() -> None:
    dump = read(encoded(adls_export([adls_path("a.md", OPEN)])), "lake.json")
    assert "'/' above it is not in the export" in _problem(dump.items["a.md"])


def test_folders_above_the_root_of_the_source_guard_too() -> None:
    paths = [TOP, adls_path("hr", PASS, folder=True), adls_path("hr/a.md", OPEN), adls_path("it/a.md", OPEN)]
    dump = read(encoded(adls_export(paths, root="hr")), "lake.json")
    assert list(dump.items) == ["a.md"]
    found = dump.items["a.md"]
    assert isinstance(found, NativePermissions)
    assert [x.what for x in found.locks] == ["folder /", "folder hr", "file hr/a.md"]


@pytest.mark.parametrize(
    ("acl", "why"),
    [
        ("", "not an entry"),
        ("user::rwx,group::r--", "other:: is missing"),
        ("user::rwx,group::r--,other::r--,other::---", "occurs twice"),
        (
            f"user::rwx,user:{oid('a')}:r--,user:{oid('A')}:---,group::---,mask::rwx,other::---",
            "occurs twice",
        ),
        ("user::rw,group::r--,other::r--", "not an entry"),
        ("user::rwx,group::r--,other::r--,everyone::r--", "not an entry"),
        ("user::rwx,group::r--,other:x:r--", "not an entry"),
        ("user::rwx, group::r--,other::r--", "not an entry"),
        ("user::rwx,group::r--,other::r--,default:default:user::rwx", "not an entry"),
        ("user::RWX,group::r--,other::r--", "not an entry"),
        ("user::rwx,group::r--,other::r-T", "not an entry"),
        ("user::rwx,group::r--,other::r--,", "not an entry"),
        ("user::rwx,group::r--,other::r--\n", "control characters"),
    ],
)
def test_a_broken_acl_withholds_its_file_only(acl: str, why: str) -> None:
    paths = [TOP, adls_path("bad.md", acl), adls_path("good.md", OPEN)]
    dump = read(encoded(adls_export(paths)), "lake.json")
    assert why in _problem(dump.items["bad.md"])
    assert isinstance(dump.items["good.md"], NativePermissions)


def test_an_owner_that_is_no_object_id_withholds_the_file() -> None:
    broken = adls_path("a.md", OPEN)
    broken["access"] = {"acl": OPEN, "owner": "ada@acme.example", "group": oid("e")}
    headless = adls_path("b.md", OPEN)
    headless["access"] = {"acl": OPEN}
    dump = read(encoded(adls_export([TOP, broken, headless])), "lake.json")
    assert "is no object id" in _problem(dump.items["a.md"])
    assert "'owner' is missing" in _problem(dump.items["b.md"])


def test_two_entries_for_one_path_withhold_it() -> None:
    dump = read(encoded(adls_export([TOP, adls_path("a.md", OPEN), adls_path("a.md", OPEN)])), "lake.json")
    assert "occurs twice" in _problem(dump.items["a.md"])


@pytest.mark.parametrize(
    ("assignment", "opens", "narrowed"),
    [
        (role(oid("a"), "User", "reader"), True, False),
        (role(oid("a"), "ServicePrincipal", "owner"), True, False),
        (role(oid("a"), "User", "reader", scope="/"), True, False),
        (role(oid("a"), "User", "reader", scope=CONTAINER.upper().rpartition("/BLOBSERVICES")[0]), True, False),
        (role(oid("a"), "User", "reader", scope=CONTAINER[:-1]), False, False),
        (role(oid("a"), "User", "reader", scope="/providers/Microsoft.Management/managementGroups/top"), False, True),
        (role(oid("a"), "User", "reader", scope=""), False, True),
        (role(oid("a"), "User", "custom"), False, True),
        (role(oid("a"), "Device", "reader"), False, True),
        (role("", "User", "reader"), False, True),
        (role(oid("a"), "User", "control-owner"), False, False),
    ],
)  # fmt: skip
def test_role_assignments(assignment: dict[str, object], opens: bool, narrowed: bool) -> None:
    closed = adls_path("a.md", "user::rwx,group::r--,other::---")
    dump = read(encoded(adls_export([TOP, closed], role_assignments=[assignment])), "lake.json")
    found = dump.items["a.md"]
    assert isinstance(found, NativePermissions)
    named = [any(x.principal.name == f"adls-user:{oid('a')}" for x in lock.allow) for lock in found.locks]
    assert named == [opens, opens]
    assert bool(found.narrowed) is narrowed


@pytest.mark.parametrize(
    ("export", "why"),
    [
        ({"format": "adls", "container": CONTAINER, "paths": []}, "'deny_assignments' is missing"),
        (adls_export([], rbac=[]), "unknown field 'rbac'"),
        (adls_export([adls_path("a", OPEN) | {"sticky": True}]), "unknown field 'sticky'"),
        (adls_export([adls_path("a", OPEN) | {"directory": "no"}]), "must be true or false"),
        (adls_export([adls_path("a", OPEN) | {"path": None}]), "'path' is missing"),
        (adls_export([], container="handbook"), "must be the resource id"),
        (adls_export([], root="/hr"), "not a path"),
        (adls_export([], role_assignments=["x"]), "must be an object"),
        (adls_export([]) | {"paths": {}}, "must be a list"),
    ],
)
def test_an_export_that_is_none_is_refused(export: object, why: str) -> None:
    with pytest.raises(ConfigError, match=r"lake.json#.*") as caught:
        read(encoded(export), "lake.json")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encoded(adls_export([TOP]))[:-3], "not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (bytes(100 << 20), "larger than"),
    ],
)
def test_what_is_no_export_at_all_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(data, "lake.json")


def test_limits_fail_the_source_and_folders_count_once() -> None:
    data = encoded(adls_export([TOP, *(adls_path(f"{n}.md", OPEN) for n in range(10))]))
    with pytest.raises(ConfigError, match="more than 9 items"):
        read(data, "lake.json", Limits(max_items=9))
    with pytest.raises(ConfigError, match="more than 32 entries"):
        read(data, "lake.json", Limits(max_entries=32))
    assert len(read(data, "lake.json", Limits(max_entries=33)).items) == 10


def test_more_folders_than_locks_withhold_the_file() -> None:
    folders = [adls_path("/".join("f" * n), PASS, folder=True) for n in range(1, 71)]
    deep = ["/".join("f" * n) + "/a.md" for n in (62, 63, 70)]
    dump = read(encoded(adls_export([TOP, *folders, *(adls_path(x, OPEN) for x in deep)])), "lake.json")
    assert [type(dump.items[x]) for x in deep] == [NativePermissions, ItemProblem, ItemProblem]


def test_the_example_is_read() -> None:
    path = Path(__file__).parents[4] / "acl/examples/adls/export.json"
    (found,) = read(path.read_bytes(), path.name).items.values()
    assert isinstance(found, NativePermissions)
    tail = "3c000000-0000-4000-8000-0000000000"
    member = {f"adls-group:{tail}c1", "adls-other"}
    assert may_read(found, {f"adls-user:{tail}0c"} | member, NOW)
    assert not may_read(found, {f"adls-user:{tail}0b"} | member, NOW)
    assert may_read(found, {f"adls-group:{tail}d1"}, NOW)
