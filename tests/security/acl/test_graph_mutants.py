"""Faults planted into the reader of Graph exports: the table or the comparison with the source must notice each."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from secure_rag.errors import SecureRagError
from tests.controls import control
from tests.support.graph_exports import Read, broken_cases
from tests.support.graph_source import FAMILIES, Case, disagreement

# In the order of their imports.
MODULES = (
    "_graph_lists",
    "_graph_identities",
    "_graph_sites",
    "_graph_permissions",
    "_graph_external",
    "graph",
)

LISTS, NAMES, SITES, ITEMS, EXTERNAL, WHOLE = MODULES
OWN = "            if _is_unique(node):\n                return self._own"
ABOVE = "            if _is_unique(node):\n                self._done"
# name -> (module, what stands there, what stands there instead)
MUTANTS: dict[str, tuple[str, str, str]] = {
    "any role reads": (ITEMS, "if not roles & READING_ROLES:", "if not roles:"),
    "no role reads": (ITEMS, "if not roles & READING_ROLES:", "if False:"),
    "expiry is ignored": (ITEMS, "expires = expiry(ends) if ends else NEVER", "expires = NEVER"),
    "year one has passed": (LISTS, "NEVER if parsed == _NO_EXPIRY else ", ""),
    "zones are taken off": (LISTS, "(parsed - _EPOCH)", "(parsed.replace(tzinfo=UTC) - _EPOCH)"),
    "existing access grants": (ITEMS, '== "existingAccess"', '== "-"'),
    "links without scope are the organisation's": (ITEMS, "None: ()", "None: (ORGANIZATION,)"),
    "organisation links are anyone's": (ITEMS, '"organization": (ORGANIZATION,)', '"organization": (ANYONE,)'),
    "a password is no obstacle": (ITEMS, '_true(node, "hasPassword")', "False"),
    "blocked downloads read": (ITEMS, '_true(link, "preventsDownload")', "False"),
    "upload links read": (ITEMS, "kind.text() not in READING_LINKS", "False"),
    "unknown scopes are people links": (ITEMS, "None: ()}", 'None: (), "everybodyNearby": ()}'),
    "deprecated grants are added": (
        ITEMS,
        "        permission.grant(granted)\n",
        '        [permission.grant(node.child(x)) for x in ("grantedToV2", "grantedTo") if node.has(x)]\n',
    ),
    "deprecated grants are lost": (ITEMS, ' or node.optional("grantedTo")\n', "\n"),
    "deprecated identities are lost": (ITEMS, ' or node.optional("grantedToIdentities")', ""),
    "owners are members": (NAMES, "if found[2]:", "if False:"),
    "ids beat owners' claims": (NAMES, "return claimed\n    if kind", "return named\n    if kind"),
    "contradictions go by the id": (
        NAMES,
        'return Nobody("id and login name different principals")',
        "return named",
    ),
    "the first of several principals counts": (NAMES, "len(kinds) + in_site > 1", "False"),
    "site groups go by id alone": (NAMES, "graph-site-group:{site}/{local_id}", "graph-site-group:site-one/{local_id}"),
    "everyone but guests is everyone": (NAMES, "return EVERYONE_EXCEPT_EXTERNAL\n", "return EVERYONE\n"),
    "link names are not broad": (NAMES, '"graph-anyone", broad=True', '"graph-anyone"'),
    "half a membership list will do": (LISTS, 'key.casefold().endswith("nextlink")', "False"),
    "limited access reads": (SITES, "if kind in LIMITED_ACCESS:", "if False:"),
    "one of the bits is enough": (SITES, "if rights & READ_BITS != READ_BITS:", "if not rights & READ_BITS:"),
    "viewing is reading": (SITES, "READ_BITS: Final = 0x21", "READ_BITS: Final = 0x1"),
    "kinds beat bits": (SITES, "if mask is not None:", "if mask is not None and kind not in READING_KINDS:"),
    "unknown kinds read": (SITES, "else _UNCLEAR\n", "else READ_BITS\n"),
    "an inheriting item's own list counts": (WHOLE, OWN, OWN.replace("_is_unique(node)", "True")),
    "inheritance is never broken": (WHOLE, OWN, OWN.replace("_is_unique(node)", 'not node.has("parent")')),
    "a folder's own list is passed over": (WHOLE, ABOVE, ABOVE.replace("_is_unique(node)", 'not node.has("parent")')),
    "a missing parent is nobody": (
        WHOLE,
        "                return ItemProblem(parent.place, ",
        '                return Lists(self.budget).permissions("-") or ItemProblem(parent.place, ',
    ),
    "grant beats deny": (EXTERNAL, "lists.refuse(named, entry, node.place)", "pass"),
    "unknown access is skipped": (EXTERNAL, "lists.close(entry, node.place, why)", "pass"),
    "unknown denies are skipped": (EXTERNAL, "else:\n            why", 'elif access != "deny":\n            why'),
    "external groups are everywhere": (EXTERNAL, "-external-group:{connection}/", "-external-group:"),
    "everyone of any tenant": (EXTERNAL, "object_id != tenant", "False"),
}  # fmt: skip


@contextmanager
def mutated(module: str, old: str, new: str) -> Generator[Read]:
    """The reader with one line changed, beside the real one."""
    added: list[str] = []
    made = ModuleType("none")
    try:
        for name in MODULES:
            path = Path(str(importlib.import_module(f"secure_rag_acl.formats.{name}").__file__))
            source = path.read_text(encoding="utf-8")
            if name == module:
                assert source.count(old) == 1, f"{name} no longer holds, or holds twice: {old}"
                source = source.replace(old, new)
            made = ModuleType(f"mutated{name}")
            sys.modules[made.__name__] = made
            added.append(made.__name__)
            source = source.replace("secure_rag_acl.formats._graph_", "mutated_graph_")
            exec(compile(source, made.__name__, "exec"), made.__dict__)  # noqa: S102 -- our own source, changed
        yield made.read
    finally:
        for name in added:
            del sys.modules[name]


def unnoticed(read: Read) -> bool:
    return not broken_cases(read) and all(_agrees(read, family) for family in FAMILIES)


def _agrees(read: Read, family: str) -> bool:
    @settings(
        max_examples=80,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(FAMILIES[family])
    def agree(case: Case) -> None:
        assert disagreement(read, case, Counter()) is None

    try:
        agree()
    except (AssertionError, SecureRagError):
        return False
    return True


def test_an_unchanged_copy_of_the_reader_is_not_complained_about() -> None:
    with mutated("graph", "FORMAT: Final", "FORMAT: Final") as read:
        assert unnoticed(read)


@control("acl:allow-list", "acl:deny-overrides", "acl:unresolved-deny", "acl:allow-expiry")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    with mutated(*MUTANTS[name]) as read:
        assert not unnoticed(read)
