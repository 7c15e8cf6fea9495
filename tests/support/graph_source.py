"""What Graph and SharePoint themselves would decide, from their published semantics, over a small company.

Nothing of the reader is used: worlds are drawn as plain choices, and from the same choices come, separately, the
export (JSON) and the people who may read. Where a document leaves open what the source does, `source` is the most
that it could mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from secure_rag_acl.formats.native import NativePermissions
from tests.support.graph_exports import NOW, Json, Read, export
from tests.support.native_readers import may_read

TENANT = "0f000000-0000-4000-8000-000000000001"
IDS = {
    x: f"0a000000-0000-4000-8000-00000000000{n}"
    for n, x in enumerate(("ada", "bo", "gus", "app", "heron", "crew"))
}
LOGINS = {
    "ada": "i:0#.f|membership|ada@acme.example",
    "bo": "i:0#.f|membership|bo@acme.example",
    "gus": "i:0#.f|membership|gus_partner.example#ext#@acme.example",
}
PEOPLE: tuple[str, ...] = ("ada", "bo", "gus", "app", "passer-by")
MEMBERS, SIGNED_IN, ALL = {"ada", "bo"}, {"ada", "bo", "gus"}, set[str](PEOPLE)
GROUPS = {"heron": {"ada", "gus"}, "crew": {"bo"}}
OWNERS = {"heron": {"bo"}, "crew": {"ada"}}
SITE_GROUPS = {("one", 5): {"ada", "bo"}, ("one", 6): {"gus"}, ("two", 5): {"gus", "bo"}}
SITE_MEMBERS = {("one", 5): ("ada", "crew"), ("one", 6): ("gus",), ("two", 5): ("gus", "crew")}
EVERYONE, ALL_USERS = "c:0(.s|true", f"c:0-.f|rolemanager|spo-grid-all-users/{TENANT}"


def names_of(person: str) -> set[str]:
    """Names of the source that somebody holds."""
    held = {"graph-anyone"}
    if person == "app":
        return held | {f"graph-app:{IDS['app']}"}
    if person in IDS:
        held |= {f"graph-user:{IDS[person]}", "graph-everyone"}
        held |= {f"graph-site-user:{site}/{LOGINS[person]}" for site in ("one", "two")}
    if person in MEMBERS:
        held |= {"graph-organization", "graph-everyone-except-external"}
    held |= {f"graph-group:{IDS[x]}" for x, who in GROUPS.items() if person in who}
    held |= {f"graph-group-owners:{IDS[x]}" for x, who in OWNERS.items() if person in who}
    held |= {f"graph-site-group:{site}/{n}" for (site, n), who in SITE_GROUPS.items() if person in who}
    return held | ({"graph-external-group:tickets/desk"} if person == "bo" else set())


HOLDS = {x: names_of(x) for x in PEOPLE}


def _login(name: str) -> str:
    if name in LOGINS:
        return LOGINS[name]
    kind = "c:0t.c|tenant|" if name == "crew" else "c:0o.c|federateddirectoryclaimprovider|"
    return kind + IDS[name]


# (JSON of an identity on site one, whom it covers at most at the source)
IDENTITIES: dict[str, tuple[Json, set[str]]] = {
    "ada": ({"user": {"id": IDS["ada"].upper()}}, {"ada"}),
    "bo": ({"user": {"id": IDS["bo"]}, "siteUser": {"loginName": LOGINS["bo"]}}, {"bo"}),
    "guest": ({"user": {"id": IDS["gus"]}, "siteUser": {"loginName": LOGINS["gus"].upper()}}, {"gus"}),
    "login": ({"siteUser": {"loginName": LOGINS["ada"]}}, {"ada"}),
    "group": ({"group": {"id": IDS["heron"]}}, GROUPS["heron"]),
    "group by claim": ({"siteUser": {"loginName": _login("crew")}}, GROUPS["crew"]),
    "owners": (
        {"group": {"id": IDS["heron"]}, "siteUser": {"loginName": _login("heron") + "_o"}},
        OWNERS["heron"],
    ),
    "site group": ({"siteGroup": {"id": "5", "displayName": "Visitors"}}, SITE_GROUPS["one", 5]),
    "other site group": ({"siteGroup": {"id": "6", "displayName": "Visitors"}}, SITE_GROUPS["one", 6]),
    "members": ({"user": {"displayName": "Everyone except"}, "siteUser": {"loginName": ALL_USERS}}, MEMBERS),
    "everyone": ({"siteUser": {"loginName": EVERYONE}}, SIGNED_IN),
    "app": ({"application": {"id": IDS["app"]}}, {"app"}),
    "two": ({"application": {"id": IDS["app"]}, "user": {"id": IDS["ada"]}}, {"app", "ada"}),
    "mail": ({"user": {"email": "ada@acme.example"}}, {"ada"}),
    "empty": ({}, set()),
}
EXPIRIES = {
    None: True,
    "0001-01-01T00:00:00Z": True,
    "2026-11-24T12:00:00Z": False,
    "2026-11-24T13:30:00+01:00": True,
}
ROLES = {("read",): True, ("write",): True, ("owner", "odd"): True, ("odd",): True, (): False}


@dataclass(frozen=True)
class Case:
    """An item with sections of its export, who reads it at the source, who only by a deny does not."""

    item: Json
    sections: Json
    source: frozenset[str]
    denied: frozenset[str] = frozenset()
    unknowable: bool = False


def _mostly(usual: Sequence[Any], odd: Sequence[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from([*usual] * max(1, 16 * len(odd) // len(usual)) + [*odd])


def _sites(complete: bool) -> Json:
    listed: dict[str, list[Json]] = {"one": [], "two": []}
    for (site, number), who in SITE_MEMBERS.items():
        users = {
            "value": [
                {"Id": n, "PrincipalType": 1 if x in LOGINS else 4, "LoginName": _login(x)}
                for n, x in enumerate(who)
            ]
        }
        more = {} if complete else {"@odata.nextLink": "https://acme.example/more"}
        listed[site].append({"group": {"Id": number, "Title": "Visitors"}, "users": {**users, **more}})
    return {"sites": [{"id": site, "groups": groups} for site, groups in listed.items()]}


@st.composite
def _permission(draw: st.DrawFn) -> tuple[Json, set[str]]:
    roles = draw(_mostly([("read",), ("write",), ("owner", "odd")], [("odd",), ()]))
    expiry = draw(st.sampled_from(list(EXPIRIES)))
    made: Json = {"id": "1", "roles": list(roles), "expirationDateTime": expiry}
    kind = draw(st.sampled_from(["direct"] * 5 + ["link"] * 5 + ["invitation"]))
    suffix = draw(_mostly(["V2"], [""]))
    who: set[str] = set()
    if kind == "direct":
        made[f"grantedTo{suffix}"], who = IDENTITIES[
            draw(_mostly(list(IDENTITIES)[:-3], list(IDENTITIES)[-3:]))
        ]
    elif kind == "invitation":
        made["invitation"] = {"email": "ada@acme.example", "signInRequired": True}
    else:
        scope = draw(
            _mostly(["users", "users", "organization", "anonymous", "existingAccess"], [None, "odd"])
        )
        type_ = draw(_mostly(["view", "edit", None], ["createOnly"]))
        blocked = draw(_mostly([False, None], [True]))
        password = draw(_mostly([False, None], [True]))
        picked = draw(st.lists(st.sampled_from(list(IDENTITIES)[:-3]), max_size=3))
        made |= {
            "link": {"scope": scope, "type": type_, "preventsDownload": blocked},
            "hasPassword": password,
        }
        made[f"grantedToIdentities{suffix}"] = [IDENTITIES[x][0] for x in picked]
        listed = set[str]().union(*(IDENTITIES[x][1] for x in picked))
        whole = {"organization": MEMBERS, "anonymous": ALL, "odd": ALL, None: set() if picked else ALL}
        if scope != "existingAccess" and type_ != "createOnly":
            who = listed | whole.get(scope, set())
    return made, who if ROLES[roles] and EXPIRIES[expiry] else set()


@st.composite
def drive_items(draw: st.DrawFn) -> Case:
    """Items with permissions as Graph lists them: an item is open to all whom any permission admits."""
    found = draw(st.lists(_permission(), max_size=4))
    item = {"site": "one", "permissions": {"value": [x for x, _ in found]}}
    return Case(item, _sites(draw(st.booleans())), frozenset[str]().union(*(x for _, x in found)))


# (SP principal, whom it covers)
PRINCIPALS: dict[str, tuple[Json, set[str]]] = {
    "ada": ({"PrincipalType": 1, "LoginName": LOGINS["ada"]}, {"ada"}),
    "guest": ({"PrincipalType": 1, "LoginName": LOGINS["gus"]}, {"gus"}),
    "crew": ({"PrincipalType": 4, "LoginName": _login("crew")}, GROUPS["crew"]),
    "owners": ({"PrincipalType": 4, "LoginName": _login("heron") + "_o"}, OWNERS["heron"]),
    "five": ({"Id": 5, "PrincipalType": 8, "LoginName": "Visitors"}, SITE_GROUPS["one", 5]),
    "six": ({"Id": 6, "PrincipalType": 8, "LoginName": "Visitors"}, SITE_GROUPS["one", 6]),
    "members": ({"PrincipalType": 4, "LoginName": ALL_USERS}, MEMBERS),
    "list": ({"PrincipalType": 2, "LoginName": "mail list"}, SIGNED_IN),
}
# (role definition, permission bits it may give: 1 sees, 32 opens)
ROLE_DEFINITIONS: list[tuple[Json, int]] = [
    ({"RoleTypeKind": 1, "BasePermissions": {"High": "48", "Low": "134287360"}}, 0),
    ({"RoleTypeKind": 9}, 0),
    ({"RoleTypeKind": 2, "BasePermissions": {"High": "176", "Low": "138612833"}}, 33),
    ({"RoleTypeKind": 2}, 33),
    ({"RoleTypeKind": 5}, 33),
    ({"RoleTypeKind": 0, "BasePermissions": {"High": "0", "Low": "35"}}, 33),
    ({"RoleTypeKind": 0, "BasePermissions": {"High": "33", "Low": "2"}}, 0),
]
ODD_DEFINITIONS: list[tuple[Json, int]] = [
    ({"RoleTypeKind": 8, "BasePermissions": {"High": "176", "Low": "138612801"}}, 1),
    ({"RoleTypeKind": 0, "BasePermissions": {"High": "0", "Low": "32"}}, 32),
    ({"RoleTypeKind": 0}, 33),
    ({"RoleTypeKind": 8}, 1),
]


@st.composite
def _securable(draw: st.DrawFn) -> tuple[Json, set[str], bool]:
    bits: Counter[str] = Counter()
    made: list[Json] = []
    for name in draw(st.lists(_mostly(list(PRINCIPALS)[:-1], ["list"]), max_size=4)):
        member, covered = PRINCIPALS[name]
        picked = draw(st.lists(_mostly(ROLE_DEFINITIONS, ODD_DEFINITIONS), min_size=1, max_size=2))
        made.append({"Member": {"Id": 99, **member}, "RoleDefinitionBindings": [x for x, _ in picked]})
        for person in covered:
            for _, given in picked:
                bits[person] |= given
    lost = draw(_mostly([False], [True]))
    answer: Json = {"value": made, **({"odata.nextLink": "https://acme.example/more"} if lost else {})}
    return answer, {x for x, given in bits.items() if given & 1}, lost


@st.composite
def list_items(draw: st.DrawFn) -> Case:
    """Items below folders of a library: the nearest that has its own role assignments decides."""
    levels = draw(st.lists(_securable(), min_size=1, max_size=4))
    unique = [True, *(draw(st.booleans()) for _ in levels[1:])]
    nodes = [
        {
            "site": "one",
            "object": {"HasUniqueRoleAssignments": own},
            "role_assignments": answer,
            "parent": str(n - 1),
        }
        for n, ((answer, _, _), own) in enumerate(zip(levels, unique, strict=True))
    ]
    nearest = max(n for n, own in enumerate(unique) if own)
    securables = [{"id": str(n), **node} for n, node in enumerate(nodes[:-1])]
    sections = {**_sites(draw(st.booleans())), "securables": securables}
    _, who, lost = levels[nearest]
    return Case(nodes[-1], sections, frozenset(who), unknowable=lost)


ACL: dict[tuple[str, str], set[str]] = {
    ("user", IDS["ada"].upper()): {"ada"},
    ("user", IDS["gus"]): {"gus"},
    ("group", IDS["heron"]): GROUPS["heron"],
    ("group", IDS["crew"]): GROUPS["crew"],
    ("everyone", TENANT): SIGNED_IN,
    ("everyoneExceptGuests", TENANT): MEMBERS,
    ("externalGroup", "desk"): {"bo"},
}
ODD_ACL: dict[tuple[str, str], set[str]] = {
    ("user", "ada@acme.example"): {"ada"},
    ("everyone", IDS["ada"]): ALL,
    ("odd", "x"): ALL,
}


@st.composite
def external_items(draw: st.DrawFn) -> Case:
    """Items of a connector: any grant lets in, any deny keeps out; what is unknown grants all and denies nobody."""
    granted, denied = set[str](), set[str]()
    acl: list[Json] = []
    for _ in range(draw(st.integers(0, 5))):
        kind, value = draw(_mostly(list(ACL), list(ODD_ACL)))
        access = draw(_mostly(["grant", "grant", "deny"], ["unknownFutureValue"]))
        acl.append({"type": kind, "value": value, "accessType": access})
        if access == "grant":
            granted |= (ACL | ODD_ACL)[kind, value]
        elif access == "deny":
            denied |= ACL.get((kind, value), set())
    item = {"connection": "tickets", "external_item": {"id": "T1", "acl": acl}}
    return Case(item, {"tenant": TENANT}, frozenset(granted - denied), frozenset(granted & denied))


def disagreement(read: Read, case: Case, counts: Counter[str]) -> str | None:
    """How a reader differs from the source on a case; None when it does not."""
    data = export({"path": "x", **case.item}, **case.sections)
    found = read(data, "export.json").items["x"]
    counts["cases"] += 1
    if not isinstance(found, NativePermissions):
        counts["withheld"] += 1
        return None if case.unknowable else f"withheld: {found.why}"
    if case.unknowable:
        return "read although a page is missing"
    ours = frozenset(x for x in PEOPLE if may_read(found, HOLDS[x], NOW))
    narrower = bool(found.narrowed) or any(x.closed for x in found.locks)
    counts.update(
        {"asked": len(PEOPLE), "allowed": len(ours), "denied": len(case.denied), "narrowed": narrower}
    )
    if not ours <= case.source:
        return f"wider by {ours - case.source}"
    if ours != case.source and not narrower:
        return f"narrower by {case.source - ours} and does not say so"
    return None


FAMILIES: Mapping[str, st.SearchStrategy[Case]] = {
    "drive items": drive_items(),
    "list items": list_items(),
    "external items": external_items(),
}
