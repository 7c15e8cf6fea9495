"""A Confluence in small: who may really read a page, and exports of it as its APIs give them, with or without gaps.

The rule is Atlassian's: whoever may view the space and is named, alone or by a group, by the read restriction of the
page and of each of its ancestors that has one. It is stated here over sets, from nothing of the product.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from secure_rag_acl.formats.native import ItemProblem, NativePermissions, PermissionDump
from tests.support.native_readers import may_read

Read = Callable[[bytes, str], PermissionDump]
GOLDEN: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "unit/acl/formats/golden/confluence.yaml").read_text(encoding="utf-8")
)
EMPTY: dict[str, Any] = GOLDEN["answers"]["none"]
USERS = ("u1", "u2")
GROUPS = ("g1", "g2", "g3")
EVERYBODY_ON_THE_WEB = "confluence-anonymous"
SUBJECTS = (*(("user", x) for x in USERS), *(("group", x) for x in GROUPS))
STYLES = ("cloud_v2", "cloud_v1", "data_center", "json_rpc")
FAULTS = (
    "none",
    "none",
    "none",
    "ancestor missing",
    "error",
    "cut off",
    "not expanded",
    "cycle",
    "unknown account",
)


@dataclass(frozen=True)
class World:
    """One space, and a tree in which page n stands below `parents[n]`."""

    viewers: frozenset[tuple[str, str]]
    anonymous: bool
    site_anonymous: bool
    parents: tuple[int | None, ...]
    restrictions: tuple[frozenset[tuple[str, str]], ...]
    style: str
    fault: str
    at: int
    paging: int


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world and how it is exported."""
    count = draw(st.integers(1, 6))
    subjects = st.frozensets(st.sampled_from(SUBJECTS), max_size=4)
    restricted = st.one_of(
        st.just(frozenset[tuple[str, str]]()), st.frozensets(st.sampled_from(SUBJECTS), min_size=2)
    )
    return World(
        viewers=draw(subjects),
        anonymous=draw(st.booleans()),
        site_anonymous=draw(st.booleans()),
        parents=tuple(
            None if n == 0 else draw(st.sampled_from([None, *range(n), n - 1])) for n in range(count)
        ),
        restrictions=tuple(draw(restricted) for _ in range(count)),
        style=draw(st.sampled_from(STYLES)),
        fault=draw(st.sampled_from(FAULTS)),
        at=draw(st.integers(0, count - 1)),
        paging=draw(st.sampled_from((100, 100, 2, 1))),
    )


def truly_reads(world: World, page: int, caller: frozenset[str]) -> bool:
    """The source's own answer. Callers are sets of names, as `user:u1`; `anonymous` is an unknown visitor."""
    seen = any(f"{kind}:{name}" in caller for kind, name in world.viewers)
    if not seen and not (world.anonymous and world.site_anonymous and "anonymous" in caller):
        return False
    at: int | None = page
    while at is not None:
        wanted = world.restrictions[at]
        if wanted and not any(f"{kind}:{name}" in caller for kind, name in wanted):
            return False
        at = world.parents[at]
    return True


def callers() -> list[frozenset[str]]:
    """A user with any groups, known to the site or not."""
    mixes = chain.from_iterable(combinations(GROUPS, n) for n in range(len(GROUPS) + 1))
    groups = [frozenset(f"group:{x}" for x in mix) for mix in mixes]
    people = [*(frozenset({f"user:{x}"}) for x in USERS), frozenset[str]()]
    return [a | b | c for a in people for b in groups for c in (frozenset[str](), frozenset({"anonymous"}))]


# ---- exports


def _user(name: str) -> dict[str, object]:
    return {"type": "known", "userKey": name, "username": f"name-of-{name}"}


def _group(name: str) -> dict[str, object]:
    return {"type": "group", "name": name, "id": f"id-of-{name}"}


def _space(world: World) -> dict[str, object]:
    viewers = sorted(world.viewers)
    if world.style == "cloud_v2":
        rows: list[dict[str, object]] = [
            {
                "principal": {"type": kind, "id": name if kind == "user" else f"id-of-{name}"},
                "operation": {"key": "read", "targetType": "space"},
            }
            for kind, name in viewers
        ]
        rows.append(
            {"principal": {"type": "user", "id": "u1"}, "operation": {"key": "create", "targetType": "page"}}
        )
        if world.anonymous:
            rows.append({"anonymousAccess": True, "operation": {"key": "read", "targetType": "space"}})
        pages = [rows[n : n + world.paging] for n in range(0, len(rows), world.paging)]
        links = [{"next": "/more"}] * (len(pages) - 1) + [{"base": "https://acme.example"}]
        return {"cloud_v2": [{"results": x, "_links": y} for x, y in zip(pages, links, strict=True)]}
    if world.style == "cloud_v1":
        operation = {"operation": "read", "targetType": "space"}
        entries: list[dict[str, object]] = [
            {
                "operation": operation,
                "anonymousAccess": False,
                "subjects": {kind: {"results": [_user(name) if kind == "user" else _group(name)], "size": 1}},
            }
            for kind, name in viewers
        ]
        anonymous = [{"operation": operation, "anonymousAccess": True}] if world.anonymous else []
        return {"cloud_v1": {"permissions": [*entries, *anonymous]}}
    if world.style == "data_center":
        read = {"operationKey": "read", "targetType": "space"}
        flat = [
            {"operation": read, "subject": {"type": kind, ("userKey" if kind == "user" else "name"): name}}
            for kind, name in viewers
        ]
        administers = {"operationKey": "administer", "targetType": "space"}
        flat.append({"operation": administers, "subject": {"type": "user", "userKey": "u2"}})
        return {"data_center": flat, "anonymous": [{"operation": read}] if world.anonymous else []}
    old: list[dict[str, object]] = [
        {
            "type": "VIEWSPACE",
            "userName": f"name-of-{name}" if kind == "user" else None,
            "groupName": name if kind == "group" else None,
        }
        for kind, name in viewers
    ]
    if world.anonymous:
        old.append({"type": "VIEWSPACE", "userName": None, "groupName": None})
    editors = {
        "type": "EDITSPACE",
        "spacePermissions": [{"type": "EDITSPACE", "userName": None, "groupName": "g1"}],
    }
    return {"json_rpc": [editors, {"type": "VIEWSPACE", "spacePermissions": old}]}


