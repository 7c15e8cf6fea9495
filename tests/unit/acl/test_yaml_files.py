"""YAML that tries something is refused, with its place."""

from __future__ import annotations

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.yaml_files import parse_yaml
from tests.controls import control

BOMB = "a: &a [x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)


@control("acl:files-refused")
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: 2\na: 3\n", "f.yaml:3: the key 'a' occurs twice"),
        (b"a: {b: 1, b: 2}\n", "f.yaml:1: the key 'b' occurs twice"),
        (b"a: &x 1\n", "f.yaml:1: anchors and aliases"),
        (BOMB.encode(), "f.yaml:1: anchors and aliases"),
        (b"a: !!python/object/apply:os.system [id]\n", "f.yaml:1: tags are not supported"),
        (b"a: !!binary aGk=\n", "tags are not supported"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2: more than one document"),
        (b"<<: {a: 1}\n", "merge keys"),
        (b"1: a\n", "f.yaml:1: a key must be text"),
        (b"yes: a\n", "a key must be text"),
        (b"? [a]\n: b\n", "a key must be text"),
        (b"a: [\n", "not valid YAML"),
        (b"a: b: c\n", "f.yaml:1: not valid YAML"),
        (b"a:\n\t- b\n", "f.yaml:2: not valid YAML"),
        (b"a: 2027-13-01\n", "f.yaml:1: not a valid value"),
        (b"a: b\nc: \xff\n", "f.yaml:2: not UTF-8"),
        ("a: \u0000\n".encode(), "not valid YAML"),
        ("a: [1]\n".encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nest"),
        (b"a: " + b"[" * 17 + b"]" * 17, "nested deeper than 16"),
        (b"- " * 400 + b"a", "nested deeper than 16"),
        (b"#" * ((1 << 20) + 1), "larger than"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(data, "f.yaml")
    assert said in str(caught.value)


def test_values_and_lines() -> None:
    file = parse_yaml(b"\xef\xbb\xbfa: 1\nb:\n  - x\n  - {c: 'y'}\n", "f.yaml")
    assert file.data == {"a": 1, "b": ["x", {"c": "y"}]}
    assert file.place(("a",)) == "f.yaml:1"
    assert file.place(("b", 1, "c")) == "f.yaml:4"
    assert file.place(("b", 7)) == "f.yaml:3"
    assert file.place(("none", "at", "all")) == "f.yaml:1"
    assert str(file.error(("b", 0), "is wrong")) == "f.yaml:3: b.0: is wrong"
    assert parse_yaml(b"", "f.yaml").data is None
