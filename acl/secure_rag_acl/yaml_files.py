"""YAML that people write: read safely, and with line numbers for every complaint.

Refused: more bytes than the limit, other encodings than UTF-8, several documents, anchors and aliases (bombs), tags,
merge keys, duplicate keys, keys that are not text, and nesting deeper than any of our files needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import yaml
from yaml.constructor import SafeConstructor

from secure_rag.errors import ConfigError
from secure_rag_acl.data_files import MAX_BYTES, DataFile, decode

MAX_DEPTH: Final = 16
_MERGE: Final = "tag:yaml.org,2002:merge"
_TEXT: Final = "tag:yaml.org,2002:str"
# The C parser is an order faster; wheels bring it, a build from source may not.
_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlFile(DataFile):
    """A parsed file that knows its lines."""

    def __init__(self, name: str, root: yaml.Node | None) -> None:
        super().__init__(name, None if root is None else _build(name, root))
        self._root = root

    def place(self, path: Sequence[str | int]) -> str:
        """File and line of the value at a path, or of the last part of the path that exists."""
        node = self._root
        for part in path:
            below = _child(node, part)
            if below is None:
                break
            node = below
        return f"{self.name}:{1 if node is None else int(node.start_mark.line) + 1}"


def parse_yaml(data: bytes, name: str, max_bytes: int = MAX_BYTES) -> YamlFile:
    """Parse one YAML document.

    Raises:
        ConfigError: it is refused; names file, line and what is wrong.
    """
    if len(data) > max_bytes:
        raise ConfigError(f"{name}: larger than {max_bytes} bytes")
    text = decode(data, name)
    try:
        _refuse_tricks(text, name)
        return YamlFile(name, yaml.compose(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}:1: not valid YAML: {' '.join(str(error).split())}") from error


def _refuse_tricks(text: str, name: str) -> None:
    """Look at the flat stream of events first: the tree is built recursively and must not be built for a bomb."""
    depth, documents = 0, 0
    for event in yaml.parse(text, Loader=_Loader):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ConfigError(f"{name}:{line}: anchors and aliases are not supported")
        if getattr(event, "tag", None) is not None:
            raise ConfigError(f"{name}:{line}: tags are not supported")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise ConfigError(f"{name}:{line}: more than one document")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"{name}:{line}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _build(name: str, node: yaml.Node) -> object:
    """Plain values from nodes. Our own walk, since PyYAML keeps the last of two equal keys without a word."""
    if isinstance(node, yaml.MappingNode):
        built: dict[str, object] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.tag == _MERGE:
                raise ConfigError(f"{name}:{line}: merge keys are not supported")
            if not isinstance(key, yaml.ScalarNode) or key.tag != _TEXT:
                raise ConfigError(f"{name}:{line}: a key must be text; put it in quotes")
            if key.value in built:
                raise ConfigError(f"{name}:{line}: the key {key.value!r} occurs twice")
            built[key.value] = _build(name, value)
        return built
    if isinstance(node, yaml.SequenceNode):
        return [_build(name, item) for item in node.value]
    try:
        scalar: object = SafeConstructor().construct_object(node)
    except (ValueError, OverflowError, yaml.YAMLError) as error:
        # A date such as 2026-02-31 raises ValueError, which is no YAMLError.
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: not a valid value: {node.value!r}") from error
    return scalar


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found: yaml.Node = node.value[part]
        return found
    return None
