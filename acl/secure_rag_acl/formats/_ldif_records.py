"""LDIF (RFC 2849): from the bytes of a file to entries. Content only; what describes changes is refused."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from secure_rag.errors import ConfigError
from secure_rag_acl.data_files import decode
from secure_rag_acl.formats.native import Limits

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9=*-]+)*):(?P<mark>[:<]?) *(?P<value>.*)", re.DOTALL
)


@dataclass(slots=True)
class Record:
    """One entry, or what ldapsearch says after them.

    Attributes:
        place: file and line of its first line.
        dn: as written; None when it is no entry.
        attributes: values by name in lower case, options included (`member;range=0-1499`).
    """

    place: str
    dn: str | None = None
    attributes: dict[str, list[bytes]] = field(default_factory=dict[str, "list[bytes]"])

    def texts(self, name: str) -> tuple[str, ...]:
        """Values that are text; a certificate or photograph is none."""
        found: list[str] = []
        for value in self.attributes.get(name, ()):
            try:
                found.append(value.decode("utf-8"))
            except UnicodeDecodeError:
                continue
        return tuple(found)


def read_records(data: bytes, name: str, limits: Limits) -> Iterator[Record]:
    """Entries of a file.

    Raises:
        ConfigError: larger than the limits, not UTF-8, malformed, or describing changes; names file and line.
    """
    if len(data) > limits.max_bytes:
        raise ConfigError(f"{name}: larger than {limits.max_bytes} bytes")
    if not data.endswith((b"\n", b"\r")) and data:
        raise ConfigError(f"{name}: ends within a line: it was cut off")
    record: Record | None = None
    count, adding = 0, set[bool]()
    for line, text in _logical_lines(decode(data, name), name):
        if not text:
            if record is not None:
                yield _finished(record, adding)
            record = None
            continue
        attribute, value = _parsed(text, f"{name}:{line}")
        if record is None and attribute == "version" and count == 0:
            if value != b"1":
                raise ConfigError(f"{name}:{line}: only version 1 is read")
            continue
        if record is None:
            count += 1
            if count > limits.max_items:
                raise ConfigError(f"{name}: more than {limits.max_items} entries")
            record = Record(f"{name}:{line}")
        _put(record, attribute, value, f"{name}:{line}")
    if record is not None:
        yield _finished(record, adding)


def _logical_lines(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Unfolded lines without comments, with their numbers; empty ones separate entries."""
    pending: list[str] | None = None
    first = 0
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if line.startswith(" "):
            if pending is None:
                raise ConfigError(f"{name}:{number}: continues nothing")
            pending.append(line[1:])
            continue
        if pending is not None and not pending[0].startswith("#"):
            yield first, "".join(pending)
        pending, first = ([line] if line else None), number
        if not line:
            yield number, ""
    if pending is not None and not pending[0].startswith("#"):
        yield first, "".join(pending)


def _parsed(text: str, place: str) -> tuple[str, bytes]:
    found = _LINE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{place}: not an attribute with a value")
    mark, value = found["mark"], found["value"]
    if mark == "<":
        raise ConfigError(f"{place}: values from other files or the network are not read")
    if mark == ":":
        try:
            return found["name"].lower(), base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError(f"{place}: not valid base64") from error
    if "\0" in value:
        raise ConfigError(f"{place}: a value holds a zero byte")
    return found["name"].lower(), value.encode("utf-8")


def _put(record: Record, attribute: str, value: bytes, place: str) -> None:
    if attribute == "dn":
        if record.dn is not None or record.attributes:
            raise ConfigError(f"{place}: `dn` does not begin an entry; an empty line is missing")
        try:
            record.dn = value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{place}: `dn` is not UTF-8") from error
        return
    record.attributes.setdefault(attribute.removesuffix(";binary"), []).append(value)


def _finished(record: Record, adding: set[bool]) -> Record:
    """Refuse changes. `ldifde` marks every entry of an export as an addition; that alone is content."""
    kinds = record.attributes.pop("changetype", None)
    if record.dn is None:
        return record
    if kinds is not None and [x.lower() for x in kinds] != [b"add"]:
        raise ConfigError(f"{record.place}: describes a change; only whole entries are read")
    adding.add(kinds is not None)
    if len(adding) > 1:
        raise ConfigError(f"{record.place}: entries and changes in one file")
    return record
