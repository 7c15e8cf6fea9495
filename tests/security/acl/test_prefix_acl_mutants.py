"""Faults planted into the reader of prefix access files: the table of cases decided by hand must notice each."""

from __future__ import annotations

import pytest

from secure_rag_acl.formats import prefix_acl
from tests.controls import control
from tests.support.exported import prefix_row, unnoticed

MUTANTS: dict[str, tuple[str, str]] = {
    "what is not listed is open": (
        'NativeLock("no prefix", ())',
        'NativeLock("no prefix", (NativeEntry(NativePrincipal("prefix-group:eng"), "", ""),))',
    ),
    "the shortest prefix allows": ("longest = as_text[-1]\n    if sum", "longest = as_text[0]\n    if sum"),
    "all prefixes allow": ("_without(longest.allow, ", "_without((x for r in as_text for x in r.allow), "),
    "only the longest denies": (
        "deny = tuple(x for rule in as_text for x in rule.deny)",
        "deny = longest.deny",
    ),
    "only whole segments deny": (
        "deny = tuple(x for rule in as_text for x in rule.deny)",
        "deny = tuple(x for rule in whole for x in rule.deny)",
    ),
    "deny is ignored": ("denied), deny, closed)]", "()), (), closed)]"),
    "text is enough": ("    if not whole:\n        locks", "    if False:\n        locks"),
    "the longest as text decides alone": ("elif whole[-1] is not longest:", "elif False:"),
    "prefixes end anywhere": ('or key[len(prefix)] == "/"', "or True"),
    "a prefix is no object": (" or key == prefix or ", " or "),
    "closures are dropped": ("denied), deny, closed)", "denied), deny, ())"),
    "only the longest closes": (
        "closed = tuple(x for rule in as_text for x in rule.closed)",
        "closed = longest.closed",
    ),
    "unknown types deny nobody": ('if access == "DENY":\n', "if False:\n"),
    "unknown types are groups": ("kind not in _KINDS:", "kind not in {**_KINDS, 'ROLE': ''}:"),
    "unknown access allows": ('access not in ("ALLOW", "DENY")', "False"),
    "case of addresses counts": ("name.lower() if kind", "name if kind"),
    "a denied detail denies only itself": ("tuple(dict.fromkeys((native, _plain(native))))", "(native,)"),
    "an allowed detail allows the address": (
        '(native,) if access == "ALLOW"',
        '(_plain(native),) if access == "ALLOW"',
    ),
    "users are groups": ('"USER": "prefix-user"', '"USER": "prefix-group"'),
    "narrowing is not reported": ("tuple(_narrowed(as_text, whole))", "()"),
}


@control("acl:prefix-acl-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    assert not unnoticed(prefix_acl, [MUTANTS[name]], prefix_row, "prefix_acl.yaml")


def test_the_reader_itself_agrees_with_the_table() -> None:
    assert unnoticed(prefix_acl, [], prefix_row, "prefix_acl.yaml")
