"""Directory files: YAML, JSON and CSV say the same; what is wrong is named with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.directory_files import load_directory, parse_directory
from secure_rag_acl.nesting import nesting_problem
from tests.controls import control
from tests.unit.acl.homes import GRANT, directory

HEAD = f"""\
tenant: acme
complete: true
defaults: {{clearance: {{member: Internal}}}}
applications: [{{id: app:chat, grant: {GRANT}}}]
"""
YAML = (
    HEAD
    + """\
users:
  - id: user:ann
    kind: member
    name: "Ann, M."
    mail: ann@acme.example
    clearance: Secret
    compartments: [heron, board]
  - {id: user:gus, kind: guest, state: disabled}
groups:
  - id: group:hr
    name: HR
    members:
      - {id: user:ann, valid_from: 2024-01-01, valid_to: 2030-06-30T12:00:00Z}
      - user:gus
  - {id: group:empty, complete: false, members: []}
"""
)
USERS_CSV = """\
id,kind,state,name,mail,clearance,compartments
user:ann,member,,"Ann, M.",ann@acme.example,Secret,heron board
user:gus,guest,disabled,,,,
"""
GROUPS_CSV = """\
id,name,complete,member,valid_from,valid_to
group:hr,HR,,user:ann,2024-01-01,2030-06-30T12:00:00Z
group:empty,,false,,,
group:hr,,,user:gus,,
"""


def folder(at: Path, users: str = USERS_CSV, groups: str = GROUPS_CSV, head: str = HEAD) -> Path:
    at.mkdir(exist_ok=True)
    (at / "directory.yaml").write_text(head, encoding="utf-8")
    (at / "users.csv").write_text(users, encoding="utf-8")
    (at / "groups.csv").write_text(groups, encoding="utf-8")
    return at


YAML_AS_JSON = json.dumps(
    {
        "tenant": "acme",
        "complete": True,
        "defaults": {"clearance": {"member": "Internal"}},
        "applications": [
            {
                "id": "app:chat",
                "grant": {
                    "actions": ["read"],
                    "label": "Secret",
                    "compartments": ["heron"],
                    "sources": ["*"],
                    "purposes": ["qa"],
                    "expires": "2099-01-01",
                },
            }
        ],
        "users": [
            {
                "id": "user:ann",
                "kind": "member",
                "name": "Ann, M.",
                "mail": "ann@acme.example",
                "clearance": "Secret",
                "compartments": ["heron", "board"],
            },
            {"id": "user:gus", "kind": "guest", "state": "disabled"},
        ],
        "groups": [
            {
                "id": "group:hr",
                "name": "HR",
                "members": [
                    {"id": "user:ann", "valid_from": "2024-01-01", "valid_to": "2030-06-30T12:00:00Z"},
                    "user:gus",
                ],
            },
            {"id": "group:empty", "complete": False, "members": []},
        ],
    }
)


def test_the_three_forms_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(YAML, encoding="utf-8")
    (tmp_path / "d.json").write_text(YAML_AS_JSON, encoding="utf-8")
    yaml = load_directory(tmp_path / "d.yaml").model_dump()
    assert load_directory(tmp_path / "d.json").model_dump() == yaml
    assert load_directory(folder(tmp_path / "csv")).model_dump() == yaml
    assert yaml["groups"][0]["members"][0]["valid_to"] == 1_909_051_200_000_000


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_directory(text.encode(), "d.yaml")
    return str(caught.value)


def app(grant: str = GRANT, name: str = "app:a") -> str:
    return f"tenant: acme\ncomplete: true\napplications: [{{id: {name}, grant: {grant}}}]\n"


def chain(length: int) -> str:
    return "".join(
        f"  - {{id: group:g{n}, members: [{f'group:g{n + 1}' if n + 1 < length else ''}]}}\n"
        for n in range(length)
    )


@control("acl:directory-validated")
@pytest.mark.parametrize(
    ("users", "groups", "said"),
    [
        (
            "  - {id: user:a, kind: member}\n  - {id: user:a, kind: member}\n",
            "",
            "d.yaml:6: users.1.id: user:a occurs twice",
        ),
        ("  - {id: group:a, kind: member}\n", "", "d.yaml:5: users.0.id: group:a does not belong into users"),
        ("  - {id: everyone, kind: member}\n", "", "does not belong into users"),
        ("  - {id: user:a, kind: service}\n", "", "d.yaml:5: users.0.kind: user:a cannot be a service"),
        ("  - {id: service:a, kind: member}\n", "", "service:a cannot be a member"),
        ("  - {id: user:a}\n", "", "d.yaml:5: users.0.kind: is missing"),
        ("  - {id: user:a, kind: boss}\n", "", "users.0.kind"),
        ("  - {id: user:a, kind: member, state: deleted}\n", "", "users.0.state"),
        ("  - {id: 'user:A', kind: member}\n", "", "users.0.id: not a principal: 'user:A'"),
        ("  - {id: 'user:a\\u0301', kind: member}\n", "", "not a principal"),
        ('  - {id: user:a, kind: member, name: "a\\u0007b"}\n', "", "users.0.name: not a name"),
        ('  - {id: user:a, kind: member, name: "a\\u202eb"}\n', "", "users.0.name: not a name"),
        ("  - {id: user:a, kind: member, mail: nobody}\n", "", "users.0.mail: not a mail address"),
        (
            "  - {id: user:a, kind: member, mail: a@x.example}\n  - {id: user:b, kind: member, mail: A@X.example}\n",
            "",
            "users.1.mail: a@x.example belongs to user:a already",
        ),
        ("  - {id: user:a, kind: member, groups: [group:b]}\n", "", "users.0.groups: unknown key"),
        ("", "  - {id: group:a}\n", "groups.0.members: is missing"),
        ("", "  - {id: group:a, members: [everyone]}\n", "everyone cannot be a member of a group"),
        ("", "  - {id: group:a, members: [user:b, user:b]}\n", "user:b occurs twice in group:a"),
        (
            "",
            "  - {id: group:a, members: [{id: user:b, valid_from: 2026-02-01, valid_to: 2026-01-01}]}\n",
            "valid_to is not after valid_from",
        ),
        (
            "",
            "  - {id: group:a, members: [{id: user:b, valid_to: 2026-01-01T00:00:00}]}\n",
            "groups.0.members.0.valid_to: a time needs its zone",
        ),
        ("", "  - {id: group:a, members: [{id: user:b, valid_to: soon}]}\n", "not a date or time"),
        ("", "  - {id: group:a, members: [group:a]}\n", "groups contain each other: group:a in group:a"),
        (
            "",
            "  - {id: group:a, members: [group:b]}\n  - {id: group:b, members: [group:c]}\n"
            "  - {id: group:c, members: [group:a]}\n",
            "groups contain each other: group:a in group:c in group:b in group:a",
        ),
        ("", chain(65), "groups are nested deeper than 64 levels"),
    ],
)
def test_a_wrong_directory_is_refused(users: str, groups: str, said: str) -> None:
    found = problem(directory(users, groups))
    assert said in found
    assert found.startswith("d.yaml:")


@control("acl:directory-validated")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tenant: acme\ncomplete: true\n", "no section"),
        ("tenant: acme\nusers: []\n", "complete: is missing"),
        ("tenant: acme\ncomplete: yes please\nusers: []\n", "complete: must be true or false"),
        ("tenant: ACME\ncomplete: true\nusers: []\n", "tenant: not a valid name"),
        (
            "tenant: acme\ncomplete: true\ndefaults: {clearance: {agent: Secret}}\nusers: []\n",
            "defaults.clearance",
        ),
        (
            f"tenant: acme\ncomplete: true\napplications: [{{id: user:a, grant: {GRANT}}}]\n",
            "does not belong into applications",
        ),
        ("tenant: acme\ncomplete: true\napplications: [{id: app:a}]\n", "grant: is missing"),
        (
            app(GRANT.replace("[read]", "[]")),
            "grant.actions",
        ),
        (
            app(GRANT.replace("[read]", "[write]")),
            "grant.actions.0",
        ),
        (
            app(GRANT.replace(", expires: 2099-01-01", "")),
            "grant.expires: is missing",
        ),
        (
            app(GRANT.replace("['*']", "['*', hr]")),
            "either * or names",
        ),
        (
            app(GRANT.replace("[heron]", "['*']")),
            "not a compartment name",
        ),
        (
            app(GRANT.replace("[qa]", "['*']")),
            "not a valid name",
        ),
        (
            f"tenant: acme\ncomplete: true\nagents: [{{id: agent:a, owner: group:x, grant: {GRANT}}}]\n",
            "owned by a user",
        ),
        (f"tenant: acme\ncomplete: true\nagents: [{{id: agent:a, grant: {GRANT}}}]\n", "owner: is missing"),
    ],
)
def test_a_wrong_head_or_grant_is_refused(text: str, said: str) -> None:
    assert said in problem(text)


@control("acl:directory-validated")
@pytest.mark.parametrize(
    ("users", "groups", "said"),
    [
        ("id,kind\nuser:ann,boss\n", GROUPS_CSV, "users.csv:2: users.0.kind"),
        ("id,kind\nuser:ann\n", GROUPS_CSV, "users.csv:2: 1 cells where the header has 2"),
        ("id,kind,salary\nuser:ann,member,1\n", GROUPS_CSV, "users.csv:1: columns are"),
        ("kind\nmember\n", GROUPS_CSV, "users.csv:1: columns are"),
        ("id,id\nuser:ann,user:ann\n", GROUPS_CSV, "users.csv:1: columns are"),
        ('id,kind\n"user:ann,member\n', GROUPS_CSV, "not valid CSV"),
        (USERS_CSV, GROUPS_CSV + "group:hr,Finance,,,,\n", "groups.csv:5: group:hr has another name"),
        (USERS_CSV, GROUPS_CSV + "group:x,,maybe,,,\n", "groups.csv:5: complete must be true or false"),
        (
            USERS_CSV,
            GROUPS_CSV + "group:hr,,,user:ANN,,\n",
            "groups.csv:5: groups.0.members.2.id: not a principal",
        ),
        (
            USERS_CSV,
            GROUPS_CSV + "group:hr,,,user:ann,,\n",
            "groups.csv:5: groups.0.members.2: user:ann occurs twice",
        ),
        (USERS_CSV + ",member,,,,,\n", GROUPS_CSV, "users.csv:4: users.2.id: is missing"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, users: str, groups: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_directory(folder(tmp_path / "d", users, groups))
    assert said in str(caught.value)


@control("acl:directory-validated")
def test_a_folder_has_one_place_for_everything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"directory.yaml:5: users: these come from users.csv"):
        load_directory(folder(tmp_path / "a", head=HEAD + "users: []\n"))
    with pytest.raises(ConfigError, match="must be keys with values"):
        load_directory(folder(tmp_path / "b", head="- a\n"))
    lone = folder(tmp_path / "c")
    (lone / "groups.csv").unlink()
    with pytest.raises(ConfigError, match=r"groups.csv: cannot be read"):
        load_directory(lone)
    with pytest.raises(ConfigError, match=r"directory.yaml:4: applications.0.id"):
        load_directory(folder(tmp_path / "d", head=HEAD.replace("app:chat", "user:chat")))


@control("acl:directory-validated")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "d.json:1: not valid JSON"),
        ('{"tenant": "a",\n "tenant": "b"}', "a key occurs twice"),
        ("[" * 100_000, "nested too deeply"),
        (
            '{"tenant": "acme", "complete": true, "users": [{"id": "user:a"}]}',
            "d.json: users.0.kind: is missing",
        ),
        ("[]", "must be keys with values"),
        ('{"tenant": "acme", "complete": NaN}', "complete"),
    ],
)
def test_wrong_json_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_directory(path)
    assert said in str(caught.value)


def test_nesting_is_walked_without_recursion() -> None:
    assert nesting_problem((f"group:{n}", f"group:{n + 1}") for n in range(63)) is None
    assert "deeper than 64" in str(nesting_problem((f"group:{n}", f"group:{n + 1}") for n in range(64)))
    assert "deeper than 64" in str(nesting_problem((f"group:{n}", f"group:{n + 1}") for n in range(50_000)))
    wide = [(f"group:a{n}", f"group:b{m}") for n in range(60) for m in range(60)]
    wide += [(f"group:b{n}", f"group:c{m}") for n in range(60) for m in range(60)]
    assert nesting_problem(wide) is None
    joined = [(f"group:{n}", f"group:{n + 1}") for n in range(40)] + [
        (f"group:{n}", f"group:{n + 1}") for n in range(100, 140)
    ]
    assert nesting_problem(joined) is None
    assert "deeper" in str(nesting_problem([*joined, ("group:40", "group:100")]))


def test_tables_have_native_ids(tmp_path: Path) -> None:
    sid, guid = "S-1-5-21-1-2-3-1107", "00112233-4455-6677-8899-aabbccddeeff"
    users = f"id,kind,sid,object_id\nuser:ann,member,{sid},{guid}\n"
    teams = "id,mail,sid,member\ngroup:hr,hr@acme.example,S-1-5-21-1-2-3-4,user:ann\ngroup:hr,,,user:ben\n"
    document = load_directory(folder(tmp_path / "d", users, teams))
    assert set((document.users or [])[0].native_ids()) == {f"sid:{sid}", f"object:{guid}"}
    assert set((document.groups or [])[0].native_ids()) == {"mail:hr@acme.example", "sid:S-1-5-21-1-2-3-4"}
    with pytest.raises(ConfigError, match=r"groups\.csv:4: group:hr has another sid"):
        load_directory(folder(tmp_path / "d", users, teams + "group:hr,,S-1-5-21-1-2-3-5,\n"))
