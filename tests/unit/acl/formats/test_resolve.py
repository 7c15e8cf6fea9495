"""From native permissions to locks of principals, and what the data owner's rules and sidecars add."""

from __future__ import annotations

import pytest

from secure_rag.errors import ConfigError, PermissionsUnknownError, PolicyError
from secure_rag.model.ids import NEVER, Micros, PrincipalId
from secure_rag.model.locks import MAX_LOCKS
from secure_rag.model.permissions import MappedLock, Narrowed, Origin, UnresolvedName
from secure_rag.ports import PermissionMapper
from secure_rag_acl.formats.native import (
    Closure,
    ItemProblem,
    Narrowing,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
    PermissionDump,
)
from secure_rag_acl.formats.resolve import FormatPermissionMapper
from secure_rag_acl.mappings import parse_additions
from tests.controls import control

MAPPING = """\
source: share
principals:
  - {native: "t:ada", principal: user:ada}
  - {native: "t:hr", principal: group:hr}
  - {native: "t:all", principal: everyone}
"""
RULES = """\
rules:
  - {path: "**", label: Internal}
  - {path: "payroll/**", locks: [{allow: [group:finance, "t:hr"], deny: ["t:nobody"]}], compartments: [board]}
  - {path: "payroll/open/**", allow: ["t:ada"]}
"""


def entry(name: str, place: str = "dump:1", *, expires: Micros = NEVER, broad: bool = False) -> NativeEntry:
    return NativeEntry(NativePrincipal(name, broad=broad), f"ace of {name}", place, expires)


def guarded(*locks: NativeLock, narrowed: tuple[Narrowing, ...] = ()) -> NativePermissions:
    return NativePermissions(locks, narrowed)


OPEN = guarded(NativeLock("file", (entry("t:all", broad=True),)))


def mapper(
    items: dict[str, NativePermissions | ItemProblem], rules: str = "rules: []\n"
) -> FormatPermissionMapper:
    principals, parsed = parse_additions((MAPPING + rules).encode(), "m.yaml", "share")
    return FormatPermissionMapper.of(principals, parsed, PermissionDump(items), Micros(7))


def lock(*allow: str, deny: tuple[str, ...] = (), closed: bool = False) -> MappedLock:
    return MappedLock(
        tuple((PrincipalId(x), NEVER) for x in allow), tuple(PrincipalId(x) for x in deny), closed
    )


def test_every_lock_and_entry_keeps_its_place() -> None:
    native = guarded(
        NativeLock("share", (entry("t:all", "dump:1", broad=True),)),
        NativeLock("file", (entry("t:ada", "dump:2", expires=Micros(9)),), (entry("t:hr", "dump:3"),)),
        narrowed=(Narrowing("later allow", "dump:4", "order"),),
    )
    found = mapper({"a.txt": native}).map("a.txt", None, None)
    assert found.locks == (
        lock("everyone"),
        MappedLock(((PrincipalId("user:ada"), Micros(9)),), (PrincipalId("group:hr"),)),
    )
    assert found.origins == (
        Origin(0, "allow", "ace of t:all [t:all]", "dump:1"),
        Origin(1, "allow", "ace of t:ada", "dump:2"),
        Origin(1, "deny", "ace of t:hr", "dump:3"),
    )
    assert found.narrowed == (Narrowed("later allow", "dump:4", "order"),)
    assert (found.labels, found.compartments, found.unresolved) == ((), (), ())


@control("acl:mapping-unmapped")
def test_a_name_that_means_nobody_grants_nothing_and_closes() -> None:
    native = guarded(
        NativeLock("file", (entry("t:ada"), entry("t:who"), entry("t:who", "dump:9"))),
        NativeLock("file", (entry("t:ada"),), (entry("t:who"), entry("user:ada"))),
    )
    found = mapper({"a": native}).map("a", None, None)
    assert found.locks == (lock("user:ada"), lock("user:ada", closed=True))
    assert found.unresolved == (
        UnresolvedName("t:who", "allow"),
        UnresolvedName("t:who", "deny"),
        UnresolvedName("user:ada", "deny"),
    )


@control("acl:mapping-unmapped")
def test_a_closure_closes_and_says_where() -> None:
    closed = NativeLock("file", (entry("t:ada"),), (), (Closure("(XD;;FR;;;WD;(…))", "dump:5", "condition"),))
    found = mapper({"a": guarded(closed)}).map("a", None, None)
    assert found.locks == (lock("user:ada", closed=True),)
    assert found.origins[-1] == Origin(0, "deny", "(XD;;FR;;;WD;(…))", "dump:5")
    assert found.narrowed == (Narrowed("(XD;;FR;;;WD;(…))", "dump:5", "closes its lock: condition"),)
    assert found.unresolved == ()


def test_an_expired_deny_still_denies() -> None:
    native = guarded(NativeLock("file", (entry("t:all"),), (entry("t:hr", expires=Micros(1)),)))
    (found,) = mapper({"a": native}).map("a", None, None).locks
    assert found.deny == ("group:hr",)


