"""What a data owner may write into `mapping.yaml` and `NAME.acl.yaml`: the form alone, no names resolved."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from secure_rag.errors import PolicyError
from secure_rag.globs import Glob
from secure_rag.model import ids
from secure_rag.model.locks import MAX_LOCKS
from secure_rag_acl.fields import CompartmentName, Instant, Native, ShortName, StrictModel
from secure_rag_acl.principal_lines import PrincipalEntry


def _entry(value: str) -> str:
    """An allow or deny entry: a native name, or a principal in its one form."""
    if ids.is_canonical(value):
        try:
            return ids.principal_id(value)
        except PolicyError as error:
            raise ValueError(str(error)) from None
    return value


def _allow_entry(value: object) -> object:
    if isinstance(value, str):
        return {"principal": value}
    if not isinstance(value, dict):
        raise ValueError("a name must be text; put it in quotes")  # noqa: TRY004 -- pydantic wants ValueError
    return value


def _deny_entry(value: object) -> object:
    if isinstance(value, dict):
        raise ValueError("a deny entry is a name alone; it never expires")  # noqa: TRY004 -- pydantic wants ValueError
    return value


def _pattern(value: str) -> str:
    try:
        return Glob(value).pattern
    except PolicyError as error:
        raise ValueError(str(error)) from None


Entry = Annotated[Native, AfterValidator(_entry)]


class AllowEntry(StrictModel):
    """Who may, and until when."""

    principal: Entry
    expires: Instant | None = None


Allow = list[Annotated[AllowEntry, BeforeValidator(_allow_entry)]]
Deny = list[Annotated[Entry, BeforeValidator(_deny_entry)]]


class LockEntry(StrictModel):
    """One lock. `allow: []` is nobody."""

    allow: Allow
    deny: Annotated[Deny, Field(default_factory=list)]


class RuleFields(StrictModel):
    """What a rule says of the items of a path pattern."""

    path: Annotated[str, AfterValidator(_pattern)]
    allow: Allow | None = None
    deny: Deny | None = None
    locks: Annotated[list[LockEntry], Field(min_length=1, max_length=MAX_LOCKS)] | None = None
    label: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]

    @model_validator(mode="after")
    def _one_form(self) -> RuleFields:
        if self.locks is not None and (self.allow is not None or self.deny is not None):
            raise ValueError("either `locks` or `allow`/`deny`, not both")
        return self


class RuleEntry(RuleFields):
    """A rule that guards what it matches."""

    @model_validator(mode="after")
    def _guards(self) -> RuleEntry:
        if self.locks is None and self.allow is None:
            raise ValueError("neither `locks` nor `allow`; for nobody, write `allow: []`")
        return self


class AddingRuleEntry(RuleFields):
    """A rule that adds to the permissions that the source itself gives."""

    @model_validator(mode="after")
    def _adds(self) -> AddingRuleEntry:
        if self.allow is None and self.deny is not None:
            raise ValueError("`deny` without `allow`; who may is written beside who may not")
        if self.locks is None and self.allow is None and self.label is None and not self.compartments:
            raise ValueError("says nothing: give locks, label or compartments")
        return self


class MappingEntry(StrictModel):
    """`mapping.yaml`."""

    source: ShortName
    principals: Annotated[list[PrincipalEntry], Field(default_factory=list)]
    rules: list[RuleEntry]


class AddingMappingEntry(StrictModel):
    """`mapping.yaml` of a source whose own permissions are read."""

    source: ShortName
    principals: Annotated[list[PrincipalEntry], Field(default_factory=list)]
    rules: Annotated[list[AddingRuleEntry], Field(default_factory=list)]


class SidecarEntry(StrictModel):
    """`NAME.acl.yaml`."""

    locks: Annotated[list[LockEntry], Field(min_length=1, max_length=MAX_LOCKS)] | None = None
    label: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]

    @model_validator(mode="after")
    def _says_something(self) -> SidecarEntry:
        if self.locks is None and self.label is None and not self.compartments:
            raise ValueError("says nothing: give locks, label or compartments")
        return self
