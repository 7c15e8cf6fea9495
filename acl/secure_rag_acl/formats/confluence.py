"""Confluence: space permissions and page restrictions, exported into one JSON file. See docs/formats/confluence.md.

Invariants
- Whoever reads a page may view its space *and* is admitted by the read restriction of the page and of everything
  above it: one lock each. Confluence answers an empty list for a page that only inherits; that is not open.
- A tree with a gap (an ancestor that is not in the export, a cycle, an answer that failed) protects nothing below it:
  whoever stands below is withheld.
- Restrictions of `update` limit nobody's reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import Micros
from secure_rag_acl.fields import instant
from secure_rag_acl.formats import _envelope
from secure_rag_acl.formats._confluence_answers import clean, read_restriction
from secure_rag_acl.formats._confluence_spaces import Names, space_lock, table
from secure_rag_acl.formats.json_export import Node, parse_json
from secure_rag_acl.formats.native import (
    LIMITS,
    ItemProblem,
    Limits,
    Narrowing,
    NativeLock,
    NativePermissions,
    PermissionDump,
)

FORMAT: Final = "confluence"
_ENVELOPE: Final = frozenset(
    {"format", "exported_at", "anonymous_use", "users", "groups", "spaces", "content"}
)
_SPACE: Final = frozenset({"key", "cloud_v2", "cloud_v1", "data_center", "json_rpc", "anonymous"})
_CONTENT: Final = frozenset({"id", "path", "type", "space", "parent", "restrictions"})
_WITHOUT_RESTRICTIONS: Final = ("attachment", "comment")
"""They have none of their own and always stand below something that may."""

_ABOVE: Final = "unknown who may read what is above it: "

_Locks = tuple[tuple[NativeLock, ...], tuple[Narrowing, ...]]


@dataclass(frozen=True, slots=True)
class _Content:
    """A page, folder, post or attachment of the tree."""

    place: str
    path: str | None
    space: str
    parent: str | None
    own: _Locks | ItemProblem


@dataclass(slots=True)
class _Tree:
    spaces: dict[str, _Locks | ItemProblem]
    limits: Limits
    content: dict[str, _Content | ItemProblem] = field(default_factory=dict[str, "_Content | ItemProblem"])
    done: dict[str, _Locks | ItemProblem] = field(default_factory=dict[str, "_Locks | ItemProblem"])
    depth: dict[str, int] = field(default_factory=dict[str, int])
    copied: int = 0

    def locks(self, key: str) -> _Locks | ItemProblem:
        """Locks of the space, of everything above from the top, and its own; without recursion, each entry once."""
        path: dict[str, None] = {}
        at: str | None = key
        while at is not None and at not in self.done:
            found = self.content.get(at)
            if found is None or at in path:
                gap = (
                    f"its ancestor {at} is not in the export"
                    if found is None
                    else f"{at} is its own ancestor"
                )
                for below in path:
                    self.done[below] = ItemProblem(self._place(below), gap)
                break
            path[at] = None
            at = None if isinstance(found, ItemProblem) else found.parent
        for below in reversed(path):
            if below not in self.done:
                self.done[below] = self._with_parent(below)
        return self.done[key]

    def _place(self, key: str) -> str:
        return self.content[key].place

    def _with_parent(self, key: str) -> _Locks | ItemProblem:
        entry = self.content[key]
        if isinstance(entry, ItemProblem):
            return entry
        if isinstance(entry.own, ItemProblem):
            return entry.own
        if entry.parent is None:
            missing = ItemProblem(entry.place, f"the space {entry.space!r} is not in the export")
            above = self.spaces.get(entry.space, missing)
            self.depth[key] = 0
        else:
            above = self.done[entry.parent]
            parent = self.content[entry.parent]
            if isinstance(parent, _Content) and parent.space != entry.space:
                return ItemProblem(entry.place, f"its parent {entry.parent} is in another space")
            self.depth[key] = self.depth.get(entry.parent, 0) + 1
            if self.depth[key] > self.limits.max_depth:
                return ItemProblem(entry.place, f"more than {self.limits.max_depth} ancestors")
        if isinstance(above, ItemProblem):
            return ItemProblem(entry.place, _ABOVE + above.why.removeprefix(_ABOVE))
        narrowed = above[1] + entry.own[1]
        if above[1] and entry.own[1]:
            # Only then something is copied; without a limit a long list far up would be copied for every page.
            self.copied += len(narrowed)
            if self.copied > self.limits.max_entries:
                raise ConfigError(
                    f"{entry.place}: more than {self.limits.max_entries} entries that grant nothing"
                )
        return above[0] + entry.own[0], narrowed


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Permissions of everything in an export that has a path.

    Raises:
        ConfigError: the envelope is malformed, or the export is larger than the limits.
    """
    root = parse_json(data, name, limits)
    _known(root, _ENVELOPE)
    if root.child("format").value != FORMAT:
        raise root.child("format").error(f"must be {FORMAT!r}")
    stated = root.optional("exported_at")
    as_of = None if stated is None else _instant(stated)
    anonymous = root.optional("anonymous_use")
    names = Names(
        table(root.optional("users"), "username", "userKey"),
        table(root.optional("groups"), "id", "name"),
        anonymous is not None and anonymous.truth(),
    )
    tree = _Tree(_spaces(root.child("spaces"), names), limits)
    keys = _read_content(root.child("content"), tree)
    _refuse_too_many(root, tree)
    return PermissionDump(MappingProxyType(dict(_items(tree, keys))), as_of)


