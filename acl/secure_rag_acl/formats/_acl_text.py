r"""Dumps of access lists as text: an envelope of comments, then a block of lines for each object.

```
# source-root: /srv/hr
# exported-at: 2026-11-24T16:00:00Z

# file: /srv/hr/pay.ods
…
```

Invariants
- A block ends where the next `# file:` begins. A line between two blocks belongs to the one before it and spoils it:
  what was cut out of a list may have been a refusal.
- Names of files are escaped as `getfacl` does (`\\`, `\012`), so that no name begins a line of its own.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from secure_rag_acl import fields
from secure_rag_acl.formats._folder_locks import (
    FolderTree,
    Guarded,
    RefusedError,
    is_identifier,
    plain_segments,
    shown,
)
from secure_rag_acl.formats.native import ItemProblem, Limits, PermissionDump

_FILE: Final = b"# file: "
_ESCAPE: Final = re.compile(rb"\\(\\|[0-3][0-7]{2})|\\")
_BOM: Final = b"\xef\xbb\xbf"
ROOT, ABOVE, EXPORTED = "source-root", "folders-above", "exported-at"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a block, without its end."""

    text: str
    place: str


@dataclass(slots=True)
class Block:
    """One object of the dump.

    Attributes:
        path: as the dump names it, unescaped; undecodable bytes are surrogates.
        place: of its `# file:` line.
        lines: all others.
        why: what is wrong with the block as such.
    """

    path: str
    place: str
    lines: list[Line] = field(default_factory=list[Line])
    why: str | None = None


Reader = Callable[[Block, str], Guarded]
"""Reads the lines of a block; the text is the path for reports. Raises `RefusedError`."""


def read_dump(
    data: bytes, name: str, limits: Limits, read_block: Reader, *, below_root: bool
) -> PermissionDump:
    """Read a dump.

    Raises:
        ConfigError: too large, an unknown envelope, the root or a folder above it is missing, or paths outside it.
    """
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{name}: larger than {limits.max_bytes} bytes")
    lines = enumerate(data.removeprefix(_BOM).split(b"\n"), start=1)
    envelope = dict[str, Line]()
    blocks = _blocks(lines, name, limits, envelope)
    first = next(blocks, None)  # all of the envelope stands before it
    root, is_below = _root(envelope, name, limits), below_root or ABOVE in envelope
    objects = _objects(blocks if first is None else itertools.chain([first], blocks), root, read_block)
    path = "/".join(root.segments)
    _whole_way_known(objects, root, path, name, is_below=is_below)
    tree = FolderTree(objects, top=path if is_below else "", root=path, limits=limits)
    return PermissionDump(MappingProxyType(tree.items()), _exported(envelope))


@dataclass(frozen=True, slots=True)
class _Root:
    segments: tuple[str, ...]
    absolute: bool


def _blocks(
    lines: Iterator[tuple[int, bytes]], name: str, limits: Limits, envelope: dict[str, Line]
) -> Iterator[Block]:
    block, ended, blocks, entries = None, False, 0, 0
    for number, raw in lines:
        place = f"{name}:{number}"
        if raw.startswith(_FILE):
            if block is not None:
                yield block
            blocks, ended = blocks + 1, False
            if blocks > limits.max_items:
                raise ConfigError(f"{place}: more than {limits.max_items} items")
            block = _block(raw.removeprefix(_FILE), place)
        elif not raw:
            ended = True
        elif block is None:
            _put_envelope(envelope, raw, place)
        else:
            entries += 1
            if entries > limits.max_entries:
                raise ConfigError(f"{place}: more than {limits.max_entries} entries")
            _put_line(block, raw, place, ended=ended)
    if block is not None:
        yield block


def _block(path: bytes, place: str) -> Block:
    try:
        return Block(unescaped(path).decode("utf-8", "surrogateescape"), place)
    except ValueError as error:
        return Block(path.decode("utf-8", "surrogateescape"), place, why=str(error))


def _put_line(block: Block, raw: bytes, place: str, *, ended: bool) -> None:
    text = raw.decode("utf-8", "replace")
    if ended:
        block.why = block.why or f"{place}: a line after the end of the entries"
    elif "\ufffd" in text or not text.replace("\t", " ").isprintable():
        block.why = block.why or f"{place}: not UTF-8, or control characters"
    else:
        block.lines.append(Line(text, place))


