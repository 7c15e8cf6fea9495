"""Lines put into a mapping as text: everything else stays byte for byte."""

from __future__ import annotations

import json

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.ids import PrincipalId
from secure_rag_acl.data_files import MAX_BYTES
from secure_rag_acl.mapping_edits import NewLine, with_lines
from secure_rag_acl.yaml_files import parse_yaml

ADA = NewLine("sid:S-1-5-21-1", PrincipalId("user:ada"))
ODD = NewLine('a "quoted": #name, [x]', PrincipalId("group:odd"), merge=True)
OWN = {"native": "HR Team", "principal": "group:hr"}
RULES = "rules:\n  - {path: '**', allow: [everyone]}  # all\n"

MAPPINGS = {
    "block": f"# a\nsource: hr\nprincipals:\n  # b\n  - {{native: HR Team, principal: group:hr}}  # c\n\n  #\n{RULES}",
    "items over lines": f"source: hr\nprincipals:\n  - native: HR Team\n    principal: group:hr\n# rules\n{RULES}",
    "not indented": f"source: hr\nprincipals:\n- native: HR Team\n  principal: group:hr\n{RULES}",
    "last section": "source: hr\nrules: []\nprincipals:\n  - {native: HR Team, principal: group:hr}\n",
    "no end of line": "source: hr\nrules: []\nprincipals:\n  - {native: HR Team, principal: group:hr}",
    "flow over lines": "source: hr\nprincipals: [\n  {native: HR Team, principal: group:hr},  # last\n]\nrules: []\n",
    "flow": "source: hr\nprincipals: [{native: HR Team, principal: group:hr}]\nrules: []\n",
    "windows": "source: hr\r\nprincipals:\r\n  - {native: HR Team, principal: group:hr}\r\nrules: []\r\n",
    "json": json.dumps({"source": "hr", "principals": [OWN], "rules": []}),
    "json over lines": json.dumps({"rules": [], "source": "hr", "principals": [OWN]}, indent=2),
    "long text": "source: hr\nprincipals:\n  - native: >-\n      HR\n      Team\n    principal: group:hr\n\nrules: []",
    "beyond ascii": f"# größer 🗝\nsource: hr\nprincipals: [{{native: HR Team, principal: group:hr}}] # ü\n{RULES}",
}  # fmt: skip
EMPTY = {
    "none": f"# ours\nsource: hr  # whose\n{RULES}",
    "none at the end": f"{RULES}source: hr",
    "empty": f"source: hr\nprincipals: []  # none yet\n{RULES}",
    "json": '{"source": "hr", "rules": []}',
    "empty json": '{"source": "hr", "principals": [], "rules": []}',
}


@pytest.mark.parametrize("text", MAPPINGS.values(), ids=MAPPINGS.keys())
def test_lines_come_behind_those_that_are_there(text: str) -> None:
    edited = with_lines(text.encode(), "m.yaml", [ADA, ODD]).decode()
    data = parse_yaml(edited.encode(), "m.yaml").data
    before = parse_yaml(text.encode(), "m.yaml").data
    assert isinstance(data, dict)
    assert isinstance(before, dict)
    assert data == {**before, "principals": [OWN, ADA.data(), ODD.data()]}
    assert without(edited, text)


@pytest.mark.parametrize("text", EMPTY.values(), ids=EMPTY.keys())
def test_the_first_lines(text: str) -> None:
    edited = with_lines(text.encode(), "m.yaml", [ADA]).decode()
    data = parse_yaml(edited.encode(), "m.yaml").data
    assert isinstance(data, dict)
    assert data["principals"] == [ADA.data()]
    assert without(edited, text)
    again = with_lines(edited.encode(), "m.yaml", [ODD]).decode()
    found = parse_yaml(again.encode(), "m.yaml").data
    assert isinstance(found, dict)
    assert found["principals"] == [ADA.data(), ODD.data()]


def without(edited: str, text: str) -> bool:
    """Whether one piece was put into the text and nothing else changed."""
    at = next((n for n, (a, b) in enumerate(zip(edited, text, strict=False)) if a != b), len(text))
    return any(
        edited[:n] + edited[n + len(edited) - len(text) :] == text for n in range(max(0, at - 80), at + 1)
    )


def test_line_ends_and_byte_order_mark_stay() -> None:
    text = "\ufeff" + MAPPINGS["windows"]
    edited = with_lines(text.encode(), "m.yaml", [ADA])
    assert edited.startswith(b"\xef\xbb\xbfsource")
    assert b"\n" not in edited.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "source: hr\nprincipals:\nrules: []\n",
        "source: hr\nprincipals: {}\n",
        "source: [",
        "a: &x 1",
    ],
)
def test_what_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        with_lines(text.encode(), "m.yaml", [ADA])


def test_no_lines_and_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match="no lines"):
        with_lines(MAPPINGS["block"].encode(), "m.yaml", [])
    many = [NewLine(f"name {n} {'x' * 400}", PrincipalId(f"user:u{n}")) for n in range(3_000)]
    with pytest.raises(ConfigError, match=f"larger than {MAX_BYTES}"):
        with_lines(MAPPINGS["block"].encode(), "m.yaml", many)
