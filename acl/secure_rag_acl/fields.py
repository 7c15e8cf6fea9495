"""Fields that the files of data owners have in common. Strict: nothing is converted, nothing unknown is accepted."""

from __future__ import annotations

import datetime as dt
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from secure_rag.errors import PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import Micros, PrincipalId

MAX_NAME: Final = 512
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class StrictModel(BaseModel):
    """Base of everything that is read from a file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


def instant(value: object) -> Micros:
    """An instant from a date (its first moment, UTC) or a date and time with a zone.

    Raises:
        ValueError: it is neither, or has no time zone.
    """
    if isinstance(value, str):
        try:
            value = (
                dt.date.fromisoformat(value)
                if len(value) == len("2030-01-01")
                else dt.datetime.fromisoformat(value)
            )
        except ValueError:
            raise ValueError(f"not a date or time: {value!r}") from None
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            raise ValueError("a time needs its zone, for example 2027-01-31T00:00:00Z")
        return Micros((value - _EPOCH) // _MICROSECOND)
    if isinstance(value, dt.date):
        return Micros(
            (dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC) - _EPOCH) // _MICROSECOND
        )
    raise ValueError("not a date or time, for example 2027-01-31 or 2027-01-31T18:00:00Z")


def only_looks_ascii(value: str) -> bool:
    """Whether NFC or lower case would turn a letter into an ASCII one, and so a name into somebody else's.

    U+212A, the sign of kelvin, becomes a plain k.
    """
    return not value.isascii() and any(
        not c.isascii() and unicodedata.normalize("NFC", c).lower().isascii() for c in value
    )


def native_name(value: str) -> str:
    """A name as a source spells it, in NFC.

    Raises:
        ValueError: it is empty, too long, padded, holds control characters or letters that NFC turns into ASCII.
    """
    if only_looks_ascii(value):
        raise ValueError(f"not a name: {value!r} holds a letter that only looks like ASCII")
    name = unicodedata.normalize("NFC", value)
    if len(name) > MAX_NAME or not ids.is_clean(name):
        raise ValueError(
            f"not a name: {value!r} (no padding, no control or invisible characters, at most {MAX_NAME})"
        )
    return name


def canonical(value: str) -> PrincipalId:
    """A canonical principal.

    Raises:
        ValueError: it has another form.
    """
    try:
        return ids.principal_id(value)
    except PolicyError as error:
        raise ValueError(str(error)) from None


def _compartment(value: str) -> str:
    try:
        return ids.compartment(value)
    except PolicyError as error:
        raise ValueError(str(error)) from None


def _short_name(value: str) -> str:
    try:
        return ids.name(value, "valid")
    except PolicyError as error:
        raise ValueError(str(error)) from None


Instant = Annotated[Micros, BeforeValidator(instant), Field(strict=True)]
Native = Annotated[str, AfterValidator(native_name)]
Principal = Annotated[PrincipalId, AfterValidator(canonical)]
CompartmentName = Annotated[str, AfterValidator(_compartment)]
ShortName = Annotated[str, AfterValidator(_short_name)]
"""Tenant, source or purpose: a-z, 0-9 and -."""
