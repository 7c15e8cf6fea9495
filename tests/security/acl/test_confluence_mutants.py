"""Faults planted into the reader of Confluence exports: the table or the comparison with the source notices each."""

from __future__ import annotations

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import Phase, given, settings

from secure_rag.errors import SecureRagError
from secure_rag_acl.formats import confluence
from tests.controls import control
from tests.support.confluence_world import GOLDEN, Read, World, case_problem, disagreement, worlds

PACKAGE = "secure_rag_acl.formats."
# Each imports those before it.
MODULES = ("_confluence_answers", "_confluence_spaces", "confluence")
ANSWERS, SPACES, TREE = MODULES

ABOVE = "return above[0] + entry.own[0], narrowed"
BROKEN = "        if isinstance(above, ItemProblem):\n"

# name -> (module, what stands there, what stands there instead)
MUTANTS: dict[str, tuple[str, str, str]] = {
    "only the page's own restriction": (
        TREE,
        ABOVE,
        "return (above[0][:1] + entry.own[0] if entry.own[0] else above[0]), narrowed",
    ),
    "the closest restriction decides": (TREE, ABOVE, "return (entry.own[0] or above[0]), narrowed"),
    "the space is not asked": (TREE, ABOVE, "return (above[0][1:] + entry.own[0] or above[0]), narrowed"),
    "restrictions are not asked": (TREE, ABOVE, "return above[0], narrowed"),
    "a missing ancestor is passed over": (
        TREE,
        "self.done[below] = ItemProblem(self._place(below), gap)",
        "self.done[below] = ((), ())",
    ),
    "an unreadable ancestor is passed over": (
        TREE,
        BROKEN,
        "        if isinstance(above, ItemProblem):\n            return entry.own\n",
    ),
    "an unreadable answer is none": (
        TREE,
        "        return ItemProblem(entry.place, str(error))\n    return () if",
        "        return (), ()\n    return () if",
    ),
    "a space that cannot be read is open": (
        TREE,
        "spaces[key] = ItemProblem(entry.place, str(error))",
        "spaces[key] = spaces.get('S', ((), ()))",
    ),
    "the last of two pages at a path wins": (TREE, "if len(found) > 1:", "if len(found) > 9:"),
    "the first of two ids wins": (
        TREE,
        '            tree.content[key] = ItemProblem(entry.place, f"the id',
        '            ItemProblem(entry.place, f"the id',
    ),
    "parents in other spaces count": (TREE, "parent.space != entry.space", "False"),
    "attachments stand alone": (TREE, "if below and parent is None:", "if False:"),
    "errors are answers": (ANSWERS, "if type(status) is int and status >= _FIRST_ERROR:", "if False:"),
    "any operation is reading": (ANSWERS, 'if operation.value != "read":', "if False:"),
    "a full last page is the last": (ANSWERS, "if full or next_page(lists[-1]):", "if next_page(lists[-1]):"),
    "a next link is nothing": (ANSWERS, "if full or next_page(lists[-1]):", "if full:"),
    "pages need not follow": (ANSWERS, 'if page.child("start").number() != number * limit:', "if False:"),
    "restrictions to the unknown vanish": (
        ANSWERS,
        "if not found.entries and not found.narrowed:",
        "if not found.entries:",
    ),
    "unknown accounts are admitted": (
        ANSWERS,
        "if stated is None or stated.value != (",
        "if False and stated.value != (",
    ),
    "users go by their address": (
        ANSWERS,
        'node.optional("accountId") or',
        'node.optional("email") or node.optional("accountId") or',
    ),
    "invisible characters are fine": (ANSWERS, "if not ids.is_clean(text):", "if not text:"),
    "groups of a restriction are not read": (
        ANSWERS,
        'for kind in ("user", "group"):',
        'for kind in ("user",):',
    ),
    "every right on a space views it": (SPACES, '.value == "read" and target', '.value != "" and target'),
    "reading anything views the space": (SPACES, 'and target == "space"', 'and target != ""'),
    "anonymous visitors come in everywhere": (SPACES, "if names.anonymous_use:", "if True:"),
    "anonymous visitors stay out": (SPACES, "if names.anonymous_use:", "if False:"),
    "pages of a space may be left": (SPACES, "if next_page(page) != (number < len(pages) - 1):", "if False:"),
    "groups are users": (
        SPACES,
        'if kind == "user":\n        found.add(NativePrincipal',
        "if True:\n        found.add(NativePrincipal",
    ),
    "unnamed groups go by id": (
        SPACES,
        "elif key in names.group_names:\n        name = names.group_names[key]",
        "elif True:\n        name = names.group_names.get(key, key)",
    ),
    "editors view by name": (SPACES, 'if entry.child("type").value == "VIEWSPACE":', "if True:"),
    "user names are keys": (
        SPACES,
        "elif clean(who) in names.user_keys:\n        key = names.user_keys[clean(who)]",
        "elif True:\n        key = clean(who)",
    ),
}


def mutated(module: str, old: str, new: str) -> Read:
    """`read` with its modules loaded anew, one of them changed."""
    real = {PACKAGE + x: import_module(PACKAGE + x) for x in MODULES}
    try:
        for name, loaded in real.items():
            source = Path(str(loaded.__file__)).read_text(encoding="utf-8")
            if name == PACKAGE + module:
                assert old in source, f"{module} no longer holds: {old}"
                source = source.replace(old, new)
            fresh = ModuleType(name)
            sys.modules[name] = fresh
            exec(compile(source, name, "exec"), fresh.__dict__)  # noqa: S102 -- our own source, changed
        read: Read = sys.modules[PACKAGE + TREE].__dict__["read"]
        return read
    finally:
        sys.modules.update(real)


def unnoticed(read: Read) -> bool:
    """Whether neither the table nor random worlds tell a reader from the right one."""

    @settings(max_examples=60, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
    @given(worlds())
    def agree(world: World) -> None:
        assert disagreement(read, world, Counter()) is None

    try:
        if any(case_problem(read, case) for case in GOLDEN["cases"]):
            return False
        agree()
    except (AssertionError, SecureRagError, TypeError, KeyError, AttributeError):
        return False
    return True


@control("acl:confluence-subset")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str) -> None:
    assert not unnoticed(mutated(*MUTANTS[name]))


def test_the_reader_itself_passes() -> None:
    assert unnoticed(confluence.read)
