"""Faults planted into the reader of Drive exports: the table of cases decided by hand must notice each."""

from __future__ import annotations

import pytest

from secure_rag_acl.formats import _drive_grants, drive
from tests.controls import control
from tests.support.exported import drive_row, mutant, unnoticed

# name -> what stands in the module, and what stands there instead; every left side must occur.
MUTANTS: dict[str, tuple[str, str]] = {
    "limited access of the file is ignored": ('says_yes(file, "inheritedPermissionsDisabled")', "False"),
    "members only is ignored": ('says_yes(restrictions, "driveMembersOnly")', "False"),
    "the organisation only is ignored": ('says_yes(restrictions, "domainUsersOnly")', "False"),
    "unknown restrictions are ignored": ("    if unknown:\n", "    if False:\n"),
    "unknown shared drives are free": (
        "if drive is None:\n",
        "if drive is None:\n            return []\n        if drive is None:\n",
    ),
    "missing permissions are none": ('if not file.has("permissions"):', "if False:"),
    "twice is once": ("if key in seen:", "if False:"),
    "what is not described is forgotten": ("narrowed += _unlisted(", "_ = ("),
    "shortcuts are files": (".value == _SHORTCUT", ".value == 1"),
}
GRANT_MUTANTS: dict[str, tuple[str, str]] = {
    "deleted accounts read": ('says_yes(node, "deleted")', "False"),
    "views read": ('if node.has("view"):', "if False:"),
    "unknown views are known": ('in ("published", "metadata")', "is not None"),
    "any role reads": (" or role.value not in _ROLES", ""),
    "commenters do not read": ('"commenter", ', ""),
    "pending owners own": ('says_yes(node, "pendingOwner")', "False"),
    "no end": ("        return fields.instant(end.value)\n", "        return NEVER\n"),
    "an unreadable end never comes": (
        "ValueError:\n        return None",
        "ValueError:\n        return NEVER",
    ),
    "links are found by searching": ("discovery is None or discovery.value is not True", "False"),
    "a missing discovery is one": ("discovery is None or ", "discovery is not None and "),
    "discovery as text": ("discovery.value is not True", "not discovery.value"),
    "a domain is anyone": ('if kind == "anyone":', 'if kind == "anyone" or not node.has("domain"):'),
    "unknown types are anyone": ('if kind not in ("domain", "anyone"):', "if False:"),
    "users are groups": ('f"drive-{kind}:{mail}"', 'f"drive-group:{mail}"'),
    "case of addresses counts": ("mail = written.lower()", "mail = written"),
    "addresses are not needed": ("if written is None:\n", "if False:\n"),
    "limited access of the entry is ignored": ('says_yes(node, "inheritedPermissionsDisabled")', "False"),
    "limited access closes to owners": ("direct = role.value in _THROUGH_LIMITED_ACCESS or ", "direct = "),
    "inherited is direct": ('x.get("inherited") is False', "True"),
    "direct must be the only way": ("or any(x.get", "or all(x.get"),
    "everybody is a member": ('x.get("permissionType") == "member"', "True"),
}


@control("acl:drive-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    assert not unnoticed(drive, [MUTANTS[name]], drive_row, "drive.yaml")


@control("acl:drive-subset")
@pytest.mark.parametrize("name", sorted(GRANT_MUTANTS))
def test_every_fault_in_reading_a_grant_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_drive_grants, "grant", mutant(_drive_grants, [GRANT_MUTANTS[name]]).grant)
    assert not unnoticed(drive, [], drive_row, "drive.yaml")


def test_the_reader_itself_agrees_with_the_table() -> None:
    assert unnoticed(drive, [], drive_row, "drive.yaml")
