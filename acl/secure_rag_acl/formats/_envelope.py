"""What exports in JSON have in common: our envelope around objects of a provider, and one result for each path.

The envelope is ours: an unknown field in it is a mistake of the exporter and refuses the whole dump. The provider's
objects inside it are kept as they came; fields that we do not know are accepted there, since interfaces grow.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import Micros
from secure_rag_acl import fields
from secure_rag_acl.formats.json_export import Node, parse_json
from secure_rag_acl.formats.native import ItemProblem, Limits, NativeLock, NativePermissions

Result = NativePermissions | ItemProblem
GUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UNNAMED: Final = "./"
"""Begins the key of an item whose path is no path. No path of a source begins so."""


def open_export(
    data: bytes, name: str, form: str, required: frozenset[str], optional: frozenset[str], limits: Limits
) -> Node:
    """The envelope of an export.

    Raises:
        ConfigError: not JSON, nested too deep, of another format, or fields are missing or unknown.
    """
    root = parse_json(data, name, limits)
    _refuse_depth(root, limits.max_depth)
    strict_object(root, required | {"format"}, optional)
    if root.child("format").value != form:
        raise root.child("format").error(f"must be {form!r}")
    return root


def strict_object(node: Node, required: frozenset[str], optional: frozenset[str] = frozenset()) -> None:
    """Check the fields of an object of our envelope.

    Raises:
        ConfigError: it is no object, or fields are missing or unknown.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    unknown = sorted(str(key) for key in node.value if key not in required | optional)
    if unknown:
        raise node.error(f"unknown field {unknown[0]!r}")
    for key in sorted(required):
        node.child(key)


def exported_at(root: Node) -> Micros | None:
    """When the export was made, if it says so.

    Raises:
        ConfigError: it says it in an unreadable way.
    """
    node = root.optional("exported_at")
    if node is None:
        return None
    try:
        return fields.instant(node.text())
    except ValueError as error:
        raise node.error(str(error)) from error


def by_path(
    items: Iterable[tuple[str, Node]], limits: Limits, read_one: Callable[[str, Node], Result | None]
) -> Mapping[str, Result]:
    """Read item after item; what is wrong with one withholds that one only.

    Args:
        items: path as written, and where it stands.
        limits: of the source.
        read_one: permissions of an item; None for what is no item.

    Raises:
        ConfigError: the source has more items or entries than its limits allow.
    """
    built: dict[str, Result] = {}
    counted, entries = set[int](), 0
    for number, (path, node) in enumerate(items):
        if number >= limits.max_items:
            raise node.error(f"more than {limits.max_items} items")
        result = _one(path, node, limits, read_one)
        if result is None:
            continue
        key = shown(path)
        built[key] = ItemProblem(node.place, f"the path occurs twice: {key}") if key in built else result
        if isinstance(result, NativePermissions):
            # Locks of folders are shared by what is below them, and count once.
            parts: tuple[NativePermissions | NativeLock, ...] = (result, *result.locks)
            entries += sum(_size(x) for x in parts if id(x) not in counted)
            counted.update(id(x) for x in parts)
        if entries > limits.max_entries:
            raise node.error(f"more than {limits.max_entries} entries")
    return MappingProxyType(built)


def shown(path: str) -> str:
    """A path for reports: itself, or an escaped form that is no path of any item."""
    return path if _is_text(path) else _UNNAMED + path.encode("unicode_escape").decode("ascii")


def why_no_path(path: str, max_depth: int) -> str | None:
    """Why a text is no POSIX path relative to the root of a source; None when it is one."""
    segments = path.split("/")
    if not _is_text(path):
        return "the path has control or invisible characters"
    if any(x in ("", ".", "..") for x in segments):
        return "not a path relative to the root, without empty, . and .. segments"
    if len(segments) > max_depth:
        return f"more than {max_depth} levels deep"
    return None


def as_written(node: Node) -> str:
    """A provider's object as compact JSON."""
    return json.dumps(node.value, ensure_ascii=False, separators=(",", ":"))


def plain_text(node: Node, key: str) -> str | None:
    """A name in a provider's object, in NFC; None when it is absent, empty or no text.

    Raises:
        ConfigError: it has control or invisible characters or padding, is too long, or turns into ASCII in NFC.
    """
    value = node.value.get(key) if isinstance(node.value, dict) else None
    if not isinstance(value, str) or not value:
        return None
    text = unicodedata.normalize("NFC", value)
    if not ids.is_clean(text) or len(text) > fields.MAX_NAME:
        raise node.error(f"{key!r} is no name: padding, control or invisible characters, or too long")
    if fields.only_looks_ascii(value):
        # U+212A becomes a plain K: another name of the source would turn into somebody's.
        raise node.error(f"{key!r} only looks like ASCII")
    return text


def _one(
    path: str, node: Node, limits: Limits, read_one: Callable[[str, Node], Result | None]
) -> Result | None:
    why = why_no_path(path, limits.max_depth)
    if why is not None:
        return ItemProblem(node.place, why)
    try:
        return read_one(path, node)
    except (ConfigError, PolicyError) as error:
        return ItemProblem(node.place, str(error))


def _size(part: NativePermissions | NativeLock) -> int:
    if isinstance(part, NativePermissions):
        return len(part.narrowed)
    return len(part.allow) + len(part.deny) + len(part.closed)


def _is_text(path: str) -> bool:
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in path)


def _refuse_depth(root: Node, max_depth: int) -> None:
    level: list[object] = [root.value]
    for _ in range(max_depth + 1):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(x for x in value.values() if isinstance(x, dict | list))
            elif isinstance(value, list):
                below.extend(x for x in value if isinstance(x, dict | list))
        if not below:
            return
        level = below
    raise root.error(f"nested deeper than {max_depth} levels")
