"""Faults planted into the reader of POSIX lists: the golden table or random worlds must notice each."""

from __future__ import annotations

import random

import pytest

from secure_rag_acl.formats import posix_acl
from tests.controls import control
from tests.support import posix_worlds
from tests.support.acl_dumps import ReadDump, posix_table, wrong
from tests.support.mutated_formats import mutated

RULES, READER, FOLDERS, TEXT = "_posix_rules", "posix_acl", "_folder_locks", "_acl_text"
# name -> module, then replacements; every left side must occur, so that none rots silently.
MUTANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "mask is ignored": (RULES, (("mask = 7 if self.mask is None else self.mask", "mask = 7"),)),
    "mask binds the owner": (RULES, (("(mask if number else 7)", "mask"),)),
    "mask spares named users": (RULES, (("(mask if number else 7)", "7"),)),
    "mask spares groups": (RULES, (("group.rights & mask & right", "group.rights & right"),)),
    "write counts as read": (RULES, (("READ: Final = 4", "READ: Final = 6"),)),
    "read counts as search": (RULES, (("SEARCH: Final = 1", "SEARCH: Final = 5"),)),
    "refused users are not denied": (RULES, (("            elif later or", "            elif"),)),
    "users are denied only before other": (RULES, (("later = other or bool(granting)", "later = other"),)),
    "users are denied only before groups": (
        RULES,
        (("later = other or bool(granting)", "later = bool(granting)"),),
    ),
    "refusing groups fall through": (
        RULES,
        (("            elif other and (", "            elif False and ("),),
    ),
    "a refusing group beats a granting entry": (RULES, ((" or _name(group) not in granting)", " or True)"),)),
    "named entry of the owner counts": (RULES, ((" or _name(x) != owner)", " or True)"),)),
    "other always grants": (RULES, (("        if other:\n", "        if True:\n"),)),
    "narrowing is silent": (RULES, (("if sure:", "if False:"),)),
    "two entries of one name": (RULES, (("if access.principal.name in seen:", "if False:"),)),
    "no mask is needed": (RULES, (("if self.mask is None and", "if False and"),)),
    "default entries grant": (READER, (("if not match[1]]", "]"),)),
    "default replaces access": (READER, (("if not match[1]]", "if match[1] or len(entries) < 6]"),)),
    "numbers are names": (RULES, (("if not text.isascii() or not text.isdigit():", "if True:"),)),
    "escapes of names stay": (
        READER,
        (("account(kind, unescaped(text.encode()).decode())", "account(kind, text)"),),
    ),
    "escapes of paths stay": (TEXT, (("Block(unescaped(path).decode(", "Block(path.decode("),)),
    "only the nearest folder counts": (
        FOLDERS,
        (("return before.through(found.search())", "return Guards().through(found.search())"),),
    ),
    "folders do not count": (FOLDERS, (("return before.through(found.search())", "return before"),)),
    "folders are read": (FOLDERS, (("before.through(found.search())", "before.through(found.read())"),)),
    "folders with a deny are open": (
        FOLDERS,
        (("        not lock.deny\n        and ", "        True\n        and "),),
    ),
    "locks are merged by their allows": (
        FOLDERS,
        (("        frozenset(x.principal.name for x in lock.deny),\n", ""),),
    ),
    "the last of two blocks counts": (TEXT, (("if path in objects:", "if False:"),)),
    "folders above the root are forgotten": (TEXT, (('top=path if is_below else ""', "top=path"),)),
}


def unnoticed(read: ReadDump) -> bool:
    """Whether a reader passes for the real one."""
    if any(wrong(case, read) is not None for case in posix_table()):
        return False
    for seed in range(60):
        for _, theirs, ours, found in posix_worlds.differences(
            read,
            posix_worlds.world(random.Random(seed)),  # noqa: S311 -- worlds for tests
        ):
            if (ours and not theirs) or (ours is not theirs and not found.narrowed):
                return False
    return True


def test_the_reader_passes() -> None:
    assert unnoticed(posix_acl.read)
    assert unnoticed(mutated("posix_acl", RULES, ()))


@control("acl:posix-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    module, replacements = MUTANTS[name]
    read = mutated("posix_acl", module, replacements)
    try:
        missed = unnoticed(read)
    except (ValueError, KeyError, AssertionError):
        missed = False  # it fails instead of answering
    assert not missed
