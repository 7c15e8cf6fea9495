from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.ids import NEVER
from secure_rag.model.locks import MAX_LOCK_ENTRIES
from secure_rag_acl.formats import graph
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from tests.support.graph_exports import (
    NOW,
    Json,
    broken_cases,
    export,
    golden,
    opened,
    problem,
    read_one,
)
from tests.support.native_readers import may_read

ADA = "0a000000-0000-4000-8000-000000000001"
HERON = "0c000000-0000-4000-8000-000000000001"
ROOT = Path(__file__).resolve().parents[4]


def granted(identity: object, **more: object) -> Json:
    return {
        "site": "site-one",
        "permissions": {"value": [{"id": "1", "roles": ["read"], "grantedToV2": identity, **more}]},
    }


def user(identifier: str = ADA) -> Json:
    return granted({"user": {"id": identifier}})


def names(item: Json, **sections: object) -> list[str]:
    return [x.principal.name for x in opened(item, **sections).locks[0].allow]


def assignment(login: str, kind: int = 4, **role: object) -> Json:
    return {
        "Member": {
            "Id": 3,
            "PrincipalType": kind,
            "LoginName": login,
            "Title": "Somebody",
            "Email": "Some@Acme.example",
        },
        "RoleDefinitionBindings": [{"RoleTypeKind": 2, **role}],
    }


def roles(*assignments: Json, unique: object = True, **more: object) -> Json:
    return {
        "site": "site-one",
        "object": {"HasUniqueRoleAssignments": unique},
        "role_assignments": {"value": list(assignments)},
        **more,
    }


# ---- the table


def test_the_table_decides_as_by_hand() -> None:
    assert broken_cases(graph.read) == []


def test_the_table_is_large_enough_and_gives_reasons() -> None:
    readers, cases = golden()
    assert len(cases) >= 45
    assert all(
        case["why"].endswith(".") and ("problem" in case or case["may_not"]) for case in cases.values()
    )
    assert {x for case in cases.values() for x in case.get("may", [])} == set(readers) - {"anybody"} | {
        "anybody"
    }


def test_the_example_is_read_without_a_problem() -> None:
    path = ROOT / "acl/examples/graph/export.json"
    dump = graph.read(path.read_bytes(), path.name)
    assert dump.as_of is not None
    assert all(isinstance(x, NativePermissions) for x in dump.items.values())
    page = (ROOT / "docs/formats/graph.md").read_text(encoding="utf-8")
    block = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert block is not None
    assert all(isinstance(x, NativePermissions) for x in graph.read(block[1].encode(), "page").items.values())


# ---- names


@pytest.mark.parametrize(
    ("login", "name"),
    [
        ("c:0(.s|true", "graph-everyone"),
        (f"c:0-.f|rolemanager|spo-grid-all-users/{HERON}", "graph-everyone-except-external"),
        (f"C:0O.C|FederatedDirectoryClaimProvider|{HERON.upper()}", f"graph-group:{HERON}"),
        (f"c:0o.c|federateddirectoryclaimprovider|{HERON}_o", f"graph-group-owners:{HERON}"),
        (f"c:0t.c|tenant|{HERON}", f"graph-group:{HERON}"),
        (f"i:0i.t|ms.sp.ext|{HERON}@{ADA}", f"graph-app:{HERON}"),
        ("i:0#.f|membership|Ada@Acme.example", "graph-site-user:site-one/i:0#.f|membership|ada@acme.example"),
        ("c:0!.s|windows", "graph-site-user:site-one/c:0!.s|windows"),
        (f"c:0t.c|tenant|{HERON} ", None),
        (f"c:0t.c|tenant|{HERON}\n", None),
        ("i:0#.f|membership|ada\u200b@acme.example", None),
        ("i:0#.f|membership|urn%3aspo%3aanon#0123", None),
    ],
)
def test_logins_and_their_claims(login: str, name: str | None) -> None:
    found = opened(roles(assignment(login)))
    assert [x.principal.name for x in found.locks[0].allow] == ([] if name is None else [name])
    assert bool(found.narrowed) == (name is None)