@control("acl:permissions-unknown")
def test_what_is_not_known_is_withheld() -> None:
    found = mapper({"a": ItemProblem("dump:3", "twice"), "b": OPEN})
    with pytest.raises(PermissionsUnknownError, match="dump:3: twice"):
        found.map("a", None, None)
    for path in ("c", "B", "b/x"):
        with pytest.raises(PermissionsUnknownError, match="do not mention"):
            found.map(path, None, None)
    assert found.map("b", None, None).locks == (lock("everyone"),)
    # Neither does what was read live count for an exported source, nor an export for a live one.
    with pytest.raises(PermissionsUnknownError):
        found.map("c", None, None, OPEN)


@control("acl:permissions-unknown")
def test_after_a_failure_nothing_is_known() -> None:
    principals, rules = parse_additions((MAPPING + RULES).encode(), "m.yaml", "share")
    broken: PermissionMapper = FormatPermissionMapper.failed(principals, rules, "dump:1: not JSON")
    assert broken.failure == "dump:1: not JSON"
    assert broken.confirmed_at is None
    with pytest.raises(PermissionsUnknownError, match="dump:1: not JSON"):
        broken.map("a", None, None, OPEN)


@control("acl:permissions-unknown")
def test_live_permissions_come_with_the_item() -> None:
    principals, rules = parse_additions((MAPPING + RULES).encode(), "m.yaml", "share")
    live = FormatPermissionMapper.reading(principals, rules)
    assert live.map("a", None, None, OPEN).locks == (lock("everyone"),)
    assert live.confirmed_at is None
    with pytest.raises(PermissionsUnknownError, match="a: link"):
        live.map("a", None, None, ItemProblem("a", "link"))
    for nothing in (None, (), "everyone", lock("everyone")):
        with pytest.raises(PermissionsUnknownError):
            live.map("a", None, None, nothing)


@control("acl:rules-only-add")
def test_rules_add_and_no_rule_adds_nothing() -> None:
    found = mapper(dict.fromkeys(("a", "payroll/b", "payroll/open/c"), OPEN), RULES)
    assert found.map("a", None, None).labels == ("Internal",)
    assert found.map("a", None, None).locks == (lock("everyone"),)
    payroll = found.map("payroll/b", None, None)
    assert payroll.locks == (lock("everyone"), lock("group:finance", "group:hr", closed=True))
    assert (payroll.labels, payroll.compartments) == ((), ("board",))
    assert [(x.lock, x.place) for x in payroll.origins] == [
        (0, "dump:1"),
        (1, "m.yaml:8"),
        (1, "m.yaml:8"),
        (1, "m.yaml:8"),
    ]
    assert payroll.unresolved == (UnresolvedName("t:nobody", "deny"),)
    assert found.map("payroll/open/c", None, None).locks == (lock("everyone"), lock("user:ada"))
    assert mapper({"a": OPEN}).map("a", None, None).labels == ()


@control("acl:rules-only-add", "acl:sidecar-narrows")
def test_a_sidecar_adds_to_both() -> None:
    found = mapper({"payroll/open/c": OPEN}, RULES)
    sidecar = b"locks: [{allow: ['t:hr']}]\nlabel: Restricted\ncompartments: [heron]\n"
    mapped = found.map("payroll/open/c", sidecar, "c.acl.yaml")
    assert mapped.locks == (lock("everyone"), lock("user:ada"), lock("group:hr"))
    assert (mapped.labels, mapped.default_counts, mapped.compartments) == (("Restricted",), True, ("heron",))
    assert mapped.origins[-1] == Origin(2, "allow", "t:hr", "c.acl.yaml:1")
    with pytest.raises(ConfigError, match="unknown key"):
        found.map("payroll/open/c", b"allow: [everyone]", "c.acl.yaml")


def test_too_many_locks_with_those_that_are_added() -> None:
    native = guarded(*(NativeLock(f"folder {n}", (entry("t:all"),)) for n in range(MAX_LOCKS)))
    found = mapper({"a": native, "payroll/b": native}, RULES)
    assert len(found.map("a", None, None).locks) == MAX_LOCKS
    with pytest.raises(PolicyError, match=f"m.yaml:8: .* more than {MAX_LOCKS} locks"):
        found.map("payroll/b", None, None)
    with pytest.raises(ConfigError, match=f"more than {MAX_LOCKS} locks"):
        found.map("a", b"locks: [{allow: []}]", None)


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/./b", "a/"])
def test_the_path_of_an_item_is_relative(path: str) -> None:
    with pytest.raises(PolicyError):
        mapper({path: OPEN}).map(path, None, None)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{path: a}", "rules.0: says nothing"),
        ("{path: a, deny: ['t:hr']}", "`deny` without `allow`"),
        ("{path: a, allow: [], locks: [{allow: []}]}", "not both"),
        ("{path: a, labels: Internal}", "unknown key"),
    ],
)
def test_a_malformed_rule_is_refused(rule: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mapper({}, f"rules:\n  - {rule}\n")
    assert said in str(caught.value)
    assert str(caught.value).startswith("m.yaml:7")


def test_a_mapping_may_have_no_rules_at_all() -> None:
    assert mapper({"a": OPEN}, "").map("a", None, None).locks == (lock("everyone"),)


def test_names_with_what_the_source_says_of_them() -> None:
    native = guarded(NativeLock("file", (entry("t:ada"),), (entry("t:who"),)))
    assert sorted(mapper({"a": native, "b": ItemProblem("x", "y")}).names()) == ["t:ada", "t:who"]
