"""Names in folders: what can be an identifier, what is shown of the rest, and which sidecar guards what."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_rag_ingestion.connectors.names import Sidecars, is_identifier, shown


@pytest.mark.parametrize(
    "name",
    [
        "report.txt",
        "Über-Größe.txt",
        "résumé.pdf",
        "報告.docx",
        "Shot 3.04\u202fPM.txt",
        "a\u00a0c",
        "x\\y",
        "😀.md",
    ],
)
def test_ordinary_names_are_identifiers(name: str) -> None:
    assert is_identifier(name)
    assert shown(name) == name


@pytest.mark.parametrize(
    "raw",
    [b"line\nbreak", b"bell\x07", b"latin-\xe9.txt", "rtl-\u202e.txt".encode(), "zero\u200bwidth".encode(), b"\x1b[31m",
     "tag\U000e0041".encode(), "line\u2028separator".encode()],
)  # fmt: skip
def test_names_that_deceive_or_are_no_text_are_none(raw: bytes) -> None:
    name = os.fsdecode(raw)
    assert not is_identifier(name)
    escaped = shown(name)
    assert is_identifier(escaped)
    assert escaped.startswith("./")
    escaped.encode("utf-8")


_names = st.binary(min_size=1, max_size=6).map(
    lambda x: os.fsdecode(x.replace(b"/", b"-").replace(b"\0", b"-"))
)


@given(first=_names, second=_names)
def test_no_two_names_are_shown_alike(first: str, second: str) -> None:
    assert (shown(first) == shown(second)) == (first == second)


def test_an_escaped_form_is_never_the_name_of_a_file() -> None:
    # Without its prefix the second would be the first: two run items with one name.
    assert shown(os.fsdecode(b"a\xff")) != shown("a\\xff")
    assert shown(os.fsdecode(b"a\xff\x01")) != shown(os.fsdecode(b"a\\xff\x01"))


def test_a_sidecar_guards_the_file_of_its_exact_name() -> None:
    found = Sidecars.among(["a.txt", "a.txt.acl.yaml", "b.txt"])
    assert found.proper == {"a.txt.acl.yaml"}
    assert not found.stray
    assert found.meant_for("a.txt") is None
    assert found.meant_for("b.txt") is None


@pytest.mark.parametrize(
    ("sidecar", "document"),
    [
        ("a.txt.acl.yml", "a.txt"),
        ("a.txt.ACL.YAML", "a.txt"),
        ("A.TXT.acl.yaml", "a.txt"),
        ("e\u0301.txt.acl.yaml", "\u00e9.txt"),
        ("\u00e9.txt.acl.yml", "e\u0301.txt"),
    ],
)
def test_a_sidecar_that_is_spelt_otherwise_is_noticed(sidecar: str, document: str) -> None:
    found = Sidecars.among([sidecar, document, "other.txt"])
    assert not found.proper
    assert found.stray == {sidecar}
    assert found.meant_for(document) == sidecar
    assert found.meant_for("other.txt") is None


def test_twins_have_their_own_sidecars() -> None:
    found = Sidecars.among(["A.txt", "a.txt", "a.txt.acl.yaml"])
    assert found.proper == {"a.txt.acl.yaml"}
    assert found.meant_for("A.txt") is None


def test_a_sidecar_of_nothing() -> None:
    found = Sidecars.among([".acl.yaml", "gone.txt.acl.yaml", "a.acl.yaml.acl.yaml"])
    assert not found.proper
    assert found.stray == {"gone.txt.acl.yaml", "a.acl.yaml.acl.yaml"}