def _put_envelope(envelope: dict[str, Line], raw: bytes, place: str) -> None:
    key, colon, value = raw.decode("utf-8", "replace").removeprefix("# ").partition(": ")
    if not raw.startswith(b"# ") or not colon or key not in (ROOT, ABOVE, EXPORTED):
        raise ConfigError(
            f"{place}: before the first `# file:` only {ROOT}, {ABOVE} and {EXPORTED} may stand"
        )
    if key in envelope:
        raise ConfigError(f"{place}: a second {key}")
    if key == ABOVE and value != "ignored":
        raise ConfigError(f"{place}: {ABOVE} must be `ignored`, or absent")
    envelope[key] = Line(value, place)


def _root(envelope: Mapping[str, Line], name: str, limits: Limits) -> _Root:
    line = envelope.get(ROOT, Line(".", name))
    try:
        path = unescaped(line.text.encode()).decode()
    except ValueError as error:
        raise ConfigError(f"{line.place}: {ROOT}: {error}") from error
    segments = plain_segments(path)
    if segments is None or not is_identifier(path):
        raise ConfigError(f"{line.place}: {ROOT}: not a path without empty, . and .. parts")
    if len(segments) > limits.max_depth:
        raise ConfigError(f"{line.place}: {ROOT}: lies in more than {limits.max_depth} folders")
    return _Root(segments, path.startswith("/"))


def _exported(envelope: Mapping[str, Line]) -> Micros | None:
    line = envelope.get(EXPORTED)
    if line is None:
        return None
    try:
        return fields.instant(line.text)
    except ValueError as error:
        raise ConfigError(f"{line.place}: {EXPORTED}: {error}") from error


def _objects(blocks: Iterable[Block], root: _Root, read_block: Reader) -> dict[str, Guarded | ItemProblem]:
    objects = dict[str, Guarded | ItemProblem]()
    for block in blocks:
        segments = plain_segments(block.path)
        if segments is None:
            raise ConfigError(f"{block.place}: not a path without empty, . and .. parts")
        if block.path.startswith("/") is not root.absolute:
            raise ConfigError(
                f"{block.place}: {shown(block.path)} and the source's root are not counted from the same folder: "
                f"use `getfacl -p` with an absolute root, or both relative"
            )
        shorter = min(len(segments), len(root.segments))
        if segments[:shorter] != root.segments[:shorter]:
            raise ConfigError(f"{block.place}: {shown(block.path)} lies outside the source's root")
        path = "/".join(segments)
        if path in objects:
            objects[path] = ItemProblem(block.place, "listed a second time")
        else:
            objects[path] = _object(block, path, read_block)
    return objects


def _object(block: Block, path: str, read_block: Reader) -> Guarded | ItemProblem:
    if block.why is not None:
        return ItemProblem(block.place, block.why)
    if not is_identifier(path):
        return ItemProblem(block.place, "the path has control or invisible characters, or is not UTF-8")
    try:
        return read_block(block, shown(path))
    except RefusedError as error:
        return error.problem()


def _whole_way_known(
    objects: Mapping[str, object], root: _Root, path: str, name: str, *, is_below: bool
) -> None:
    if path not in objects:
        raise ConfigError(f"{name}: the source's root {shown(path)} itself is not in the dump")
    if is_below:
        return
    above = ["/".join(root.segments[:n]) for n in range(len(root.segments))]
    missing = next((x for x in above if x not in objects), None)
    if root.absolute and missing is None:
        return
    lacking = f"folder /{missing}" if root.absolute else "what lies above a relative root"
    raise ConfigError(
        f"{name}: {lacking} is not in the dump, and without search permission there nobody gets in. Add it "
        f"(`getfacl -p`), or state `# {ABOVE}: ignored` if readers enter the source at its root, as with an export"
    )


def unescaped(text: bytes) -> bytes:
    r"""Bytes of a name in which `\\` and `\ooo` stand for others.

    Raises:
        ValueError: a backslash before anything else.
    """

    def byte(match: re.Match[bytes]) -> bytes:
        found = match.group(1)
        if found is None:
            raise ValueError("a backslash that begins no octal number")
        return b"\\" if found == b"\\" else bytes([int(found, 8)])

    return _ESCAPE.sub(byte, text)
