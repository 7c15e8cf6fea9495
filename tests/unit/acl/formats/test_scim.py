"""SCIM exports: what they come to under written rules, and what makes them incomplete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.directory_files import DirectoryFile
from secure_rag_acl.formats.native import Limits
from secure_rag_acl.formats.scim import read_scim
from secure_rag_acl.identity import ImportedIdentities
from secure_rag_acl.identity_exports import DirectoryFormat, load_identities
from tests.controls import control

RULES = """\
tenant: acme
complete: true
defaults: {clearance: {member: Internal, guest: Public}}
users:
  id: {attribute: userName, part: local}
  members: {domains: [acme.example]}
groups:
  id: {attribute: displayName, replace: {" ": "-"}}
"""
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
GUID = "2819c223-7f76-453a-919d-413861904646"


def user(name: str, key: Any = None, **more: Any) -> dict[str, Any]:
    base = {"schemas": [USER], "id": key or f"id-{name}", "userName": f"{name}@acme.example", "active": True}
    return {**base, **more}


def group(name: str, *members: str, **more: Any) -> dict[str, Any]:
    listed = [{"value": f"id-{x}"} for x in members]
    return {"schemas": [GROUP], "id": f"id-{name}", "displayName": name, "members": listed, **more}


def page(*resources: Any, **more: Any) -> dict[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": len(resources),
        "startIndex": 1,
        "itemsPerPage": len(resources),
        "Resources": list(resources),
        **more,
    }


def load(folder: Path, data: object, rules: str = RULES) -> ImportedIdentities:
    (folder / "scim.json").write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    (folder / "identity.yaml").write_text(rules, encoding="utf-8")
    return load_identities(folder / "scim.json", DirectoryFormat.SCIM, folder / "identity.yaml")


def problem(folder: Path, data: object, rules: str = RULES) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, data, rules)
    return str(caught.value)


def users(document: DirectoryFile) -> dict[str, tuple[str, str]]:
    return {x.id: (x.kind, x.state) for x in document.users or ()}


def groups(document: DirectoryFile) -> dict[str, tuple[tuple[str, ...], bool | None]]:
    return {x.id: (tuple(m.id for m in x.members), x.complete) for x in document.groups or ()}


def test_users_and_nested_groups(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        [page(user("ada"), user("ben")), page(group("HR Team", "ada"), group("staff", "HR Team", "ben"))],
    )
    assert found.notes == ()
    assert found.document.complete
    assert users(found.document) == {"user:ada": ("member", "active"), "user:ben": ("member", "active")}
    assert groups(found.document) == {
        "group:hr-team": (("user:ada",), None),
        "group:staff": (("group:hr-team", "user:ben"), None),
    }
    assert found.document.defaults.clearance == {"member": "Internal", "guest": "Public"}
    assert found.document.applications is None


def test_one_response_may_list_both(tmp_path: Path) -> None:
    found = load(tmp_path, page(user("ada"), group("hr", "ada")))
    assert groups(found.document) == {"group:hr": (("user:ada",), None)}


def test_native_ids_become_aliases(tmp_path: Path) -> None:
    external = "11111111-2222-3333-4444-555555555555"
    emails = [{"value": "Ada@Acme.example", "primary": True}, {"value": "other@acme.example"}]
    someone = user("ada", GUID.upper(), externalId=external, displayName="Ada Marsh", emails=emails)
    entry = (load(tmp_path, page(someone)).document.users or [])[0]
    assert entry.name == "Ada Marsh"
    names = [f"scim:{GUID.upper()}", f"object:{GUID}", f"object:{external}", "mail:ada@acme.example"]
    assert list(entry.native_ids()) == names


@pytest.mark.parametrize(
    ("emails", "mail"),
    [
        ([{"value": "a@acme.example"}], "a@acme.example"),
        ([{"value": "a@acme.example"}, {"value": "b@acme.example"}], None),
        ([{"value": "a@acme.example"}, {"value": "b@acme.example", "primary": "True"}], "b@acme.example"),
        ([{"value": "not an address"}], None),
        ([{"type": "work"}], None),
        ([], None),
    ],
)
def test_which_address_counts(tmp_path: Path, emails: list[object], mail: str | None) -> None:
    assert (load(tmp_path, page(user("ada", emails=emails))).document.users or [])[0].mail == mail


@pytest.mark.parametrize("active", [True, False])
def test_entra_writes_active_as_text(tmp_path: Path, active: bool) -> None:
    found = load(tmp_path, page(user("ada", active=active), user("ben", active=str(active))))
    state = "active" if active else "disabled"
    assert users(found.document) == {"user:ada": ("member", state), "user:ben": ("member", state)}


def test_who_is_not_said_to_be_active_is_not(tmp_path: Path) -> None:
    someone = user("ada")
    del someone["active"]
    found = load(tmp_path, page(someone))
    assert users(found.document)["user:ada"] == ("member", "disabled")
    assert "not said to be active" in found.notes[0]


def test_attributes_are_found_in_any_case(tmp_path: Path) -> None:
    someone = {"SCHEMAS": [USER.upper()], "ID": "1", "username": "ada@acme.example", "Active": True}
    assert users(load(tmp_path, page(someone)).document) == {"user:ada": ("member", "active")}


def test_a_resource_type_is_as_good_as_a_schema(tmp_path: Path) -> None:
    someone = {**user("ada"), "schemas": [ENTERPRISE], "meta": {"resourceType": "User"}}
    assert "user:ada" in users(load(tmp_path, page(someone)).document)


def test_an_empty_group_is_known_and_a_missing_list_is_not(tmp_path: Path) -> None:
    silent = group("silent")
    del silent["members"]
    found = load(tmp_path, [page(user("ada")), page(group("empty"), silent)])
    assert groups(found.document) == {"group:empty": ((), None), "group:silent": ((), False)}
    assert "counts as incomplete" in found.notes[0]
    knowingly = RULES + "  absent_members: empty\n"
    assert groups(load(tmp_path, page(silent), knowingly).document) == {"group:silent": ((), None)}


@control("acl:identity-rules", "acl:directory-incomplete")
def test_a_member_outside_the_export_makes_its_group_incomplete(tmp_path: Path) -> None:
    found = load(tmp_path, page(user("ada"), group("hr", "ada", "ghost"), group("staff", "hr")))
    assert groups(found.document)["group:hr"] == (("user:ada",), False)
    assert found.document.complete
    assert "1 of its members are not in the export" in found.notes[0]
    assert "id-ghost" in found.notes[0]


@control("acl:identity-rules", "acl:directory-incomplete")
@pytest.mark.parametrize(
    "pages",
    [
        [page(user("ada"), totalResults=2)],
        [page(user("ada"), totalResults=3), page(user("ben"), totalResults=3, startIndex=2)],
        [page(user("ada"), totalResults=2), page(user("ben"), totalResults=2, startIndex=3)],
        [page(user("ada"), totalResults=2), page(user("ben"), totalResults=3, startIndex=2)],
        [page(user("ben"), totalResults=2, startIndex=2)],
        [page(user("ada"), totalResults=0)],
        [page(user("ada"), itemsPerPage=2, totalResults=2)],
        [page(user("ada"), user("ben"), itemsPerPage=1)],
        [page(user("ada"), totalResults=2), page(user("ada"), totalResults=2, startIndex=2)],
        [page(user("ada"), nextCursor="x", totalResults=2)],
    ],
)
def test_pages_that_are_missing_make_the_directory_incomplete(tmp_path: Path, pages: list[object]) -> None:
    found = load(tmp_path, pages)
    assert not found.document.complete
    assert any(x.startswith("incomplete: ") for x in found.notes)


@pytest.mark.parametrize(
    "pages",
    [
        [page(user("ada"), totalResults=2), page(user("ben"), totalResults=2, startIndex=2)],
        [page(user("ada"), totalResults=2, nextCursor="x"), page(user("ben"), totalResults=2)],
        [page(user("ada"), user("ben"), itemsPerPage=100)],
        [page(user("ada"), user("ben")), page()],
        [page(user("ada"), totalResults=2, startIndex=0), page(user("ben"), totalResults=2, startIndex=2)],
    ],
)
def test_pages_that_follow_each_other_are_complete(tmp_path: Path, pages: list[object]) -> None:
    found = load(tmp_path, pages)
    assert found.document.complete
    assert len(users(found.document)) == 2


def test_rules_may_say_that_it_is_never_complete(tmp_path: Path) -> None:
    assert not load(
        tmp_path, page(user("ada")), RULES.replace("complete: true", "complete: false")
    ).document.complete


@control("acl:identity-rules")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (page(user("ada"), user("ADA", "2")), "would be user:ada, which"),
        (page(user("ada"), {**user("ada", "2"), "userName": "ada@other.example"}), "would be user:ada"),
        (page(user("ada.ö")), "not a principal: 'user:ada.ö'"),
        (page(user("")), "not a principal"),
        (page(group("HR"), {**group("hr"), "id": "2"}), "would be group:hr"),
        (page(group("R&D")), "not a principal: 'group:r&d'"),
        (page(user("ada"), user("ada", active=False)), "the entries differ"),
        (
            page(
                user("ada", emails=[{"value": "x@acme.example"}]),
                user("ben", emails=[{"value": "X@acme.example"}]),
            ),
            "x@acme.example belongs to user:ada already",
        ),
        (page(group("a", "b"), group("b", "a")), "groups contain each other"),
        (page(group("a", "a")), "groups contain each other"),
    ],
)
def test_nobody_is_merged_and_nothing_unfit_is_an_id(tmp_path: Path, data: object, said: str) -> None:
    found = problem(tmp_path, data)
    assert said in found
    assert found.startswith(str(tmp_path))


def test_every_unfit_id_is_named(tmp_path: Path) -> None:
    found = problem(tmp_path, page(*(group(f"R&{n}") for n in range(25))))
    assert found.count("not a principal") == 20
    assert found.endswith("and 5 more")


def test_ids_may_be_given_by_hand(tmp_path: Path) -> None:
    rules = RULES.replace('replace: {" ": "-"}', 'ids: {"R&D": research}')
    assert list(groups(load(tmp_path, page(group("R&D")), rules).document)) == ["group:research"]


@pytest.mark.parametrize(
    ("members", "someone", "kind"),
    [
        ("{domains: [acme.example]}", user("ada"), "member"),
        ("{domains: [acme.example]}", {**user("ada"), "userName": "ada@acme.example.evil.example"}, "guest"),
        ("{domains: [acme.example]}", {**user("ada"), "userName": "ada"}, "guest"),
        ("{domains: [acme.example]}", user("ada", emails=[{"value": "ada@other.example"}]), "guest"),
        (
            "{domains: [ACME.example, other.example]}",
            user("ada", emails=[{"value": "a@other.example"}]),
            "member",
        ),
        ("{attribute: userType, values: [Member]}", user("ada", userType="member"), "member"),
        ("{attribute: userType, values: [Member]}", user("ada", userType="Guest"), "guest"),
        ("{attribute: userType, values: [Member]}", user("ada"), "guest"),
        (
            "{attribute: userType, values: [Member], domains: [other.example]}",
            user("ada", userType="Member"),
            "guest",
        ),
        ("{all: true}", user("ada"), "member"),
        ("{all: true}", {**user("x"), "userName": "ada_other#EXT#@acme.example"}, "guest"),
    ],
)
def test_who_is_a_member(tmp_path: Path, members: str, someone: dict[str, Any], kind: str) -> None:
    rules = RULES.replace("{domains: [acme.example]}", members).replace(
        "part: local}", 'part: local, replace: {"#": "."}}'
    )
    assert [x[0] for x in users(load(tmp_path, page(someone), rules).document).values()] == [kind]


def test_services_and_clearances_come_from_attributes(tmp_path: Path) -> None:
    rules = RULES.replace(
        "groups:",
        f"  services: {{attribute: userType, values: [bot]}}\n"
        f"  clearance: {{attribute: '{ENTERPRISE}:department', values: {{board: Secret}}}}\ngroups:",
    )
    bot, boss = user("bot", userType="Bot"), user("ada", **{ENTERPRISE: {"department": "Board"}})
    document = load(tmp_path, page(bot, boss), rules).document
    assert [(x.id, x.kind, x.clearance) for x in document.users or ()] == [
        ("service:bot", "service", None),
        ("user:ada", "member", "Secret"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not valid JSON"),
        (json.dumps(page(user("ada"))).encode()[:-5], "not valid JSON"),
        (b"[" * 100_000, "nested too deep"),
        (7, "must be an object"),
        ([], "no ListResponse"),
        ({"Resources": []}, "is no ListResponse"),
        (
            {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": []},
            "is no ListResponse",
        ),
        (page(user("ada"), totalResults="1"), "totalResults: must be a whole number"),
        ({k: v for k, v in page().items() if k != "totalResults"}, "'totalResults' is missing"),
        (page({"schemas": [USER], "userName": "x"}), "'id' must be text"),
        (page({"schemas": [USER], "id": 7, "userName": "x"}), "'id' must be text"),
        (page({"schemas": [USER], "id": "1"}), "'userName' must be text"),
        (page({"schemas": [GROUP], "id": "1"}), "'displayName' must be text"),
        (page({"schemas": ["urn:x"], "id": "1"}), "neither a user nor a group"),
        (page({"schemas": [USER, GROUP], "id": "1"}), "neither a user nor a group"),
        (page(user("ada", active="maybe")), "active: must be true or false"),
        (page(user("ada", active=1)), "active: must be true or false"),
        (page({**user("ada"), "Active": True}), "are one attribute"),
        (page(group("a", members={"value": "x"})), "members: must be a list"),
        (page(group("a", members=["x"])), "must be an object"),
        (page(group("a", members=[{"display": "x"}])), "'value' must be text"),
        (page(user("a\u202eb", "1")), "'userName' must be text"),
        (page(user("ada"), Resources=7), "must be a list"),
        (page(), "neither users nor groups"),
    ],
)
def test_a_malformed_export_is_refused(tmp_path: Path, data: object, said: str) -> None:
    found = problem(tmp_path, data)
    assert said in found
    assert found.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RULES.replace("tenant: acme\n", ""), "tenant: is missing"),
        (RULES.replace("complete: true\n", ""), "complete: is missing"),
        (RULES.replace("  members: {domains: [acme.example]}\n", ""), "users.members: is missing"),
        (RULES.replace("{domains: [acme.example]}", "{}"), "users.members: give domains, or"),
        (RULES.replace("{domains: [acme.example]}", "{attribute: x}"), "belong together"),
        (RULES.replace("{domains: [acme.example]}", "{all: true, domains: [x]}"), "`all: true` alone"),
        (RULES.replace("{domains: [acme.example]}", "{all: false}"), "users.members.all"),
        (RULES.replace("{domains: [acme.example]}", "all"), "users.members: must be keys with values"),
        (RULES + "  nested: false\n", "groups.nested: unknown key"),
        (RULES.replace("userName", "nickName"), "has no values of 'nickName'"),
        (RULES.replace('{" ": "-"}', '{"": "-"}'), "replace"),
    ],
)
def test_rules_that_say_too_little_are_refused(tmp_path: Path, rules: str, said: str) -> None:
    assert said in problem(tmp_path, page(user("ada"), group("hr")), rules)


def test_limits_refuse_the_whole_export() -> None:
    data = json.dumps(page(user("ada"), user("ben"))).encode()
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read_scim(data, "s.json", limits=Limits(max_bytes=10))
    with pytest.raises(ConfigError, match="more than 1 users and groups"):
        read_scim(data, "s.json", limits=Limits(max_items=1))
    with pytest.raises(ConfigError, match="larger than"):
        read_scim(b" " * (100 << 20), "s.json")


def test_rules_belong_to_exports_and_exports_to_rules(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text("tenant: acme\ncomplete: true\nusers: []\n", encoding="utf-8")
    assert load_identities(tmp_path / "d.yaml").notes == ()
    with pytest.raises(ConfigError, match="only exports of identity systems have rules"):
        load_identities(tmp_path / "d.yaml", rules=tmp_path / "identity.yaml")
    with pytest.raises(ConfigError, match="say --identity FILE"):
        load_identities(tmp_path / "d.yaml", DirectoryFormat.SCIM)


def test_the_example_comes_to_what_the_page_says() -> None:
    folder = Path(__file__).parents[4] / "acl/examples/scim"
    found = load_identities(folder / "export.json", DirectoryFormat.SCIM, folder / "identity.yaml")
    assert found.notes == ()
    assert users(found.document) == {
        "user:ada.marsh": ("member", "active"),
        "user:ben.okoro": ("member", "disabled"),
        "user:g.otis": ("guest", "active"),
    }
    assert groups(found.document) == {
        "group:hr-team": (("user:ada.marsh",), None),
        "group:staff": (("group:hr-team", "user:ben.okoro"), None),
        "group:research": ((), None),
    }
