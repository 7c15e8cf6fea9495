"""`mapping.yaml` and `NAME.acl.yaml`: from what a data owner wrote to the permissions of one item.

Invariants
- The last matching rule decides; no matching rule means nobody.
- A native name that is not mapped grants nothing in an allow list and closes the lock in a deny list.
- A sidecar only adds locks and compartments and raises the label, unless the source's manifest makes it authoritative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from secure_rag.errors import PolicyError
from secure_rag.globs import Glob
from secure_rag.model import ids
from secure_rag.model.ids import NEVER, Micros, PrincipalId
from secure_rag.model.locks import MAX_LOCKS
from secure_rag.model.permissions import ALLOW, DENY, MappedLock, MappedPermissions, Origin, UnresolvedName
from secure_rag_acl.data_files import DataFile, read_bytes
from secure_rag_acl.fields import CompartmentName, Instant, Native, Principal, ShortName, StrictModel
from secure_rag_acl.principals import MappingLineError, PrincipalMapping
from secure_rag_acl.yaml_files import parse_yaml

NOBODY: Final = MappedLock(allow=())


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


class PrincipalEntry(StrictModel):
    """One native name and whom it means."""

    native: Native
    principal: Principal
    merge: bool = False


class RuleEntry(StrictModel):
    """What guards the items of a path pattern."""

    path: Annotated[str, AfterValidator(_pattern)]
    allow: Allow | None = None
    deny: Deny | None = None
    locks: Annotated[list[LockEntry], Field(min_length=1, max_length=MAX_LOCKS)] | None = None
    label: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]

    @model_validator(mode="after")
    def _one_form(self) -> RuleEntry:
        if self.locks is not None and (self.allow is not None or self.deny is not None):
            raise ValueError("either `locks` or `allow`/`deny`, not both")
        if self.locks is None and self.allow is None:
            raise ValueError("neither `locks` nor `allow`; for nobody, write `allow: []`")
        return self


class MappingEntry(StrictModel):
    """`mapping.yaml`."""

    source: ShortName
    principals: Annotated[list[PrincipalEntry], Field(default_factory=list)]
    rules: list[RuleEntry]


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


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its names resolved."""

    glob: Glob
    permissions: MappedPermissions
    place: str


@dataclass(frozen=True, slots=True)
class FilePermissionMapper:
    """Permissions from one mapping file and the sidecars beside the items."""

    principals: PrincipalMapping
    rules: tuple[Rule, ...]
    authoritative_sidecars: bool = False

    def map(self, path: str, sidecar: bytes | None, sidecar_name: str | None) -> MappedPermissions:
        """Permissions of one item.

        Raises:
            ConfigError: the sidecar is malformed, or there would be too many locks.
            PolicyError: the path is not relative to the root.
        """
        if not path or any(segment in ("", ".", "..") for segment in path.split("/")):
            raise PolicyError("the path of an item is relative, without empty, . and .. segments")
        found = next((rule for rule in reversed(self.rules) if rule.glob.matches(path)), None)
        mapped = MappedPermissions((NOBODY,), (), (), (), ()) if found is None else found.permissions
        if sidecar is None:
            return mapped
        return self._with_sidecar(mapped, sidecar, sidecar_name or f"{path}.acl.yaml")

    def _with_sidecar(self, mapped: MappedPermissions, sidecar: bytes, name: str) -> MappedPermissions:
        file = parse_yaml(sidecar, name)
        entry = file.validate(SidecarEntry)
        kept = 0 if self.authoritative_sidecars and entry.locks is not None else len(mapped.locks)
        added = _resolve(self.principals, file, ("locks",), entry.locks or ())
        if kept + len(added.locks) > MAX_LOCKS:
            raise file.error(("locks",), f"with those of the mapping more than {MAX_LOCKS} locks")
        moved = tuple(replace(x, lock=x.lock + kept) for x in added.origins)
        labels = () if entry.label is None else (entry.label,)
        raising = not (self.authoritative_sidecars and labels)
        return MappedPermissions(
            locks=mapped.locks[:kept] + added.locks,
            labels=mapped.labels + labels if raising else labels,
            compartments=tuple(sorted({*mapped.compartments, *entry.compartments})),
            origins=(mapped.origins if kept else ()) + moved,
            unresolved=(mapped.unresolved if kept else ()) + added.unresolved,
            # The rule named no label, so the source's default is what the sidecar may only raise.
            default_counts=raising and bool(labels) and not mapped.labels,
        )


