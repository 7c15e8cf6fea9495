"""Mappings and sidecars: what they mean, and what is refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import NEVER, PrincipalId
from secure_rag.model.locks import MAX_LOCKS
from secure_rag.model.permissions import MappedLock, MappedPermissions, Origin, UnresolvedName
from secure_rag.ports import PermissionMapper
from secure_rag_acl.mappings import load_mapping, parse_mapping
from tests.controls import control

MAPPING = """\
source: hr
principals:
  - {native: "HR Team", principal: group:hr}
  - {native: "Finance", principal: group:finance}
rules:
  - path: "**"
    allow: ["HR Team", everyone, {principal: "HR Team", expires: 2027-01-31T00:00:00Z}]
    deny: ["Contractors"]
    label: Internal
  - path: "payroll/**"
    locks:
      - {allow: ["HR Team"]}
      - {allow: [group:finance, "Auditors"], deny: [group:contractors]}
    label: Confidential
    compartments: [board]
  - path: "payroll/open/**"
    allow: [user:ada.marsh]
"""
JAN_31 = 1_801_353_600_000_000


def lock(*allow: str, deny: tuple[str, ...] = (), unresolved: bool = False) -> MappedLock:
    entries = tuple((PrincipalId(name), NEVER) for name in allow)
    return MappedLock(entries, tuple(PrincipalId(name) for name in deny), unresolved)


def mapper(text: str = MAPPING, *, authoritative: bool = False) -> PermissionMapper:
    return parse_mapping(text.encode(), "hr.yaml", "hr", authoritative_sidecars=authoritative)


def mapped(path: str, sidecar: str | None = None, *, authoritative: bool = False) -> MappedPermissions:
    data = None if sidecar is None else sidecar.encode()
    return mapper(authoritative=authoritative).map(path, data, None if sidecar is None else "x.acl.yaml")


@control("acl:mapping-last-rule")
def test_the_last_matching_rule_decides() -> None:
    assert mapped("notes.md").labels == ("Internal",)
    assert len(mapped("payroll/a.md").locks) == 2
    assert mapped("payroll/open/a.md").locks == (lock("user:ada.marsh"),)
    assert mapped("payroll/open/a.md").labels == ()


@control("acl:mapping-no-match-nobody")
def test_no_rule_means_nobody() -> None:
    text = "source: hr\nrules:\n  - {path: 'a/**', allow: [everyone]}\n"
    found = mapper(text).map("b/x.md", None, None)
    assert found == MappedPermissions((MappedLock(()),), (), (), (), ())
    assert mapper("source: hr\nrules: []\n").map("b", None, None).locks == (MappedLock(()),)


@control("acl:mapping-unmapped")
def test_names_are_resolved_and_unmapped_ones_close() -> None:
    found = mapped("notes.md")
    (first,) = found.locks
    assert first.allow == (("group:hr", NEVER), ("everyone", NEVER), ("group:hr", JAN_31))
    assert (first.deny, first.unresolved_deny) == ((), True)
    assert found.unresolved == (UnresolvedName("Contractors", "deny"),)
    assert found.origins == (
        Origin(0, "allow", "HR Team", "hr.yaml:7"),
        Origin(0, "allow", "everyone", "hr.yaml:7"),
        Origin(0, "allow", "HR Team", "hr.yaml:7"),
        Origin(0, "deny", "Contractors", "hr.yaml:8"),
    )
    payroll = mapped("payroll/a.md")
    assert payroll.locks[1] == lock("group:finance", deny=("group:contractors",))
    assert payroll.unresolved == (UnresolvedName("Auditors", "allow"),)
    assert payroll.compartments == ("board",)
    assert [x.lock for x in payroll.origins] == [0, 1, 1, 1]


@control("acl:mapping-unmapped")
def test_names_match_in_nfc_and_in_case() -> None:
    names = 'source: hr\nprincipals: [{native: "Caf\u00e9", principal: group:cafe}]\n'
    text = names + 'rules: [{path: "**", allow: ["Cafe\u0301", "CAF\u00c9"]}]\n'
    found = mapper(text).map("x", None, None)
    assert [name for name, _ in found.locks[0].allow] == ["group:cafe"]
    assert found.unresolved == (UnresolvedName("CAF\u00c9", "allow"),)


@control("acl:sidecar-narrows")
def test_a_sidecar_adds_locks_and_compartments_and_raises() -> None:
    sidecar = "locks: [{allow: [Finance], deny: [Nobody Knows]}]\nlabel: Restricted\ncompartments: [heron]\n"
    found = mapped("payroll/a.md", sidecar)
    assert found.locks[:2] == mapped("payroll/a.md").locks
    assert found.locks[2] == lock("group:finance", unresolved=True)
    assert found.labels == ("Confidential", "Restricted")
    assert found.compartments == ("board", "heron")
    assert [x.lock for x in found.origins] == [0, 1, 1, 1, 2, 2]
    assert found.origins[-1] == Origin(2, "deny", "Nobody Knows", "x.acl.yaml:1")
    assert UnresolvedName("Nobody Knows", "deny") in found.unresolved
    assert not found.default_counts


@control("acl:sidecar-narrows")
def test_a_sidecar_raises_above_the_source_default_only() -> None:
    found = mapped("payroll/open/a.md", "label: Public\n")
    assert (found.labels, found.default_counts) == (("Public",), True)
    assert not mapped("payroll/open/a.md", "compartments: [heron]\n").default_counts


@control("acl:sidecar-narrows")
def test_an_authoritative_sidecar_replaces() -> None:
    found = mapped("payroll/a.md", "locks: [{allow: [everyone]}]\nlabel: Public\n", authoritative=True)
    assert found.locks == (lock("everyone"),)
    assert (found.labels, found.default_counts) == (("Public",), False)
    assert found.compartments == ("board",)
    assert found.unresolved == ()
    label_only = mapped("payroll/a.md", "label: Public\n", authoritative=True)
    assert label_only.locks == mapped("payroll/a.md").locks
    locks_only = mapped("payroll/a.md", "locks: [{allow: []}]\n", authoritative=True)
    assert (locks_only.labels, locks_only.locks) == (("Confidential",), (MappedLock(()),))


@control("acl:mapping-collisions")
def test_two_names_for_one_principal_need_a_knowing_yes() -> None:
    lines = "principals:\n  - {native: Owners 1, principal: group:owners}\n"
    lines += "  - {native: Owners 2, principal: group:owners%s}\n"
    with pytest.raises(ConfigError, match=r"hr.yaml:4: principals.1: .*merge: true"):
        mapper(f"source: hr\n{lines % ''}rules: []\n")
    mapper(f"source: hr\n{lines % ', merge: true'}rules: []\n")


@control("acl:mapping-collisions")
def test_a_name_is_a_name_of_its_source() -> None:
    other = MAPPING.replace("source: hr", "source: wiki")
    with pytest.raises(ConfigError, match="mapping of 'wiki', not of 'hr'"):
        mapper(other)


@control("acl:files-refused")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "hr.yaml:1: must be keys with values"),
        ("source: hr\n", "rules: is missing"),
        ("source: hr\nrules: {}\n", "hr.yaml:2: rules: must be a list"),
        (
            "source: hr\nrules:\n  - {path: a, allow: []}\n  - {path: b, allow: [], lable: x}\n",
            "hr.yaml:4: rules.1.lable: unknown key",
        ),
        ("source: hr\nrules:\n  - path: a\n    deny: [x]\n", "hr.yaml:3: rules.0: neither"),
        ("source: hr\nrules:\n  - {path: a, label: Public}\n", "neither `locks` nor `allow`"),
        ("source: hr\nrules:\n  - {path: a, allow: [], locks: [{allow: []}]}\n", "not both"),
        ("source: hr\nrules:\n  - {path: a, deny: [], locks: [{allow: []}]}\n", "not both"),
        ("source: hr\nrules:\n  - {path: a, locks: []}\n", "rules.0.locks"),
        ("source: hr\nrules:\n  - {path: /a, allow: []}\n", "hr.yaml:3: rules.0.path: path pattern"),
        ("source: hr\nrules:\n  - {path: a, allow: [NO]}\n", "must be text; put it in quotes"),
        ("source: hr\nrules:\n  - {path: a, allow: [], deny: [12]}\n", "must be text; put it in quotes"),
        (
            "source: hr\nrules:\n  - {path: a, allow: ['user:Ada Marsh']}\n",
            "not a principal: 'user:Ada Marsh'",
        ),
        ("source: hr\nrules:\n  - {path: a, allow: [], deny: ['group:']}\n", "not a principal"),
        ("source: hr\nrules:\n  - {path: a, allow: [' padded ']}\n", "not a name"),
        ('source: hr\nrules:\n  - {path: a, allow: ["zero\\u200bwidth"]}\n', "not a name"),
        (
            "source: hr\nrules:\n  - {path: a, allow: [{principal: A, expires: 2027-01-31T00:00:00}]}\n",
            "needs its zone",
        ),
        ("source: hr\nrules:\n  - {path: a, allow: [{principal: A, expires: soon}]}\n", "not a date or time"),
        (
            "source: hr\nrules:\n  - {path: a, allow: [{principal: A, expires: 2027-02-30}]}\n",
            "hr.yaml:3: not a valid value",
        ),
        (
            "source: hr\nrules:\n  - {path: a, allow: [], deny: [{principal: A, expires: 2027-01-31}]}\n",
            "never expires",
        ),
        (
            "source: hr\nrules:\n  - {path: a, allow: [], compartments: [Big Room]}\n",
            "not a compartment name",
        ),
        ("source: hr\nprincipals: [{native: A, principal: hr}]\nrules: []\n", "not a principal: 'hr'"),
        (
            "source: hr\nprincipals: [{native: 'user:a', principal: group:hr}]\nrules: []\n",
            "reads like a canonical principal",
        ),
        (
            "source: hr\nprincipals:\n  - {native: A, principal: group:a}\n"
            "  - {native: A, principal: group:b}\nrules: []\n",
            "hr.yaml:4: principals.1: the native name 'A' occurs twice",
        ),
        ("source: HR Team\nrules: []\n", "not a valid name"),
    ],
)
def test_a_malformed_mapping_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapper(text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("hr.yaml:")


@control("acl:files-refused", "acl:sidecar-narrows")
@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        ("", "x.acl.yaml:1: must be keys with values"),
        ("{}", "says nothing"),
        ("locks: []", "locks"),
        ("locks: [{deny: [x]}]", "locks.0.allow: is missing"),
        ("allow: [everyone]", "x.acl.yaml:1: allow: unknown key"),
        ("trust: verified", "unknown key"),
        ("label: 3", "must be text"),
        ("locks: [" + "{allow: []}, " * (MAX_LOCKS - 1) + "]", f"more than {MAX_LOCKS} locks"),
        ("locks: [" + "{allow: []}, " * (MAX_LOCKS + 1) + "]", "locks"),
    ],
)
def test_a_malformed_sidecar_is_refused(sidecar: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapped("payroll/a.md", sidecar)
    assert said in str(caught.value)


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/./b", "a/"])
def test_the_path_of_an_item_is_relative(path: str) -> None:
    with pytest.raises(PolicyError):
        mapped(path)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_mapping(tmp_path / "none.yaml", "hr")
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="larger than"):
        load_mapping(big, "hr")
    (tmp_path / "hr.yaml").write_text(MAPPING, encoding="utf-8")
    assert load_mapping(tmp_path / "hr.yaml", "hr").map("x", None, None).labels == ("Internal",)
