"""Prefix access files: the table of cases decided by hand, and files that cannot be trusted."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from secure_rag_acl.formats.prefix_acl import read
from tests.support.exported import GOLDEN, NOW, encoded, prefix_export, prefix_row
from tests.support.golden_exports import Case, load_cases
from tests.support.native_readers import may_read

CASES = load_cases(GOLDEN / "prefix_acl.yaml")
ADA = {"Name": "ada@acme.example", "Type": "USER", "Access": "ALLOW"}
HR = {"keyPrefix": "s3://acme/hr/", "aclEntries": [ADA]}


def _permissions(result: object) -> NativePermissions:
    assert isinstance(result, NativePermissions)
    return result


@pytest.mark.parametrize("case", CASES, ids=[x.id for x in CASES])
def test_a_case_decided_by_hand(case: Case) -> None:
    assert case.agrees(prefix_row(read, case), NOW) is None


def test_the_table_is_large_enough() -> None:
    assert len(CASES) >= 12


def test_an_entry_says_where_it_stands_and_what_it_is() -> None:
    found = _permissions(read(encoded(prefix_export([HR], ["hr/a.md"])), "s3.json").items["hr/a.md"])
    (entry,) = found.locks[0].allow
    assert entry.place == "s3.json#/acl/0/aclEntries/0"
    assert entry.entry == '{"Name":"ada@acme.example","Type":"USER","Access":"ALLOW"}'
    assert (entry.principal.name, entry.principal.mail) == (
        "prefix-user:ada@acme.example",
        "ada@acme.example",
    )
    assert not found.narrowed


def test_a_prefix_may_be_written_without_its_bucket() -> None:
    bare = {"keyPrefix": "hr/", "aclEntries": [ADA]}
    assert (
        _permissions(read(encoded(prefix_export([bare], ["hr/a.md"])), "s3.json").items["hr/a.md"])
        .locks[0]
        .allow
    )


def test_paths_are_relative_to_the_root_and_prefixes_to_the_bucket() -> None:
    keys = ["hr/a.md", "hr/b/c.md", "hr/b/", "wiki/a.md"]
    dump = read(encoded(prefix_export([HR], keys, root="hr/")), "s3.json")
    assert list(dump.items) == ["a.md", "b/c.md"]
    assert all(_permissions(x).locks[0].allow for x in dump.items.values())


def test_objects_below_the_same_prefixes_share_their_permissions() -> None:
    dump = read(encoded(prefix_export([HR], ["hr/a.md", "hr/b.md"])), "s3.json", Limits(max_entries=1))
    assert dump.items["hr/a.md"] is dump.items["hr/b.md"]


@pytest.mark.parametrize("key", ["hr//a.md", "/hr/a.md", "hr/../a.md", "hr/a\u0000.md"])
def test_a_key_that_is_no_path_withholds_itself(key: str) -> None:
    dump = read(encoded(prefix_export([HR], [key, "hr/b.md"])), "s3.json")
    assert [type(x) for x in dump.items.values()] == [ItemProblem, NativePermissions]


def test_a_key_listed_twice_is_withheld() -> None:
    dump = read(encoded(prefix_export([HR], ["hr/a.md", "hr/a.md"])), "s3.json")
    assert [type(x) for x in dump.items.values()] == [ItemProblem]


@pytest.mark.parametrize(
    ("acl", "why"),
    [
        ([HR, HR], "the prefix 'hr/' occurs twice"),
        ([HR, {"keyPrefix": "hr/", "aclEntries": []}], "the prefix 'hr/' occurs twice"),
        ([HR | {"aclEntries": [ADA, ADA]}], "prefix-user:ada@acme.example ALLOW occurs twice"),
        ([HR | {"aclEntries": [ADA, ADA | {"Name": "Ada@acme.example"}]}], "occurs twice"),
        (
            [HR | {"aclEntries": [{"Name": x, "Type": "GROUP", "Access": "ALLOW"} for x in ("eng", "Eng")]}],
            "is spelt",
        ),
        ([HR | {"keyPrefix": "s3://other/hr/"}], "a prefix of another bucket"),
        ([HR | {"keyPrefix": 1}], "must be text"),
        ([{"aclEntries": []}], "'keyPrefix' is missing"),
        ([{"keyPrefix": "hr/"}], "'aclEntries' is missing"),
        ([HR | {"aclEntries": {}}], "must be a list"),
        ({"hr/": []}, "must be a list"),
    ],
)
def test_an_access_file_that_is_none_is_refused(acl: object, why: str) -> None:
    with pytest.raises(ConfigError, match=r"s3.json#/acl.*") as caught:
        read(encoded(prefix_export(acl, ["hr/a.md"])), "s3.json")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        "ada",
        {},
        ADA | {"Name": ""},
        ADA | {"Name": 7},
        ADA | {"Name": " ada@acme.example"},
        ADA | {"Name": "ada\n@acme.example"},
        ADA | {"Name": "\u212aai@acme.example"},
        ADA | {"Access": None},
        ADA | {"Access": "allow"},
        {"Name": "x", "Type": None, "Access": "DENY"},
    ],
)
def test_an_entry_that_cannot_be_read_closes_its_prefix(entry: object) -> None:
    acl = [HR | {"aclEntries": [ADA, entry]}, {"keyPrefix": "wiki/", "aclEntries": [ADA]}]
    dump = read(encoded(prefix_export(acl, ["hr/a.md", "wiki/a.md"])), "s3.json")
    (closure,) = _permissions(dump.items["hr/a.md"]).locks[0].closed
    assert closure.place == "s3.json#/acl/0/aclEntries/1"
    assert not _permissions(dump.items["wiki/a.md"]).locks[0].closed


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"listing": {"Contents": [], "IsTruncated": True}}, "not complete"),
        ({"listing": {"Contents": [], "NextToken": "t"}}, "not complete"),
        ({"listing": []}, "must be an object"),
        ({"listing": {"Contents": [{}]}}, "'Key' is missing"),
        ({"listing": {"Contents": [{"Key": 1}]}}, "must be text"),
        ({"root": "hr"}, "must end with /"),
        ({"bukcet": "x"}, "unknown field 'bukcet'"),
        ({"format": "prefix-acl/9"}, "must be 'prefix'"),
    ],
)
def test_an_export_that_is_none_is_refused(more: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=r"s3.json#.*") as caught:
        read(encoded(prefix_export([HR], []) | more), "s3.json")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (encoded(prefix_export([HR], []))[:-1], "not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (bytes(100 << 20), "larger than"),
    ],
)
def test_what_is_no_export_at_all_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        read(data, "s3.json")


def test_limits_fail_the_source_and_cut_nothing() -> None:
    data = encoded(prefix_export([HR, {"keyPrefix": "it/", "aclEntries": [ADA]}], ["hr/a.md", "it/a.md"]))
    with pytest.raises(ConfigError, match="more than 1 items"):
        read(data, "s3.json", Limits(max_items=1))
    with pytest.raises(ConfigError, match="more than 1 entries"):
        read(data, "s3.json", Limits(max_entries=1))
    assert len(read(data, "s3.json", Limits(max_entries=2)).items) == 2


def test_nested_prefixes_do_not_multiply() -> None:
    """Every level has its own denies and every object collects those of all levels above it."""
    acl = [
        {
            "keyPrefix": "d/" * n,
            "aclEntries": [ADA | {"Name": f"p{n}x{m}", "Access": "DENY"} for m in range(50)],
        }
        for n in range(1, 41)
    ]
    keys = ["d/" * n + "a.md" for n in range(1, 41)]
    with pytest.raises(ConfigError, match="more than 10000 entries"):
        read(encoded(prefix_export(acl, keys)), "s3.json", Limits(max_entries=10_000))


def test_prefixes_with_too_many_entries_together_withhold_what_is_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("secure_rag_acl.formats.prefix_acl.MAX_LOCK_ENTRIES", 1)
    both = [HR, {"keyPrefix": "hr/x/", "aclEntries": [ADA]}]
    dump = read(encoded(prefix_export(both, ["hr/x/a.md", "hr/a.md"])), "s3.json")
    assert isinstance(dump.items["hr/x/a.md"], ItemProblem)
    assert isinstance(dump.items["hr/a.md"], NativePermissions)


def test_the_example_is_read() -> None:
    path = Path(__file__).parents[4] / "acl/examples/prefix_acl/export.json"
    dump = read(path.read_bytes(), path.name)
    ada = {"prefix-user:ada.marsh@acme.example", "prefix-group:staff"}
    assert [may_read(_permissions(x), ada, NOW) for x in dump.items.values()] == [True, True, False]
    assert not any(
        may_read(_permissions(x), ada | {"prefix-group:contractors"}, NOW) for x in dump.items.values()
    )
