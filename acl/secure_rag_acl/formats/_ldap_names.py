"""Names of LDAP and Active Directory: distinguished names that compare equal, and identifiers from their bytes."""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Final

_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)*")
_OIDS: Final = {
    "2.5.4.3": "cn",
    "2.5.4.6": "c",
    "2.5.4.7": "l",
    "2.5.4.8": "st",
    "2.5.4.10": "o",
    "2.5.4.11": "ou",
    "0.9.2342.19200300.100.1.1": "uid",
    "0.9.2342.19200300.100.1.25": "dc",
}
_SID_HEAD: Final = 8
_SUB: Final = 4
_MAX_SUBS: Final = 15


def distinguished_name(text: str) -> str:
    """A distinguished name (RFC 4514) in a form that is equal for equal names.

    Types in lower case, escapes resolved, values compared without case and with blanks collapsed (RFC 4518), parts of
    a multi-valued RDN in order.

    Raises:
        ValueError: it is none.
    """
    rdns = [[part] for part in _split(text, ",;")] if text else []
    if not rdns:
        raise ValueError("an empty name")
    return ",".join("+".join(sorted(_pair(x) for x in _split(rdn[0], "+"))) for rdn in rdns)


def _split(text: str, separators: str) -> list[str]:
    parts, start, at = list[str](), 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == '"':
            raise ValueError("quoted values are not read")
        if text[at] in separators:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _pair(text: str) -> str:
    kind, equals, value = text.partition("=")
    kind = kind.strip().lower().removeprefix("oid.")
    if not equals or not _TYPE.fullmatch(kind):
        raise ValueError(f"not a part of a distinguished name: {text!r}")
    value = value.lstrip(" ")
    # A blank at the end counts only when it is escaped.
    while value.endswith(" ") and not value.endswith("\\ "):
        value = value[:-1]
    plain = value.lower() if value.startswith("#") else _prepared(_unescaped(value))
    return f"{_OIDS.get(kind, kind)}={plain}"


def _unescaped(value: str) -> str:
    found, at = bytearray(), 0
    while at < len(value):
        if value[at] != "\\":
            found += value[at].encode("utf-8")
            at += 1
        elif _HEX.fullmatch(value[at + 1 : at + 3]):
            found.append(int(value[at + 1 : at + 3], 16))
            at += 3
        elif at + 1 < len(value):
            found += value[at + 1].encode("utf-8")
            at += 2
        else:
            raise ValueError("an escape without a character")
    # A UnicodeDecodeError is a ValueError.
    return found.decode("utf-8")


def _prepared(value: str) -> str:
    plain = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    return re.sub(r"([,+\\=#])", r"\\\1", plain)


def security_id(data: bytes) -> str:
    """A SID from its bytes (MS-DTYP 2.4.2.2), or from its text.

    Raises:
        ValueError: it is none.
    """
    if data[:2] in (b"S-", b"s-"):
        return data.decode("ascii").upper()
    if (
        len(data) < _SID_HEAD
        or data[0] != 1
        or data[1] > _MAX_SUBS
        or len(data) != _SID_HEAD + _SUB * data[1]
    ):
        raise ValueError("not a security identifier")
    authority = int.from_bytes(data[2:_SID_HEAD], "big")
    subs = (int.from_bytes(data[n : n + _SUB], "little") for n in range(_SID_HEAD, len(data), _SUB))
    return "-".join(["S-1", str(authority), *map(str, subs)])


def object_guid(data: bytes) -> str:
    """An objectGUID from its 16 bytes, whose first three parts are little-endian, or from its text.

    Raises:
        ValueError: it is none.
    """
    size = 16
    return str(uuid.UUID(bytes_le=data)) if len(data) == size else str(uuid.UUID(data.decode("ascii")))
