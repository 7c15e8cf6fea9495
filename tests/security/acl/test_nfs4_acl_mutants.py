"""Faults planted into the reader of NFSv4 lists: the golden table or random worlds must notice each."""

from __future__ import annotations

import random

import pytest

from secure_rag_acl.formats import nfs4_acl
from tests.controls import control
from tests.support import nfs4_worlds
from tests.support.acl_dumps import ReadDump, nfs4_table, wrong
from tests.support.mutated_formats import mutated

RULES, READER = "_nfs4_rules", "nfs4_acl"
# name -> module, then replacements; every left side must occur, so that none rots silently.
MUTANTS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "denies are dropped": (RULES, (("for step, name in kept if not step.allows)", "for step, name in ())"),)),
    "denies that meet nobody stay": (RULES, (("_meets_later(x, kept[n + 1 :])", "True"),)),
    "all denies are idle": (RULES, (("_meets_later(x, kept[n + 1 :])", "False"),)),
    "later entries of a name count": (RULES, (("elif step.principal.name not in seen:", "else:"),)),
    "entries after everyone count": (
        RULES,
        (("            if step.principal == EVERYONE:\n                break\n", ""),),
    ),
    "deny of everyone is passed over": (
        RULES,
        (("and not step.allows:\n                break", "and not step.allows:\n                continue"),),
    ),
    "unknown deny is passed over": (
        RULES,
        (("if not any(x.allows for x in steps[number + 1 :]):", "if True:"),),
    ),
    "unknown allow grants everyone": (
        RULES,
        (
            (
                "narrowed.append(Narrowing(step.entry, step.place, _UNKNOWN_ALLOW))",
                "kept.append((step, EVERYONE))",
            ),
        ),
    ),
    "narrowing is silent": (
        RULES,
        (("            narrowed.append(Narrowing(step.entry, step.place, _LATER))", "            pass"),),
    ),
    "groups never share members": (RULES, (("or not all(kinds) ", ""),)),
    "numbers are other accounts": (RULES, ((' or ("@" in one.name) is not ("@" in other.name)', ""),)),
    "inherit-only grants": (READER, ((' or "i" in self.flags:', ":"),)),
    "inherit-only denies are skipped on files": (
        READER,
        ((' and "i" in self.flags and on_folder:', ' and "i" in self.flags:'),),
    ),
    "inherit-only denies on folders": (READER, ((' and "i" in self.flags and on_folder:', " and False:"),)),
    "unknown flags are ignored": (READER, (("self.who if self.flags <= _FLAGS else None", "self.who"),)),
    "unknown rights are ignored": (READER, ((" or self.rights - _RIGHTS)", ")"),)),
    "write is read": (READER, (('_SEARCH, _READ = "x", "r"', '_SEARCH, _READ = "x", "w"'),)),
    "read is search": (READER, (('_SEARCH, _READ = "x", "r"', '_SEARCH, _READ = "r", "r"'),)),
    "audit entries deny": (
        READER,
        (('_LOGGING: Final = frozenset("UL")', "_LOGGING: Final = frozenset[str]()"),),
    ),
    "unknown kinds log": (READER, (('frozenset("UL")', 'frozenset("ULQ")'),)),
    "groups are users": (READER, (('"group" if "g" in flags else "user"', '"user"'),)),
    "nobody is an account": (READER, (("if local in _UNMAPPED:", "if False:"),)),
    "ways of access are accounts": (
        READER,
        (('if who.endswith("@"):', "if False:"), ("if not local or (at and not domain):", "if False:")),
    ),
    "domains have case": (READER, (("{domain.lower()}", "{domain}"),)),
    "an empty list is open to nobody": (READER, (("if not aces:", "if False:"),)),
}


def unnoticed(read: ReadDump) -> bool:
    """Whether a reader passes for the real one."""
    if any(wrong(case, read) is not None for case in nfs4_table()):
        return False
    for seed in range(80):
        for _, theirs, ours, found in nfs4_worlds.differences(
            read,
            nfs4_worlds.world(random.Random(seed)),  # noqa: S311 -- worlds for tests
        ):
            if (ours and not theirs) or (ours is not theirs and not found.narrowed):
                return False
    return True


def test_the_reader_passes() -> None:
    assert unnoticed(nfs4_acl.read)
    assert unnoticed(mutated("nfs4_acl", RULES, ()))


@control("acl:nfs4-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    module, replacements = MUTANTS[name]
    read = mutated("nfs4_acl", module, replacements)
    try:
        missed = unnoticed(read)
    except (ValueError, KeyError, AssertionError):
        missed = False  # it fails instead of answering
    assert not missed