def test_what_is_not_known_to_be_a_person_is_everyone_like() -> None:
    logins = ["c:0!.s|windows", "c:0-.t|new|thing", r"nt authority\authenticated users", "c:0(.s|true"]
    lock = opened(roles(*map(assignment, logins))).locks[0]
    assert [x.principal.broad for x in lock.allow] == [True] * 4
    lock = opened(
        roles(assignment("i:0#.f|membership|ada@acme.example"), assignment(f"c:0t.c|tenant|{HERON}"))
    ).locks[0]
    assert [x.principal.broad for x in lock.allow] == [False, False]


def test_owners_are_not_joined_by_the_id_of_their_group() -> None:
    login = {"loginName": f"c:0o.c|federateddirectoryclaimprovider|{HERON}_o"}
    entry = opened(granted({"group": {"id": HERON}, "siteUser": login})).locks[0].allow[0]
    assert entry.principal.name == f"graph-group-owners:{HERON}"
    assert entry.principal.object_id is None


def test_ids_and_addresses_come_along() -> None:
    entry = (
        opened(
            granted({"user": {"id": ADA.upper(), "email": "Ada@Acme.Example", "displayName": "Ada Marsh"}})
        )
        .locks[0]
        .allow[0]
    )
    assert (entry.principal.object_id, entry.principal.mail, entry.principal.display) == (
        ADA,
        "ada@acme.example",
        "Ada Marsh",
    )
    assert entry.expires == NEVER
    assert entry.place == "export.json#/items/0/permissions/value/0/grantedToV2"
    assert json.loads(entry.entry.split(" ", 1)[0]) == {"id": "1", "roles": ["read"]}


def test_a_login_is_no_address() -> None:
    guest = "i:0#.f|membership|gus_partner.example#ext#@acme.example"
    entry = opened(granted({"siteUser": {"loginName": guest, "email": ""}})).locks[0].allow[0]
    assert entry.principal.name == f"graph-site-user:site-one/{guest}"
    assert entry.principal.mail is None


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"device": {"id": ADA}},
        {"user": {"id": "a/b"}},
        {"user": {"id": "a b"}},
        {"user": {}},
        {
            "application": {"displayName": "Helper"},
            "siteUser": {"loginName": "i:0#.f|membership|ada@acme.example"},
        },
        {"user": {"id": ADA}, "group": {"id": HERON}},
        {"user": {"id": ADA}, "siteGroup": {"id": "5"}},
        {"siteGroup": {"id": "5"}, "sharePointGroup": {"id": "x", "principalId": "6"}},
        {"siteGroup": {"id": "5"}, "siteUser": {"loginName": "i:0#.f|membership|ada@acme.example"}},
        {"user": {"id": ADA}, "siteUser": {"loginName": "c:0(.s|true"}},
        {"user": {"id": ADA}, "siteUser": {"loginName": f"c:0t.c|tenant|{HERON}"}},
        {
            "group": {"id": HERON},
            "siteUser": {"loginName": f"c:0o.c|federateddirectoryclaimprovider|{ADA}_o"},
        },
        {"group": {"id": HERON}, "siteUser": {"loginName": "i:0#.f|membership|ada@acme.example"}},
        {"group": {"id": HERON}, "siteUser": {"loginName": "c:0-.t|new|thing"}},
        {"siteUser": {"displayName": "Ada"}},
        {"newKindOfThing": {"id": ADA}},
    ],
)
def test_what_is_not_one_known_principal_is_nobody(identity: Json) -> None:
    found = opened(granted(identity))
    assert found.locks[0].allow == ()
    assert len(found.narrowed) == 1


def test_a_contradiction_counts_without_a_site_as_well() -> None:
    item = granted({"group": {"id": HERON}, "siteUser": {"loginName": f"c:0t.c|tenant|{ADA}"}})
    del item["site"]
    assert names(item) == []


def test_a_group_of_the_tenant_wide_id() -> None:
    both = {"siteGroup": {"id": "5"}, "sharePointGroup": {"id": "Wide", "principalId": "5"}}
    assert names(granted(both)) == ["graph-site-group:site-one/5"]
    assert names(granted({"sharePointGroup": {"id": "Wide"}})) == ["graph-site-group:Wide"]


