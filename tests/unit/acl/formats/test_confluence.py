"""Confluence exports: cases decided by hand, and traps one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.locks import MAX_LOCKS
from secure_rag_acl.formats.confluence import read
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from tests.controls import control
from tests.support.confluence_world import EMPTY, GOLDEN, case_problem

CASES: list[dict[str, Any]] = GOLDEN["cases"]
HR = GOLDEN["answers"]["hr"]
VIEW = {"operation": "read", "targetType": "space"}
ALL = {"key": "S", **GOLDEN["answers"]["all"]}


def export(content: list[Any], spaces: list[Any] | None = None, **more: Any) -> bytes:
    built = {
        "format": "confluence",
        "spaces": [ALL] if spaces is None else spaces,
        "content": content,
        **more,
    }
    return json.dumps(built).encode()


def page(key: Any, parent: Any = None, path: str | None = None, restrictions: Any = EMPTY) -> dict[str, Any]:
    named = {} if path is None else {"path": path}
    return {"id": key, "space": "S", "parent": parent, "restrictions": restrictions, **named}


def permissions(data: bytes, path: str = "p") -> NativePermissions:
    found = read(data, "c.json").items[path]
    assert isinstance(found, NativePermissions), found
    return found


def complaint(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(data, "c.json", *([] if limits is None else [limits]))
    assert str(caught.value).startswith("c.json")
    return str(caught.value)


@control("acl:confluence-subset")
@pytest.mark.parametrize("case", CASES, ids=[x["id"] for x in CASES])
def test_cases_decided_by_hand(case: dict[str, Any]) -> None:
    assert case_problem(read, case) is None


def test_there_are_enough_cases_each_with_a_reason() -> None:
    assert len(CASES) >= 25
    assert len({x["id"] for x in CASES}) == len(CASES)
    assert all(x["why"].endswith(".") for x in CASES)


def test_entries_say_where_they_stand() -> None:
    found = permissions(export([page(1, restrictions=HR), page(2, 1, "p")]))
    assert [x.what for x in found.locks] == ["space S", "page 1"]
    entry = found.locks[1].allow[0]
    assert entry.place == "c.json#/content/0/restrictions/restrictions/group/results/0"
    assert json.loads(entry.entry) == {"type": "group", "name": "hr", "id": "G-1"}
    assert (entry.principal.name, entry.principal.object_id) == ("confluence-group:hr", "g-1")


def test_mail_and_name_of_a_user_are_kept_for_people() -> None:
    user = {"type": "known", "accountId": "5b10", "email": "Ada@Acme.example", "displayName": "Ada Marsh"}
    answer = json.loads(json.dumps(EMPTY))
    answer["restrictions"]["user"].update(results=[user], size=1)
    principal = permissions(export([page(1, path="p", restrictions=answer)])).locks[1].allow[0].principal
    assert (principal.mail, principal.display, principal.broad) == ("ada@acme.example", "Ada Marsh", False)


def test_anonymous_access_is_broad() -> None:
    space = {
        "key": "S",
        "data_center": [],
        "anonymous": [{"operation": {"operationKey": "read", "targetType": "space"}}],
    }
    found = permissions(export([page(1, path="p")], [space], anonymous_use=True))
    assert found.locks[0].allow[0].principal.broad


def test_the_time_of_the_export_is_kept() -> None:
    assert read(export([], exported_at="2026-11-20T02:00:00Z"), "c.json").as_of == 1_795_140_000_000_000
    assert read(export([]), "c.json").as_of is None


def test_one_bad_page_leaves_the_others() -> None:
    dump = read(export([page(1, path="bad", restrictions={"statusCode": 404}), page(2, path="p")]), "c.json")
    assert isinstance(dump.items["bad"], ItemProblem)
    assert isinstance(dump.items["p"], NativePermissions)


def test_unknown_fields_of_the_provider_are_accepted() -> None:
    grown = json.loads(json.dumps(HR))
    grown["new"] = {"x": [1]}
    grown["restrictions"]["group"]["results"][0]["managedBy"] = "EXTERNAL"
    assert len(permissions(export([page(1, path="p", restrictions=grown)])).locks) == 2


def test_entries_of_one_name_are_one_entry() -> None:
    answer = json.loads(json.dumps(HR))
    answer["restrictions"]["group"].update(results=[{"type": "group", "name": "hr"}] * 2, size=2)
    assert len(permissions(export([page(1, path="p", restrictions=answer)])).locks[1].allow) == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not valid JSON"),
        (export([page(1, path="p")])[:-7], "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"format": "confluence", "format": "confluence"}', "occurs twice"),
        (b'{"format": "graph", "spaces": [], "content": []}', "must be 'confluence'"),
        (b'{"spaces": [], "content": []}', "'format' is missing"),
        (export([], surprise=1), "unknown field 'surprise'"),
        (export([], [{"key": "S", "data_center": [], "more": 1}]), "c.json#/spaces/0: unknown field 'more'"),
        (export([{**page(1), "deny": []}]), "c.json#/content/0: unknown field 'deny'"),
        (export([{"id": 1, "space": "S", "restrictions": EMPTY}]), "'parent' is missing"),
        (export([{"space": "S", "parent": None, "restrictions": EMPTY}]), "'id' is missing"),
        (export([{"id": 1, "parent": None, "restrictions": EMPTY}]), "'space' is missing"),
        (export([page(True)]), "c.json#/content/0/id"),
        (export([page(1, path="/p")]), "must be relative"),
        (export([page(1, path="a/../p")]), "must be relative"),
        (export([page(1, path="a//p")]), "must be relative"),
        (export({}), "c.json#/content: must be a list"),  # type: ignore[arg-type] # the wrong type is what is tested
        (export([], exported_at="yesterday"), "not a date or time"),
        (export([], exported_at=7), "not a date or time"),
        (export([], anonymous_use="yes"), "must be true or false"),
        (export([], users=[{"username": "a"}]), "'userKey' is missing"),
        (export([], groups=[{"id": "1", "name": "a"}, {"id": "1", "name": "b"}]), "belong to another entry"),
        (export([], groups=[{"id": "1", "name": "a"}, {"id": "2", "name": "a"}]), "belong to another entry"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"format": "confluence", "spaces": [], "content": [NaN]}', "NaN"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)  # fmt: skip
def test_a_malformed_export_is_refused_as_a_whole(data: bytes, said: str) -> None:
    assert said in complaint(data)


@pytest.mark.parametrize(
    "restrictions",
    [
        7, "read", [], [7], {}, {"operation": "read"}, {"operation": "read", "restrictions": []},
        {"operation": "read", "restrictions": {"user": EMPTY["restrictions"]["user"]}},
        {"operation": "read", "restrictions": {"user": {"results": []}, "group": {"results": []}}},
        {"errors": [{"status": 403}]},
        {"read": {"statusCode": 403}},
    ],
)  # fmt: skip
def test_a_malformed_answer_withholds_its_page(restrictions: object) -> None:
    assert isinstance(
        read(export([page(1, path="p", restrictions=restrictions)]), "c.json").items["p"], ItemProblem
    )


@pytest.mark.parametrize(
    "change",
    [
        {"size": 2}, {"size": 0}, {"limit": 0, "size": 1}, {"start": 1}, {"start": "0"}, {"limit": 1.5}, {"size": True},
        {"results": {}}, {"results": [7]}, {"results": [None]}, {"results": [{"type": "group", "name": ""}]},
        {"results": [{"type": "group", "name": 7}]}, {"results": [{"type": "group"}]},
    ],
)  # fmt: skip
def test_a_list_that_contradicts_itself_withholds_its_page(change: dict[str, object]) -> None:
    answer = json.loads(json.dumps(HR))
    answer["restrictions"]["group"].update(change)
    found = read(export([page(1, path="p", restrictions=answer)]), "c.json").items["p"]
    assert isinstance(found, ItemProblem), found


@pytest.mark.parametrize(
    "space",
    [
        {}, {"cloud_v2": {"results": []}}, {"cloud_v2": {"_links": {}}}, {"cloud_v2": []}, {"cloud_v1": {}},
        {"cloud_v1": [{"operation": VIEW, "subjects": {"user": {"results": [], "size": 1}}}]},
        {"data_center": {"results": []}}, {"data_center": [{"subject": {"type": "user"}}]},
        {"data_center": [{"operation": {"operationKey": "read", "targetType": "space"}, "subject": {"type": "user"}}]},
        {"json_rpc": {"error": {"code": 401}}}, {"json_rpc": 7}, {"data_center": [], "json_rpc": []},
        {"data_center": [], "anonymous": {"statusCode": 404}},
    ],
)  # fmt: skip
def test_a_malformed_space_withholds_what_is_in_it(space: dict[str, object]) -> None:
    found = read(export([page(1, path="p")], [{"key": "S", **space}]), "c.json").items["p"]
    assert isinstance(found, ItemProblem), found


def test_a_space_twice_is_nobodys() -> None:
    found = read(export([page(1, path="p")], [ALL, {**ALL}]), "c.json").items["p"]
    assert isinstance(found, ItemProblem)
    assert "occurs twice" in found.why


def test_an_export_over_the_size_limit_is_not_taken_apart() -> None:
    assert "larger than 10 bytes" in complaint(b"{" * 100, Limits(max_bytes=10))


def test_a_hundred_megabytes_are_refused() -> None:
    assert "larger than" in complaint(b" " * (100 << 20))


def test_too_many_items_or_entries_fail_the_source() -> None:
    assert "more than 1 items" in complaint(export([page(1), page(2)]), Limits(max_items=1))
    assert "more than 1 entries" in complaint(export([page(1, restrictions=HR)]), Limits(max_entries=1))


def test_entries_that_grant_nothing_are_not_copied_without_end() -> None:
    unknown = json.loads(json.dumps(EMPTY))
    unknown["restrictions"]["user"].update(results=[{"type": "unknown", "accountId": "x"}] * 3, size=3)
    assert "that grant nothing" in complaint(chain(4, unknown), Limits(max_entries=20))
    assert len(read(chain(4, unknown), "c.json", Limits(max_entries=40)).items) == 4


def test_a_problem_far_up_is_told_once() -> None:
    broken = page(1, restrictions={"statusCode": 403})
    found = read(export([broken, *(page(n, n - 1, f"p{n}") for n in range(2, 9))]), "c.json").items["p8"]
    assert isinstance(found, ItemProblem)
    assert found.why.count("above it") == 1


def chain(length: int, restrictions: object = EMPTY) -> bytes:
    return export([page(n, n - 1 or None, f"p{n}", restrictions) for n in range(1, length + 1)])


def test_a_tree_that_is_too_deep_withholds_what_is_too_deep() -> None:
    items = read(chain(5), "c.json", Limits(max_depth=2)).items
    assert [isinstance(items[f"p{n}"], ItemProblem) for n in range(1, 6)] == [False, False, False, True, True]


def test_more_restricted_ancestors_than_locks_withhold_the_page() -> None:
    items = read(chain(MAX_LOCKS, HR), "c.json", Limits(max_depth=100)).items
    assert isinstance(items[f"p{MAX_LOCKS - 1}"], NativePermissions)
    assert isinstance(items[f"p{MAX_LOCKS}"], ItemProblem)


def test_a_long_chain_costs_no_stack() -> None:
    pages = [page(n, n + 1 if n < 9_999 else None) for n in range(10_000)]
    found = read(export([*pages, page("x", 0, "p")]), "c.json").items["p"]
    assert isinstance(found, ItemProblem)
    assert "ancestors" in found.why


def test_siblings_of_a_cycle_are_read() -> None:
    items = read(
        export([page(1, 2, "a"), page(2, 1, "b"), page(3, 1, "c"), page(4, None, "d")]), "c.json"
    ).items
    assert [isinstance(items[x], ItemProblem) for x in "abcd"] == [True, True, True, False]


def test_the_example_comes_to_what_the_page_says() -> None:
    data = (Path(__file__).parents[4] / "acl/examples/confluence/export.json").read_bytes()
    items = read(data, "export.json").items
    locks = {path: len(x.locks) for path, x in items.items() if isinstance(x, NativePermissions)}
    assert locks == {"handbook/index.html": 1, "handbook/pay/bands.html": 2, "handbook/pay/bands.xlsx": 2}
    assert isinstance(items["handbook/draft.html"], ItemProblem)
