"""The lines of `principals:` in a mapping: which names of the source they cover, and whom those mean.

`{native, principal}` one name; `{mail_domain}` whoever has the address in the directory; `{sid_table}` and
`{object_ids}` whoever has the identifier, in the directory (`true`) or in a CSV file beside the mapping;
`{pattern, principal}` a regular expression.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Annotated, Final

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from secure_rag.model.ids import PrincipalId
from secure_rag_acl.fields import Native, StrictModel, canonical
from secure_rag_acl.patterns import NamePattern

_DOMAIN: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62}))+")
_FILE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_KINDS: Final = ("native", "mail_domain", "sid_table", "object_ids", "pattern")


class Level(IntEnum):
    """Kinds of lines, the most specific first."""

    EXACT = 0
    IDENTIFIER = 1
    PATTERN = 2
    MAIL = 3


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value):
        raise ValueError(f"not a mail domain in lower case: {value!r}")
    return value


def _table(value: bool | str) -> bool | str:
    if value is False:
        raise ValueError("true, or the name of a CSV file beside the mapping")
    if isinstance(value, str) and not _FILE.fullmatch(value):
        raise ValueError("a file beside the mapping is named without a folder")
    return value


Table = Annotated[bool | str, AfterValidator(_table)]


class PrincipalEntry(StrictModel):
    """One line: exactly one of its five kinds."""

    native: Native | None = None
    mail_domain: Annotated[str, AfterValidator(_domain)] | None = None
    sid_table: Table | None = None
    object_ids: Table | None = None
    pattern: str | None = None
    principal: Annotated[str | None, Field(validate_default=True)] = None
    merge: bool = False

    @field_validator("principal")
    @classmethod
    def _whom(cls, value: str | None, info: ValidationInfo) -> str | None:
        named = [kind for kind in ("native", "pattern") if info.data.get(kind) is not None]
        if value is None:
            if named:
                raise ValueError("is missing")
            return None
        if "pattern" in named:
            return NamePattern(str(info.data["pattern"]), value).principal
        # Checked for the other kinds too, so that what is wrong in two ways says the plainer one.
        return canonical(value)

    @model_validator(mode="after")
    def _one_kind(self) -> PrincipalEntry:
        given = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if not given:
            raise ValueError(f"one of {', '.join(_KINDS)} is missing")
        if len(given) > 1:
            raise ValueError(f"one of {' and '.join(given)}, not both")
        if self.principal is not None and given[0] not in ("native", "pattern"):
            raise ValueError(f"`{given[0]}` says by itself who is meant; remove `principal`")
        return self

    @property
    def level(self) -> Level:
        """Its kind."""
        if self.native is not None:
            return Level.EXACT
        if self.pattern is not None:
            return Level.PATTERN
        return Level.MAIL if self.mail_domain is not None else Level.IDENTIFIER

    @property
    def fixed(self) -> PrincipalId:
        """The principal of a `native` line."""
        return canonical(self.principal or "")

    @property
    def named(self) -> NamePattern:
        """The pattern of a `pattern` line."""
        return NamePattern(self.pattern or "", self.principal or "")