# ---- lists


def test_bad_identities_do_not_hinder_good_ones() -> None:
    item = granted(
        None,
        link={"scope": "users", "type": "view"},
        grantedToIdentitiesV2=[{"device": {"id": "x"}}, {"user": {"id": ADA}}],
        grantedToIdentities=[{"user": {"id": HERON}}],
    )
    assert names(item) == [f"graph-user:{ADA}"]


def test_links_and_grantees_that_do_not_belong_together_grant_nothing() -> None:
    assert names(granted({"user": {"id": ADA}}, link={"scope": "users"})) == []
    assert names(granted(None, grantedToIdentitiesV2=[{"user": {"id": ADA}}])) == []


def test_an_invitation_that_needs_no_sign_in_is_reported() -> None:
    assert opened(granted(None, invitation={"email": "a@b.example", "signInRequired": False})).narrowed
    assert not opened(granted(None, invitation={"email": "a@b.example"})).narrowed


def test_members_without_a_name_are_reported_once() -> None:
    strange = [{"Id": n, "PrincipalType": 2, "LoginName": "list"} for n in (7, 8)]
    sites = [{"id": "site-one", "groups": [{"group": {"Id": 5}, "users": {"value": strange}}]}]
    for item in (
        granted({"siteGroup": {"id": "5"}}),
        roles({**assignment("Visitors"), "Member": {"Id": 5, "PrincipalType": 8}}),
    ):
        found = opened(item, sites=sites)
        assert found.locks[0].allow == ()
        assert [x.why for x in found.narrowed] == ["2 members of the site group have no name"]


def test_members_expire_with_the_permission_of_their_group() -> None:
    member = {"Id": 11, "PrincipalType": 1, "LoginName": "i:0#.f|membership|ada@acme.example"}
    sites = [{"id": "Site-One", "groups": [{"group": {"Id": 5}, "users": {"value": [member, member]}}]}]
    found = opened(
        granted({"siteGroup": {"id": "5"}}, expirationDateTime="2026-11-24T12:00:01Z"), sites=sites
    )
    reader = [found.locks[0].allow[0].principal.name]
    assert len(found.locks[0].allow) == 1
    assert may_read(found, reader, NOW)
    assert not may_read(found, reader, NOW + 1_000_000)


def test_a_complete_and_empty_site_group_is_nobody() -> None:
    sites = [{"id": "site-one", "groups": [{"group": {"Id": 5}, "users": {"value": []}}]}]
    assert names(granted({"siteGroup": {"id": "5"}}), sites=sites) == []


@pytest.mark.parametrize(
    "users",
    [
        {"value": [], "@odata.nextLink": "https://x"},
        {"value": [], "@odata.count": 3},
        {"value": [{"Id": 1}]},
        {"error": {"code": "accessDenied"}},
        {"d": {"results": []}},
        [],
    ],
)
def test_a_site_group_whose_members_are_not_all_known_stays_a_name(users: object) -> None:
    sites = [{"id": "site-one", "groups": [{"group": {"Id": 5}, "users": users}]}]
    assert names(granted({"siteGroup": {"id": 5}}), sites=sites) == ["graph-site-group:site-one/5"]


@pytest.mark.parametrize(
    ("role", "reads", "reported"),
    [
        ({"RoleTypeKind": 0}, False, True),
        ({"RoleTypeKind": 8}, False, True),
        ({"RoleTypeKind": 255}, False, True),
        ({"RoleTypeKind": 7}, True, False),
        ({"RoleTypeKind": 2, "BasePermissions": {"High": 0, "Low": 0}}, False, False),
        ({"RoleTypeKind": 2, "BasePermissions": {"High": 0, "Low": 1}}, False, True),
        ({"RoleTypeKind": 0, "BasePermissions": {"High": "2147483647", "Low": "4294967295"}}, True, False),
        ({"RoleTypeKind": 0, "BasePermissions": {"High": "33", "Low": "0"}}, False, False),
    ],
)
def test_bits_decide_and_kinds_where_there_are_none(role: Json, reads: bool, reported: bool) -> None:
    found = opened(roles(assignment("i:0#.f|membership|ada@acme.example", 1, **role)))
    assert bool(found.locks[0].allow) is reads
    assert bool(found.narrowed) is reported


