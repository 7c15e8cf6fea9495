"""Identifiers and their one form. Names are normalised and validated here, once, at the boundary."""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from typing import Final, NewType

from secure_rag.errors import PolicyError

TenantKey = NewType("TenantKey", int)
PrincipalKey = NewType("PrincipalKey", int)
SourceKey = NewType("SourceKey", int)
ClassKey = NewType("ClassKey", int)
LockKey = NewType("LockKey", int)
DocumentKey = NewType("DocumentKey", int)
ChunkKey = NewType("ChunkKey", int)
"""Keys are database row ids: never shown to callers, never reused."""

PrincipalId = NewType("PrincipalId", str)
"""`user:…`, `group:…`, `agent:…`, `app:…`, `service:…` or `everyone`; immutable."""
LabelId = NewType("LabelId", str)
"""GUID of a sensitivity label, lower case."""
Compartment = NewType("Compartment", str)
Micros = NewType("Micros", int)
"""Instant in microseconds since 1970-01-01T00:00:00Z."""

NEVER: Final = Micros(2**62)
"""The end of what does not end."""
MINUTE: Final = 60_000_000
EVERYONE: Final = PrincipalId("everyone")

_PRINCIPAL = re.compile(r"(user|group|agent|app|service):[a-z0-9][a-z0-9._-]{0,127}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class PrincipalKind(StrEnum):
    """What a principal is. Only `member` belongs to `everyone`."""

    MEMBER = "member"
    GUEST = "guest"
    SERVICE = "service"
    AGENT = "agent"
    APP = "app"
    GROUP = "group"
    EVERYONE = "everyone"


class PrincipalState(StrEnum):
    """What the directory knows of a principal."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"
    """A tombstone: the directory once had it. Grants nothing; a deny that names it closes the lock."""
    UNKNOWN = "unknown"
    """Named somewhere, never seen in the directory. Grants nothing; a deny that names it closes the lock."""


def principal_id(text: str) -> PrincipalId:
    """Validate a canonical principal.

    Raises:
        PolicyError: the text is not a canonical principal.
    """
    if text == EVERYONE:
        return EVERYONE
    if not is_clean(text) or not _PRINCIPAL.fullmatch(text):
        raise PolicyError(
            f"not a principal: {text!r} (user:, group:, agent:, app: or service: + a-z 0-9 . _ -)"
        )
    return PrincipalId(text)


def is_canonical(text: str) -> bool:
    """Whether a mapping entry is meant as a canonical principal rather than a native name."""
    return text == EVERYONE or text.startswith(("user:", "group:", "agent:", "app:", "service:"))


def name(text: str, what: str) -> str:
    """Validate a tenant, source or compartment name (`a-z 0-9 -`).

    Raises:
        PolicyError: the text is not such a name.
    """
    if not _NAME.fullmatch(text):
        raise PolicyError(f"not a {what} name: {text!r} (a-z, 0-9 and -, at most 64)")
    return text


def compartment(text: str) -> Compartment:
    """Validate a compartment name.

    Raises:
        PolicyError: the text is not a compartment name.
    """
    return Compartment(name(text, "compartment"))


def label_id(text: str) -> LabelId:
    """Validate a label GUID; braces and upper case are accepted and removed.

    Raises:
        PolicyError: the text is not a GUID.
    """
    guid = text.strip().strip("{}").lower()
    if not _GUID.fullmatch(guid):
        raise PolicyError(f"not a label GUID: {text!r}")
    return LabelId(guid)


def is_clean(text: str) -> bool:
    """Whether text is NFC, without surrounding blanks and without control, format or surrogate characters."""
    return (
        bool(text)
        and text == text.strip()
        and unicodedata.normalize("NFC", text) == text
        and not any(unicodedata.category(c).startswith("C") for c in text)
    )


def to_minute(instant: Micros) -> Micros:
    """Round an expiry down to the minute, so that sharing links do not multiply classes; earlier is narrower."""
    return instant if instant >= NEVER else Micros(instant - instant % MINUTE)
