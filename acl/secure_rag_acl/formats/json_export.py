"""JSON of untrusted exports: read whole or refused, and walked with a pointer for every complaint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from secure_rag.errors import ConfigError
from secure_rag_acl.data_files import decode
from secure_rag_acl.formats.native import LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands.

    Attributes:
        name: the file.
        pointer: RFC 6901 pointer of the value in it.
        value: plain JSON.
    """

    name: str
    pointer: str
    value: object

    @property
    def place(self) -> str:
        """`file#/pointer`."""
        return f"{self.name}#{self.pointer}"

    def error(self, message: str) -> ConfigError:
        """An error that names this place."""
        return ConfigError(f"{self.place}: {message}")

    def has(self, key: str) -> bool:
        """Whether an object has a key, and not with null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def child(self, key: str) -> Node:
        """A value of an object.

        Raises:
            ConfigError: this is no object, or the key is absent or null.
        """
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        if self.value.get(key) is None:
            raise self.error(f"{key!r} is missing")
        return Node(self.name, f"{self.pointer}/{_escaped(key)}", self.value[key])

    def optional(self, key: str) -> Node | None:
        """A value of an object; None when it is absent or null.

        Raises:
            ConfigError: this is no object.
        """
        if not isinstance(self.value, dict):
            raise self.error("must be an object")
        return self.child(key) if self.has(key) else None

    def items(self) -> Iterator[Node]:
        """Elements of a list.

        Raises:
            ConfigError: this is no list.
        """
        if not isinstance(self.value, list):
            raise self.error("must be a list")
        return (Node(self.name, f"{self.pointer}/{n}", x) for n, x in enumerate(self.value))

    def text(self) -> str:
        """A text without control characters.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(self.value, str) or not self.value.isprintable():
            raise self.error("must be text without control characters")
        return self.value

    def truth(self) -> bool:
        """A truth value.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(self.value, bool):
            raise self.error("must be true or false")
        return self.value

    def number(self) -> int:
        """A whole number.

        Raises:
            ConfigError: it is none.
        """
        if type(self.value) is not int:
            raise self.error("must be a whole number")
        return self.value


def parse_json(data: bytes, name: str, limits: Limits = LIMITS) -> Node:
    """Parse one JSON document.

    Raises:
        ConfigError: too large, not UTF-8, nested too deep, a key twice, NaN, or not JSON at all; names the line.
    """
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{name}: larger than {limits.max_bytes} bytes")
    text = decode(data, name)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deep") from error
    except ValueError as error:
        raise ConfigError(f"{name}: not valid JSON: {error}") from error
    return Node(name, "", value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    built = dict(pairs)
    if len(built) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} occurs twice")
    return built


def _constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