def test_roles_of_one_assignment_add_up() -> None:
    both = assignment("i:0#.f|membership|ada@acme.example", 1)
    both["RoleDefinitionBindings"] = [
        {"RoleTypeKind": 0, "BasePermissions": {"High": "0", "Low": x}} for x in ("1", "32")
    ]
    assert len(opened(roles(both)).locks[0].allow) == 1


# ---- parents


def parents(*ids: str, unique: str = "web") -> list[Json]:
    pairs = zip(ids, [*ids[1:], ids[-1]], strict=True)
    return [
        {"id": x, "parent": above, **roles(assignment(f"c:0t.c|tenant|{HERON}"), unique=x == unique)}
        for x, above in pairs
    ]


def test_items_share_what_they_inherit() -> None:
    items = [{"path": str(n), **roles(unique=False, parent="folder")} for n in range(3)]
    dump = graph.read(export(*items, securables=parents("folder", "list", "web")), "e", Limits(max_entries=1))
    assert len({id(x) for x in dump.items.values()}) == 1
    assert isinstance(dump.items["0"], NativePermissions)


def test_a_trouble_above_withholds_what_is_below_and_names_its_place() -> None:
    securables = parents("folder", "web")
    securables[1]["role_assignments"]["odata.nextLink"] = "https://x"
    found = read_one(roles(unique=False, parent="folder"), securables=securables)
    assert isinstance(found, ItemProblem)
    assert found.place == "export.json#/securables/1"


def test_circles_depths_and_twins_above_withhold() -> None:
    below = roles(unique=False, parent="a")
    assert "its own parents" in problem(below, securables=parents("a", "b", unique=""))
    twins = [*parents("a", "web"), *parents("a", "web")[:1]]
    assert "occurs twice" in problem(below, securables=twins)
    deep = parents("a", *map(str, range(70)), "web")
    assert "more than 64 parents" in problem(below, securables=deep)
    assert "'parent' is missing" in problem(roles(unique=False))
    assert "'HasUniqueRoleAssignments' is missing" in problem({**roles(), "object": {}})
    assert "must be true or false" in problem(roles(unique="false", parent="a"))


