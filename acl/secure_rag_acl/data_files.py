"""Files as plain data that can say where something stands, so that every complaint names its place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from secure_rag.errors import ConfigError

MAX_BYTES: Final = 1 << 20
_Model = TypeVar("_Model", bound=BaseModel)
_WORDS: Final = {
    "extra_forbidden": "unknown key",
    "missing": "is missing",
    "model_type": "must be keys with values",
    "list_type": "must be a list",
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
}


class DataFile:
    """Parsed content of one file, or of several that belong together."""

    def __init__(self, name: str, data: object) -> None:
        self.name = name
        self.data = data

    def place(self, path: Sequence[str | int]) -> str:
        """Where the value at a path of keys and indexes stands: `file` or `file:line`."""
        del path
        return self.name

    def error(self, path: Sequence[str | int], message: str) -> ConfigError:
        """An error that names its place."""
        where = ".".join(str(x) for x in path)
        return ConfigError(f"{self.place(path)}: {where + ': ' if where else ''}{message}")

    def validate(self, model: type[_Model]) -> _Model:
        """The content as a model.

        Raises:
            ConfigError: the first thing that is wrong, and how many more there are.
        """
        try:
            return model.model_validate(self.data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise self.error(found[0]["loc"], _message(found[0]) + more) from error


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Content of a file, refused when it is larger than the limit.

    Raises:
        ConfigError: it cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise ConfigError(f"{path}: larger than {max_bytes} bytes")
    return data


def decode(data: bytes, name: str) -> str:
    """Text of a file.

    Raises:
        ConfigError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: not UTF-8") from error


def _message(error: ErrorDetails) -> str:
    return _WORDS.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