def _known(node: Node, fields: frozenset[str]) -> None:
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    unknown = sorted(node.value.keys() - fields)
    if unknown:
        raise node.error(f"unknown field {unknown[0]!r}")


def _instant(node: Node) -> Micros:
    try:
        return instant(node.value)
    except (ValueError, OverflowError) as error:
        raise node.error(str(error)) from None


def _identifier(node: Node) -> str:
    """An id; some APIs write it as a number."""
    return str(node.value) if type(node.value) is int else clean(node)


def _spaces(node: Node, names: Names) -> dict[str, _Locks | ItemProblem]:
    spaces: dict[str, _Locks | ItemProblem] = {}
    for entry in node.items():
        _known(entry, _SPACE)
        key = clean(entry.child("key"))
        if key in spaces:
            spaces[key] = ItemProblem(entry.place, f"the space {key!r} occurs twice")
            continue
        try:
            lock, narrowed = space_lock(entry, f"space {key}", names)
            spaces[key] = (lock,), narrowed
        except ConfigError as error:
            spaces[key] = ItemProblem(entry.place, str(error))
    return spaces


def _read_content(node: Node, tree: _Tree) -> dict[str, list[str]]:
    """Fill the tree. Returns the ids of each path."""
    keys: dict[str, list[str]] = {}
    for number, entry in enumerate(node.items()):
        if number >= tree.limits.max_items:
            raise node.error(f"more than {tree.limits.max_items} items")
        _known(entry, _CONTENT)
        key = _identifier(entry.child("id"))
        built = _one(entry, key)
        if key in tree.content:
            tree.content[key] = ItemProblem(entry.place, f"the id {key!r} occurs twice")
        else:
            tree.content[key] = built
        if built.path is not None:
            keys.setdefault(built.path, []).append(key)
    return keys


def _one(entry: Node, key: str) -> _Content:
    if not isinstance(entry.value, dict) or "parent" not in entry.value:
        # Without it a page deep in the tree would look like one at the top.
        raise entry.error("'parent' is missing; it is null at the top of a space")
    parent = entry.optional("parent")
    kind, stated = entry.optional("type"), entry.optional("path")
    path = None if stated is None else _path(stated)
    below = kind is not None and kind.value in _WITHOUT_RESTRICTIONS
    own: _Locks | ItemProblem
    if below and parent is None:
        own = ItemProblem(entry.place, "stands below nothing")
    elif below and not entry.has("restrictions"):
        own = (), ()
    else:
        own = _restriction(entry, f"page {key}" if path is None else f"page {key} {path}")
    space = clean(entry.child("space"))
    return _Content(entry.place, path, space, None if parent is None else _identifier(parent), own)


def _restriction(entry: Node, what: str) -> _Locks | ItemProblem:
    try:
        lock, narrowed = read_restriction(entry.child("restrictions"), what)
    except ConfigError as error:
        return ItemProblem(entry.place, str(error))
    return () if lock is None else (lock,), narrowed


def _path(node: Node) -> str:
    """The path byte for byte; one with characters that no document has in its path in a form that is none of any."""
    if not isinstance(node.value, str):
        raise node.error("must be text")
    if any(segment in ("", ".", "..") for segment in node.value.split("/")):
        raise node.error("must be relative to the source, without empty, . and .. segments")
    return _envelope.shown(node.value)


def _refuse_too_many(root: Node, tree: _Tree) -> None:
    own = (x.own for x in tree.content.values() if isinstance(x, _Content))
    known = (x for x in (*tree.spaces.values(), *own) if not isinstance(x, ItemProblem))
    entries = sum(len(narrowed) + sum(len(lock.allow) for lock in locks) for locks, narrowed in known)
    if entries > tree.limits.max_entries:
        raise root.error(f"more than {tree.limits.max_entries} entries")


def _items(tree: _Tree, keys: dict[str, list[str]]) -> Iterator[tuple[str, NativePermissions | ItemProblem]]:
    for path, found in keys.items():
        place = tree.content[found[0]].place
        if len(found) > 1:
            yield path, ItemProblem(place, f"the path {path!r} belongs to {len(found)} entries")
            continue
        why = _envelope.why_no_path(path, LIMITS.max_depth)
        if why is not None:
            yield path, ItemProblem(place, why)
            continue
        locks = tree.locks(found[0])
        if isinstance(locks, ItemProblem):
            yield path, locks
            continue
        try:
            yield path, NativePermissions(*locks)
        except PolicyError as error:
            yield path, ItemProblem(place, str(error))
