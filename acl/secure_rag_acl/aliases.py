"""Aliases: names that other systems know a principal by, in the one form that the `alias` table has.

`mail:ada@acme.example`, `sid:S-1-5-21-…`, `object:GUID` (directory object), `scim:ID` (provisioning). They change hands
over time, so the table dates them; a principal's own id never does.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from secure_rag.model import ids

MAIL: Final = "mail"
SID: Final = "sid"
OBJECT: Final = "object"
SCIM: Final = "scim"

_MAX_MAIL: Final = 254
_MAX_SCIM: Final = 256
_SID = re.compile(r"S-1-(0|[1-9][0-9]{0,14})(-(0|[1-9][0-9]{0,9})){1,15}")
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def mail_address(value: str) -> str:
    """A mail address, lower case.

    Raises:
        ValueError: it is none.
    """
    if value.count("@") != 1 or len(value) > _MAX_MAIL or " " in value or not ids.is_clean(value):
        raise ValueError(f"not a mail address: {value!r}")
    return value.lower()


def security_id(value: str) -> str:
    """A Windows security identifier, `S-1-5-21-…`.

    Raises:
        ValueError: it is none.
    """
    text = value.upper()
    if not _SID.fullmatch(text):
        raise ValueError(f"not a security identifier: {value!r}")
    return text


def object_id(value: str) -> str:
    """The GUID of a directory object, lower case.

    Raises:
        ValueError: it is none.
    """
    text = value.lower().removeprefix("{").removesuffix("}")
    if not _GUID.fullmatch(text):
        raise ValueError(f"not the GUID of an object: {value!r}")
    return text


def _scim_id(value: str) -> str:
    if len(value) > _MAX_SCIM or not ids.is_clean(value):
        raise ValueError(f"not a SCIM id: {value!r}")
    return value


_KINDS: Final = {MAIL: mail_address, SID: security_id, OBJECT: object_id, SCIM: _scim_id}


def alias(text: str) -> str:
    """An alias in its one form.

    Raises:
        ValueError: another kind, or not of the form that its kind has.
    """
    kind, colon, value = text.partition(":")
    if not colon or kind not in _KINDS:
        raise ValueError(f"not an alias: {text!r} ({', '.join(f'{x}:…' for x in _KINDS)})")
    return f"{kind}:{_KINDS[kind](value)}"


def stored(text: str) -> str:
    """An alias as the table has it; what was written without a kind is a mail address."""
    return text if text.partition(":")[0] in _KINDS else f"{MAIL}:{text}"


MailAddress = Annotated[str, AfterValidator(mail_address)]
SecurityId = Annotated[str, AfterValidator(security_id)]
ObjectId = Annotated[str, AfterValidator(object_id)]
Alias = Annotated[str, AfterValidator(alias)]