def load_mapping(path: Path, source: str, *, authoritative_sidecars: bool = False) -> FilePermissionMapper:
    """Read and check the mapping of a source.

    Raises:
        ConfigError: it cannot be read, is malformed, or belongs to another source; names file and line.
    """
    return parse_mapping(read_bytes(path), str(path), source, authoritative_sidecars=authoritative_sidecars)


def parse_mapping(
    data: bytes, name: str, source: str, *, authoritative_sidecars: bool = False
) -> FilePermissionMapper:
    """Check a mapping. `name` stands in messages and origins.

    Raises:
        ConfigError: it is malformed or belongs to another source; names file and line.
    """
    file = parse_yaml(data, name)
    entry = file.validate(MappingEntry)
    if entry.source != source:
        raise file.error(("source",), f"this is the mapping of {entry.source!r}, not of {source!r}")
    try:
        principals = PrincipalMapping.of(entry.source, entry.principals)
    except MappingLineError as error:
        raise file.error(("principals", error.index), str(error)) from error
    rules = tuple(_rule(principals, file, number, rule) for number, rule in enumerate(entry.rules))
    return FilePermissionMapper(principals, rules, authoritative_sidecars)


def _rule(principals: PrincipalMapping, file: DataFile, number: int, rule: RuleEntry) -> Rule:
    place: tuple[str | int, ...] = ("rules", number)
    if rule.locks is not None:
        mapped = _resolve(principals, file, (*place, "locks"), rule.locks)
    else:
        lock = LockEntry.model_construct(allow=rule.allow or [], deny=rule.deny or [])
        mapped = _resolve(principals, file, place, (lock,))
    labels = () if rule.label is None else (rule.label,)
    permissions = replace(mapped, labels=labels, compartments=tuple(sorted(set(rule.compartments))))
    return Rule(Glob(rule.path), permissions, file.place(place))


def _resolve(
    principals: PrincipalMapping, file: DataFile, place: Sequence[str | int], locks: Iterable[LockEntry]
) -> MappedPermissions:
    """Locks with names resolved, and where each entry came from."""
    mapped: list[MappedLock] = []
    origins: list[Origin] = []
    unresolved: dict[UnresolvedName, None] = {}
    for number, lock in enumerate(locks):
        # A rule's own allow and deny stand beside its path; those of a list of locks one level deeper.
        at = (*place, number) if place[-1:] == ("locks",) else tuple(place)
        allow: list[tuple[PrincipalId, Micros]] = []
        deny: list[PrincipalId] = []
        closed = False
        for index, entry in enumerate(lock.allow):
            who = principals.resolve(entry.principal)
            if who is None:
                unresolved[UnresolvedName(entry.principal, ALLOW)] = None
            else:
                allow.append((who, NEVER if entry.expires is None else entry.expires))
            origins.append(_origin(file, number, ALLOW, entry.principal, (*at, "allow", index)))
        for index, name in enumerate(lock.deny):
            who = principals.resolve(name)
            if who is None:
                unresolved[UnresolvedName(name, DENY)] = None
                closed = True
            else:
                deny.append(who)
            origins.append(_origin(file, number, DENY, name, (*at, "deny", index)))
        mapped.append(MappedLock(tuple(allow), tuple(deny), closed))
    return MappedPermissions(tuple(mapped), (), (), tuple(origins), tuple(unresolved))


def _origin(file: DataFile, lock: int, effect: str, entry: str, place: Sequence[str | int]) -> Origin:
    return Origin(lock, effect, entry, file.place(place))