def _answers(wanted: Sequence[tuple[str, str]], limit: int) -> list[dict[str, Any]]:
    users = [_user(name) for kind, name in sorted(wanted) if kind == "user"]
    groups = [_group(name) for kind, name in sorted(wanted) if kind == "group"]
    count = max(len(users), len(groups)) // limit + 1
    return [
        {
            "operation": "read",
            "restrictions": {
                kind: {
                    "results": found[n * limit : (n + 1) * limit],
                    "start": n * limit,
                    "limit": limit,
                    "size": len(found[n * limit : (n + 1) * limit]),
                }
                for kind, found in (("user", users), ("group", groups))
            },
        }
        for n in range(count)
    ]


def exported(world: World) -> bytes:
    """The world as one file, with its fault."""
    content: list[dict[str, Any]] = []
    for number, parent in enumerate(world.parents):
        answers = _answers(sorted(world.restrictions[number]), world.paging)
        given = answers if len(answers) > 1 else answers[0]
        content.append(
            {"id": number, "path": f"p{number}", "space": "S", "parent": parent, "restrictions": given}
        )
    _spoil(content, world)
    built = {
        "format": "confluence",
        "anonymous_use": world.site_anonymous,
        "users": [_user(x) for x in USERS],
        "groups": [_group(x) for x in GROUPS],
        "spaces": [{"key": "S", **_space(world)}],
        "content": content,
    }
    return json.dumps(built).encode()


def _spoil(content: list[dict[str, Any]], world: World) -> None:
    entry = content[world.at]
    answers = entry["restrictions"] if isinstance(entry["restrictions"], list) else [entry["restrictions"]]
    match world.fault:
        case "ancestor missing":
            del content[world.at]
        case "error":
            entry["restrictions"] = {"statusCode": 403, "message": "Not permitted"}
        case "cut off":
            entry["restrictions"] = (
                answers[:-1] if len(answers) > 1 else {**answers[0], "operation": "update"}
            )
        case "not expanded":
            del answers[0]["restrictions"]["group"]
        case "cycle":
            top = world.at
            while (above := world.parents[top]) is not None:
                top = above
            content[top]["parent"] = world.at
        case "unknown account":
            for answer in answers:
                for user in answer["restrictions"]["user"]["results"]:
                    user["type"] = "unknown"
        case _:
            pass


def disagreement(read: Read, world: World, counts: Counter[str]) -> str | None:
    """Where a reader lets somebody in whom the source does not, or loses somebody without a word."""
    items = read(exported(world), "c.json").items
    open_tree = replace(world, restrictions=(frozenset[tuple[str, str]](),) * len(world.parents))
    counts["worlds"] += 1
    counts["narrowed"] += any(isinstance(x, NativePermissions) and bool(x.narrowed) for x in items.values())
    for number in range(len(world.parents)):
        found = items.get(f"p{number}")
        counts["withheld"] += not isinstance(found, NativePermissions)
        for caller in callers():
            truly = truly_reads(world, number, caller)
            names = {EVERYBODY_ON_THE_WEB if x == "anonymous" else f"confluence-{x}" for x in caller}
            ours = isinstance(found, NativePermissions) and may_read(found, names, 0)
            counts["asked"] += 1
            counts["allowed"] += ours
            counts["restricted"] += not truly and truly_reads(open_tree, number, caller)
            if ours and not truly:
                return f"p{number} is open to {sorted(caller)}"
            excused = found is None or isinstance(found, ItemProblem) or bool(found.narrowed)
            if truly and not ours and not (excused and world.fault != "none"):
                return f"p{number} is closed to {sorted(caller)}"
    return None


def case_problem(read: Read, case: dict[str, Any]) -> str | None:
    """What a reader gets wrong in a case of the table."""
    more: dict[str, Any] = {key: case[key] for key in ("users", "groups", "anonymous_use") if key in case}
    built = {
        "format": "confluence",
        "spaces": [{**case["space"], "key": "S"}],
        "content": case["content"],
        **more,
    }
    return _wrong(case, read(json.dumps(built).encode(), "c.json").items.get("p"))


def _wrong(case: dict[str, Any], found: NativePermissions | ItemProblem | None) -> str | None:
    if "problem" in case or not isinstance(found, NativePermissions):
        said = found.why if isinstance(found, ItemProblem) else "no problem"
        return None if isinstance(found, ItemProblem) and case.get("problem", "\0") in said else said
    for caller in (*case.get("may", ()), *case["may_not"]):
        if may_read(found, set(caller.split("+")) - {""}, 0) is not (caller in case.get("may", ())):
            return f"wrong for {caller!r}"
    narrowed = case.get("narrowed", 0)
    return (
        None if len(found.narrowed) == narrowed else f"narrowed {len(found.narrowed)} times, not {narrowed}"
    )
