"""Faults planted into the reader of NTFS permissions: the table decided by hand must notice each of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.formats import ntfs_export
from tests.controls import control
from tests.support.ntfs_cases import Read, table, wrong

PACKAGE = "secure_rag_acl.formats"
# In the order of their imports, so that each copy sees the copies before it.
MODULES = ("_sddl_names", "sddl", "_sddl_decision", "_smb_share", "ntfs_export")
TABLE = table()

# name -> module, and replacements in its source; every left side must occur, so that none rots silently.
MUTANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "a deny grants": ("_sddl_decision", (('in {"A", "OA"}', 'in {"A", "OA", "D"}'),)),
    "denies are ignored": (
        "_sddl_decision",
        (("        return _deny(walk, ace)\n", "        return True\n"),),
    ),
    "right bits are ignored": ("_sddl_decision", ((" or ace.may_read is False", ""),)),
    "any right of a file reads": (
        "sddl",
        (("bool(self.rights & (READ_DATA |", "bool(self.rights & (0x1FFFFF |"),),
    ),
    "generic read is no reading": (
        "sddl",
        (("READ_DATA | GENERIC_READ | GENERIC_ALL", "READ_DATA | GENERIC_ALL"),),
    ),
    "generic all is no reading": (
        "sddl",
        (("READ_DATA | GENERIC_READ | GENERIC_ALL", "READ_DATA | GENERIC_READ"),),
    ),
    "inherit-only counts": ("_sddl_decision", (("ace.inherit_only or ace.may_read", "ace.may_read"),)),
    "inherited entries do not count": (
        "sddl",
        (('return "IO" in self.flags', 'return bool({"IO", "ID"} & self.flags)'),),
    ),
    "a NULL DACL is empty": ("_sddl_decision", (("if dacl.null:", "if False:"),)),
    "an empty DACL is NULL": ("_sddl_decision", (("if dacl.null:", "if dacl.null or not dacl.aces:"),)),
    "no DACL is an empty one": ("sddl", (('acls.get("D"), acls', 'acls.get("D", Acl()), acls'),)),
    "order within a name is ignored": ("_sddl_decision", (("in walk.decided", "in ()"),)),
    "a deny before an allow is dropped": ("_sddl_decision", (("    walk.deny.extend(walk.waiting)\n", ""),)),
    "a trailing deny stays": (
        "_sddl_decision",
        (("    walk.waiting.append(walk.entry(ace, sid))", "    walk.deny.append(walk.entry(ace, sid))"),),
    ),
    "nothing ends at Everyone": ("_sddl_decision", (("return sid != EVERYONE", "return True"),)),
    "a conditional allow grants": (
        "_sddl_decision",
        (("    if ace.kind in CONDITIONAL_ALLOW:\n        return", "    if False:\n        return"),),
    ),
    "a conditional deny is dropped": (
        "_sddl_decision",
        (("        if walk.barrier is None:\n", "        if False:\n"),),
    ),
    "a conditional deny is remembered too late": (
        "_sddl_decision",
        (("if walk.barrier is not None:", "if walk.barrier is not None and walk.allow:"),),
    ),
    "after a conditional deny others come in": (
        "_sddl_decision",
        (
            (
                'to spare anybody")\n        return False\n',
                'to spare anybody")\n',
            ),
        ),
    ),
    "an object allow grants": ("_sddl_decision", (('if ace.kind == "OA":', "if False:"),)),
    "an object deny is dropped": (
        "_sddl_decision",
        (('{"D", "OD", CONDITIONAL_DENY}', '{"D", CONDITIONAL_DENY}'),),
    ),
    "owner rights are nobody's": (
        "_sddl_decision",
        (("return walk.owner if ace.sid == OWNER_RIGHTS else ace.sid", "return ace.sid"),),
    ),
    "the owner reads": (
        "_sddl_decision",
        (("OWNER_MAY_CHANGE))\n", "''))\n        walk.allow.append(NativeEntry(name, '', ''))\n"),),
    ),
    "creator owner is somebody": (
        "_sddl_decision",
        (("held_by_nobody(sid) or sid in walk.decided", "sid in walk.decided"),),
    ),
    "packages grant": ("_sddl_decision", (("not grants_alone(sid)", "False"),)),
    "a policy is ignored": ("_sddl_decision", (('ace.kind == "SP"', 'ace.kind == "SQ"'),)),
    "unpublished types are ignored": ("_sddl_decision", (("if ace.kind not in PUBLISHED:", "if False:"),)),
    "no read up is ignored": ("_sddl_decision", (("ace.rights & NO_READ_UP", "ace.rights & 0x8"),)),
    "unpublished rights grant": (
        "_sddl_decision",
        (("    if ace.may_read is None:\n        return", "    if False:\n        return"),),
    ),
    "unpublished rights deny nothing": ("_sddl_decision", (("ace.may_read is False", "not ace.may_read"),)),
    "spellings are different names": ("_sddl_names", (("return _TOKENS[text]", "return text"),)),
    "domain tokens lose their domain": (
        "_sddl_names",
        (("return text if domain is None else", "return text if True else"),),
    ),
    "the share is no lock": (
        "ntfs_export",
        (("(own,) if self.share is None else (self.share, own)", "(own,)"),),
    ),
    "quotes do not protect": ("sddl", (("quoted = not quoted", "quoted = False"),)),
    "a second list replaces the first": ("sddl", (("if letter in sids or letter in acls:", "if False:"),)),
    "a cut entry is left out": (
        "sddl",
        (
            (
                'raise ConfigError(f"{where}: not closed; the',
                'return ["AU", "", "", "", "", "WD"], len(text)  # ("',
            ),
        ),
    ),
}


def copied(monkeypatch: pytest.MonkeyPatch, mutant: str, replacements: Sequence[tuple[str, str]]) -> Read:
    """The reader of fresh copies of its modules, one of them changed."""
    made: ModuleType | None = None
    for short in MODULES:
        name = f"{PACKAGE}.{short}"
        path = import_module(name).__file__
        assert path is not None
        source = Path(path).read_text(encoding="utf-8")
        for old, new in replacements if short == mutant else ():
            assert old in source, old
            source = source.replace(old, new)
        made = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made)
        exec(compile(source, path, "exec"), made.__dict__)  # noqa: S102 - the product's own source, one text changed
    assert made is not None
    read: Read = made.read
    return read


def survives(read: Read) -> bool:
    try:
        return all(wrong(case, TABLE.people, read) is None for case in TABLE.cases)
    except (ConfigError, AttributeError, TypeError):
        return False


@control("acl:ntfs-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_the_table_notices_the_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, replacements = MUTANTS[name]
    assert not survives(copied(monkeypatch, module, replacements))


def test_unchanged_copies_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    assert survives(ntfs_export.read)
    assert survives(copied(monkeypatch, "none", ()))