# ---- items that cannot be trusted


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({}, "needs exactly one"),
        ({**user(), **roles()}, "needs exactly one"),
        ({"error": {"code": "accessDenied"}}, "answered with an error"),
        ({"permissions": {"error": {"code": "itemNotFound"}}}, "answered with an error"),
        ({"permissions": []}, "an answer of the API"),
        ({"permissions": {}}, "'value' is missing"),
        ({"permissions": {"value": {}}}, "must be a list"),
        ({"permissions": {"value": ["x"]}}, "must be an object"),
        ({"permissions": {"value": [], "value@odata.nextLink": "https://x"}}, "was not followed"),
        ({"permissions": {"value": [], "__next": "https://x"}}, "was not followed"),
        ({"permissions": {"value": [], "@odata.count": 2}}, "0 of 2"),
        ({**user(), "item": {"deleted": {"state": "deleted"}}}, "'deleted'"),
        ({**user(), "item": {"remoteItem": {"id": "x"}}}, "'remoteItem'"),
        ({**user(), "acl": []}, "unknown field 'acl'"),
        ({**user(), "site": "a/b"}, "not a site id"),
        (granted("x"), "must be an object"),
        (granted({"user": {"id": 1.5}}), "must be text"),
        (granted({"user": "x"}), "must be an object"),
        (granted({"siteUser": {"loginName": 1}}), "must be text"),
        (granted({}, roles="read"), "must be a list"),
        (granted({}, roles=[1]), "must be text"),
        (granted({}, hasPassword="no"), "must be true or false"),
        (granted({}, expirationDateTime="soon"), "not an instant"),
        (granted({}, expirationDateTime=0), "must be text"),
        (granted(None, link={"scope": 1}), "must be text"),
        (granted(None, link=[]), "must be an object"),
        (granted({}, id="x" * 5000), "more than 4096 characters"),
        (roles({"Member": {"__deferred": {}}, "RoleDefinitionBindings": []}), "'PrincipalType' is missing"),
        (roles({"RoleDefinitionBindings": []}), "'Member' is missing"),
        (roles({"Member": assignment("x")["Member"]}), "'RoleDefinitionBindings' is missing"),
        (roles(assignment("x", BasePermissions={"Low": "33"})), "'High' is missing"),
        (roles(assignment("x", BasePermissions={"High": "0", "Low": "-1"})), "half of a permission mask"),
        (roles(assignment("x", BasePermissions={"High": "0", "Low": True})), "half of a permission mask"),
        (roles(assignment("x", BasePermissions={"High": "0", "Low": 1 << 32})), "half of a permission mask"),
        ({"external_item": {"id": "x"}}, "'acl' is missing"),
        ({"external_item": {"acl": [{"type": "user", "accessType": "deny"}]}}, "'value' is missing"),
        ({"external_item": {"acl": []}, "connection": "a/b"}, "not the id of a connection"),
    ],
)  # fmt: skip
def test_an_item_that_cannot_be_trusted_is_withheld_and_the_rest_goes_on(item: Json, why: str) -> None:
    dump = graph.read(export({"path": "bad", **item}, {"path": "good", **user()}), "export.json")
    bad, good = dump.items["bad"], dump.items["good"]
    assert isinstance(bad, ItemProblem)
    assert why in bad.why
    assert bad.place.startswith("export.json#/items/0")
    assert isinstance(good, NativePermissions)


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "../a", "a/./b", "a\u202eb", "a\nb", "a\u2028b", "\ud800"]
)
def test_a_path_that_no_file_has_is_a_problem(path: str) -> None:
    (found,) = graph.read(export({"path": path, **user()}), "e").items.values()
    assert isinstance(found, ItemProblem)


def test_a_path_with_a_no_break_space_is_a_path() -> None:
    (found,) = graph.read(export({"path": "a\u00a0b/c.docx", **user()}), "e").items.values()
    assert isinstance(found, NativePermissions)


def test_a_path_twice_is_a_problem_whatever_the_entries_say() -> None:
    for count in (2, 3):
        dump = graph.read(export(*[{"path": "a", **user()}] * count), "e")
        assert isinstance(dump.items["a"], ItemProblem)


def test_fields_that_are_new_at_the_provider_are_accepted() -> None:
    identity = {"user": {"id": ADA, "new": [1]}, "@odata.type": "#x"}
    assert names(granted(identity, somethingNew={"deep": [{}]})) == [f"graph-user:{ADA}"]


def test_half_a_surrogate_pair_breaks_nothing() -> None:
    found = opened(granted({"user": {"id": ADA, "displayName": "\ud800"}}, id="\udfff"))
    entry = found.locks[0].allow[0]
    assert entry.principal.display is None
    assert entry.entry.encode("utf-8")


# ---- exports that cannot be trusted


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not valid JSON"),
        (export()[:-1], "not valid JSON"),
        (b"\xff", "not UTF-8"),
        (b"[]", "must be an object"),
        (b'{"items": [], "items": []}', "occurs twice"),
        (b'{"format": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deep"),
        (export(extra=1), "unknown field 'extra'"),
        (b'{"format": "graph-permissions", "version": 1}', "'items' is missing"),
        (export().replace(b'"version": 1', b'"version": 2'), "version 1"),
        (export().replace(b"graph-", b"drive-"), "not 'graph-permissions'"),
        (export({}), "'path' is missing"),
        (export({"path": 1}), "must be text"),
        (export(exported_at="yesterday"), "not an instant"),
        (export(tenant="acme"), "not a tenant id"),
        (export(sites=[{"id": "a", "groups": []}, {"id": "A", "groups": []}]), "a site twice"),
        (
            export(sites=[{"id": "a", "groups": [{"group": {"Id": 5}, "users": {}}] * 2}]),
            "a site group twice",
        ),
        (export(sites=[{"id": "a", "groups": [], "title": "x"}]), "unknown field 'title'"),
        (export(sites={}), "must be a list"),
        (export(securables=[{"object": {}}]), "'id' is missing"),
        (export(securables=[{"id": "a", "path": "b"}]), "unknown field 'path'"),
    ],
)
def test_an_export_that_cannot_be_trusted_is_refused_with_its_place(data: bytes, why: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(why)) as raised:
        graph.read(data, "export.json")
    assert str(raised.value).startswith("export.json")


