"""Lines put into a mapping file as text: what its owner wrote, comments included, stays byte for byte.

The result is parsed again and compared: the old lines, the new ones, and nothing else may have changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from secure_rag.errors import ConfigError
from secure_rag.model.ids import PrincipalId
from secure_rag_acl.data_files import MAX_BYTES, decode
from secure_rag_acl.yaml_files import YamlFile, parse_yaml

_KEY: Final = "principals"
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class NewLine:
    """An exact line of `principals:`. `merge`: the principal may have other names too."""

    native: str
    principal: PrincipalId
    merge: bool = False

    def data(self) -> dict[str, object]:
        """As a parsed file has it."""
        found: dict[str, object] = {"native": self.native, "principal": str(self.principal)}
        return {**found, "merge": True} if self.merge else found


def with_lines(data: bytes, name: str, lines: Sequence[NewLine]) -> bytes:
    """A mapping with more exact lines.

    Raises:
        ConfigError: the mapping cannot be parsed, would be too large, or is written in a way that lines cannot be put
            into without touching the rest; names the file.
    """
    before = parse_yaml(data, name)
    text = decode(data, name)
    # The reader in Python counts in characters; the C one must not be relied on for places in the text.
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not lines or not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{name}: no lines, or no keys with values")
    at, inserted = _insertion(text, root, lines)
    edited = (text[:at] + inserted + text[at:]).encode("utf-8")
    if data.startswith(_BOM):
        edited = _BOM + edited
    if len(edited) > MAX_BYTES:
        raise ConfigError(f"{name}: with these lines larger than {MAX_BYTES} bytes")
    if not _only_added(before, parse_yaml(edited, name), lines):
        raise ConfigError(f"{name}: written in a way that lines cannot be added to; add them by hand")
    return edited


def _only_added(before: YamlFile, after: YamlFile, lines: Sequence[NewLine]) -> bool:
    if not isinstance(before.data, Mapping) or not isinstance(after.data, Mapping):
        return False
    kept = before.data.get(_KEY, [])
    if not isinstance(kept, list):
        return False
    return dict(after.data) == {**before.data, _KEY: [*kept, *(x.data() for x in lines)]}


def _insertion(text: str, root: yaml.MappingNode, lines: Sequence[NewLine]) -> tuple[int, str]:
    """Where to put what."""
    found = next((pair for pair in root.value if pair[0].value == _KEY), None)
    if found is None:
        return _new_section(text, root, lines)
    key, node = found
    if not isinstance(node, yaml.SequenceNode):
        raise ConfigError(f"{key.start_mark.line + 1}: {_KEY}: must be a list")
    if node.flow_style:
        return _into_flow(node, lines)
    end = _line_after(text, _last_line(node.value[-1]))
    return _block(text, end, node.start_mark.column, lines)


def _new_section(text: str, root: yaml.MappingNode, lines: Sequence[NewLine]) -> tuple[int, str]:
    first = root.value[0][0]
    if root.flow_style:
        return first.start_mark.index, f'"{_KEY}": [{_flow(lines)}], '
    line = _newline(text)
    at, inserted = _block(text, _line_after(text, _last_line(root.value[0][1])), 2, lines)
    lead = "" if at == 0 or text[at - 1] == "\n" else line
    return at, f"{lead}{_KEY}:{line}{inserted.removeprefix(line) if lead else inserted}"


def _into_flow(node: yaml.SequenceNode, lines: Sequence[NewLine]) -> tuple[int, str]:
    if not node.value:
        return node.start_mark.index + 1, _flow(lines)
    return node.value[-1].end_mark.index, f", {_flow(lines)}"


def _block(text: str, at: int, column: int, lines: Sequence[NewLine]) -> tuple[int, str]:
    line = _newline(text)
    added = "".join(f"{' ' * column}- {_entry(x)}{line}" for x in lines)
    # The last line of a file may lack its end.
    return at, added if at == 0 or text[at - 1] == "\n" else line + added


def _flow(lines: Sequence[NewLine]) -> str:
    return ", ".join(json.dumps(x.data(), ensure_ascii=False) for x in lines)


def _entry(line: NewLine) -> str:
    merge = ", merge: true" if line.merge else ""
    # Quoted like JSON, which YAML reads the same: names may hold what means something to YAML.
    return f"{{native: {json.dumps(line.native, ensure_ascii=False)}, principal: {json.dumps(line.principal)}{merge}}}"


def _last_line(node: yaml.Node) -> int:
    """Number of the last line that a value stands on."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    end = node.end_mark
    return int(end.line if end.column or end.line == node.start_mark.line else end.line - 1)


def _line_after(text: str, line: int) -> int:
    at = 0
    for _ in range(line + 1):
        found = text.find("\n", at)
        if found < 0:
            return len(text)
        at = found + 1
    return at


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
