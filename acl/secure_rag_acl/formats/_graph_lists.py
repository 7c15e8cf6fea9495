"""Lists of one item while its Graph export is read: entries, what is narrower, and how much the source may ask for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import NEVER, Micros
from secure_rag.model.locks import MAX_LOCK_ENTRIES
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import (
    Closure,
    Narrowing,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_EXPIRY: Final = datetime.min.replace(tzinfo=UTC)
_MAX_HEAD: Final = 4096


class QuotaExceededError(ConfigError):
    """The whole source asks for more than its reader gives."""


@dataclass(slots=True)
class Budget:
    """Entries that the whole source may still make, kept or not, and characters of what they quote."""

    name: str
    limit: int
    text_limit: int
    used: int = 0
    quoted: int = 0

    def spend(self) -> None:
        """Count an entry.

        Raises:
            QuotaExceededError: there is none left.
        """
        self.used += 1
        if self.used > self.limit:
            raise QuotaExceededError(f"{self.name}: more than {self.limit} entries")

    def quote(self, entry: str) -> None:
        """Count the text of an entry: one long permission with many grantees quotes itself for each of them.

        Raises:
            QuotaExceededError: there is no room left.
        """
        self.quoted += len(entry)
        if self.quoted > self.text_limit:
            raise QuotaExceededError(f"{self.name}: entries of more than {self.text_limit} characters")


@dataclass(slots=True)
class Lists:
    """One lock in the making."""

    budget: Budget
    allow: list[NativeEntry] = field(default_factory=list[NativeEntry])
    deny: list[NativeEntry] = field(default_factory=list[NativeEntry])
    closed: list[Closure] = field(default_factory=list[Closure])
    narrowed: list[Narrowing] = field(default_factory=list[Narrowing])

    def admit(self, who: Iterable[NativePrincipal], entry: str, place: str, expires: Micros = NEVER) -> None:
        """Allow names.

        Raises:
            PolicyError: more than a list may hold.
            QuotaExceededError: more than the source may ask for.
        """
        self.budget.quote(entry)
        for principal in who:
            self._count(len(self.allow))
            self.allow.append(NativeEntry(principal, entry, place, expires))

    def refuse(self, principal: NativePrincipal, entry: str, place: str) -> None:
        """Deny a name.

        Raises:
            PolicyError: more than a list may hold.
            QuotaExceededError: more than the source may ask for.
        """
        self.budget.quote(entry)
        self._count(len(self.deny))
        self.deny.append(NativeEntry(principal, entry, place))

    def close(self, entry: str, place: str, why: str) -> None:
        """Somebody is kept out, nobody knows whom.

        Raises:
            PolicyError: more than a list may hold.
            QuotaExceededError: more than the source may ask for.
        """
        self.budget.quote(entry)
        self._count(len(self.closed))
        self.closed.append(Closure(entry, place, why))

    def narrow(self, entry: str, place: str, why: str) -> None:
        """Somebody may be let in by the source whom these lists do not name.

        Raises:
            PolicyError: more than a list may hold.
            QuotaExceededError: more than the source may ask for.
        """
        self.budget.quote(entry)
        self._count(len(self.narrowed))
        self.narrowed.append(Narrowing(entry, place, why))

    def permissions(self, what: str) -> NativePermissions:
        """The finished lock."""
        lock = NativeLock(what, tuple(self.allow), tuple(self.deny), tuple(self.closed))
        return NativePermissions((lock,), tuple(self.narrowed))

    def _count(self, length: int) -> None:
        self.budget.spend()
        if length >= MAX_LOCK_ENTRIES:
            raise PolicyError(f"a list of more than {MAX_LOCK_ENTRIES} entries")


def only(node: Node, *known: str) -> None:
    """Refuse fields of our own envelope that nobody knows.

    Raises:
        ConfigError: there is one, or the value is no object.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    unknown = sorted(set(node.value) - set(known))
    if unknown:
        raise node.error(f"unknown field {unknown[0]!r}")


def collection(node: Node) -> Iterator[Node]:
    """Elements of an answer of the API that holds all its pages.

    Raises:
        ConfigError: it is none, the source answered with an error, or a page is missing.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an answer of the API, an object with 'value'")
    if node.has("error"):
        raise node.error("the source answered with an error")
    for key, value in node.value.items():
        if value is not None and (key.casefold().endswith("nextlink") or key == "__next"):
            raise node.error(f"incomplete: {key!r} was not followed")
    elements = list(node.child("value").items())
    count = node.value.get("@odata.count")
    if count is not None and count != len(elements):
        raise node.error(f"incomplete: {len(elements)} of {count!r} elements")
    return iter(elements)


def instant(node: Node) -> Micros:
    """An instant, rounded down; what lies before 1970 is 1970.

    Raises:
        ConfigError: it is none, or has no zone.
    """
    return _micros(_parsed(node))


def expiry(node: Node) -> Micros:
    """The end of a permission; the smallest instant that there is means none, as Microsoft writes it.

    Raises:
        ConfigError: it is no instant, or has no zone.
    """
    parsed = _parsed(node)
    return NEVER if parsed == _NO_EXPIRY else _micros(parsed)


def _parsed(node: Node) -> datetime:
    text = node.text()
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise node.error(f"not an instant: {text!r}") from error
    if parsed.tzinfo is None:
        raise node.error(f"an instant without a zone: {text!r}")
    return parsed


def _micros(parsed: datetime) -> Micros:
    return Micros(max(0, (parsed - _EPOCH) // timedelta(microseconds=1)))


def as_written(node: Node, *keys: str) -> str:
    """These fields of an object, or the whole value, as compact JSON for people.

    Raises:
        ConfigError: larger than an entry of a list may be quoted, or nested too deep.
    """
    value = node.value
    if keys and isinstance(value, dict):
        value = {key: value[key] for key in keys if key in value}
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError as error:
        raise node.error("nested too deep") from error
    if len(text) > _MAX_HEAD:
        raise node.error(f"an entry of more than {_MAX_HEAD} characters")
    return printable(text)


def printable(text: str) -> str:
    """Text with what cannot be written, half a surrogate pair, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