def test_a_hundred_megabytes_are_refused_unread() -> None:
    data = b" " * (100 << 20)
    tracemalloc.start()
    with pytest.raises(ConfigError, match="larger than"):
        graph.read(data, "export.json")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_nesting_that_json_bears_is_a_problem_of_its_item_only() -> None:
    text = json.dumps(
        {
            "format": "graph-permissions",
            "version": 1,
            "items": [{"path": "a", **granted({"user": {"id": ADA, "x": "DEEP"}})}],
        }
    )
    data = text.replace('"DEEP"', "[" * 900 + "]" * 900).encode()
    found = graph.read(data, "e").items["a"]
    assert isinstance(found, NativePermissions | ItemProblem)


def test_what_one_source_may_ask_for_is_bounded_as_a_whole() -> None:
    items = [{"path": str(n), **user()} for n in range(4)]
    for limits in (Limits(max_items=3), Limits(max_entries=3)):
        with pytest.raises(ConfigError, match="more than 3"):
            graph.read(export(*items), "e", limits)
    with pytest.raises(ConfigError, match="more than 3"):
        graph.read(export(securables=[{"id": str(n)} for n in range(4)]), "e", Limits(max_items=3))
    assert len(graph.read(export(*items), "e", Limits(max_items=4, max_entries=4)).items) == 4


def test_what_entries_quote_is_bounded_as_a_whole() -> None:
    people = [{"user": {"id": str(n)}} for n in range(100)]
    data = export(
        {"path": "a", **granted(None, id="x" * 4000, link={"scope": "users"}, grantedToIdentitiesV2=people)}
    )
    with pytest.raises(ConfigError, match="entries of more than"):
        graph.read(data, "e", Limits(max_bytes=len(data)))
    assert isinstance(graph.read(data, "e", Limits(max_bytes=110_000)).items["a"], NativePermissions)


def test_an_export_is_not_from_the_end_of_time() -> None:
    assert graph.read(export(exported_at="0001-01-01T00:00:00Z"), "e").as_of == 0
    assert graph.read(export(exported_at="2026-11-24T13:00:00+01:00"), "e").as_of == NOW


def test_failed_items_use_the_bound_up_as_well() -> None:
    bad = granted({"user": {"id": ADA}})
    bad["permissions"]["value"].append("broken")
    with pytest.raises(ConfigError, match="more than 3 entries"):
        graph.read(export(*({"path": str(n), **bad} for n in range(4))), "e", Limits(max_entries=3))
    below = [{"path": str(n), **roles(unique=False, parent="web")} for n in range(2)]
    with pytest.raises(ConfigError, match="more than 0 entries"):
        graph.read(export(*below, securables=parents("web")), "e", Limits(max_entries=0))


def test_more_than_a_lock_may_hold_is_a_problem_and_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LOCK_ENTRIES == 200_000
    monkeypatch.setattr("secure_rag_acl.formats._graph_lists.MAX_LOCK_ENTRIES", 2)
    two = granted(None, link={"scope": "users"}, grantedToIdentitiesV2=[{"user": {"id": x}} for x in "ab"])
    three = granted(None, link={"scope": "users"}, grantedToIdentitiesV2=[{"user": {"id": x}} for x in "abc"])
    assert len(names(two)) == 2
    assert "more than 2 entries" in problem(three)


def test_fifty_thousand_people_on_one_document() -> None:
    people = [{"user": {"id": f"0a000000-0000-4000-8000-{n:012x}"}} for n in range(50_000)]
    assert len(set(names(granted(None, link={"scope": "users"}, grantedToIdentitiesV2=people)))) == 50_000
