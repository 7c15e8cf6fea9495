"""`mapping.yaml` and `NAME.acl.yaml`: from what a data owner wrote to the permissions of one item.

Invariants
- The last matching rule decides; no matching rule means nobody.
- A native name that is not mapped grants nothing in an allow list and closes the lock in a deny list.
- A sidecar only adds locks and compartments and raises the label, unless the source's manifest makes it authoritative.
- Where the source's own permissions are read, rules only add too: locks, compartments, a label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag.globs import Glob
from secure_rag.model.ids import NEVER, Micros, PrincipalId
from secure_rag.model.locks import MAX_LOCKS
from secure_rag.model.permissions import ALLOW, DENY, MappedLock, MappedPermissions, Origin, UnresolvedName
from secure_rag_acl.data_files import DataFile, read_bytes
from secure_rag_acl.known_names import MAX_TABLE_BYTES, NOTHING_KNOWN, KnownNames
from secure_rag_acl.mapping_entries import (
    AddingMappingEntry,
    LockEntry,
    MappingEntry,
    RuleFields,
    SidecarEntry,
)
from secure_rag_acl.principals import MappingLineError, PrincipalMapping
from secure_rag_acl.yaml_files import parse_yaml

NOBODY: Final = MappedLock(allow=())


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

    @property
    def confirmed_at(self) -> Micros | None:
        """None: the files are read for each run."""
        return None

    @property
    def failure(self) -> str | None:
        """None: a file that cannot be read raises before there is a mapper."""
        return None

    def map(
        self, path: str, sidecar: bytes | None, sidecar_name: str | None, live: object = None
    ) -> MappedPermissions:
        """Permissions of one item.

        Raises:
            ConfigError: the sidecar is malformed, or there would be too many locks.
            PolicyError: the path is not relative to the root.
        """
        del live
        found = matching_rule(self.rules, path)
        mapped = MappedPermissions((NOBODY,), (), (), (), ()) if found is None else found.permissions
        if sidecar is None:
            return mapped
        return with_sidecar(
            self.principals,
            mapped,
            sidecar,
            sidecar_name or f"{path}.acl.yaml",
            authoritative=self.authoritative_sidecars,
        )


def matching_rule(rules: Sequence[Rule], path: str) -> Rule | None:
    """The last rule whose pattern an item's path matches.

    Raises:
        PolicyError: the path is not relative to the root.
    """
    if not path or any(segment in ("", ".", "..") for segment in path.split("/")):
        raise PolicyError("the path of an item is relative, without empty, . and .. segments")
    return next((rule for rule in reversed(rules) if rule.glob.matches(path)), None)


def with_sidecar(
    principals: PrincipalMapping,
    mapped: MappedPermissions,
    sidecar: bytes,
    name: str,
    *,
    authoritative: bool = False,
) -> MappedPermissions:
    """Permissions of an item together with what the sidecar beside it says.

    Raises:
        ConfigError: the sidecar is malformed, or there would be too many locks.
    """
    file = parse_yaml(sidecar, name)
    entry = file.validate(SidecarEntry)
    kept = 0 if authoritative and entry.locks is not None else len(mapped.locks)
    added = _resolve(principals, file, ("locks",), entry.locks or ())
    if kept + len(added.locks) > MAX_LOCKS:
        raise file.error(("locks",), f"with those of the mapping more than {MAX_LOCKS} locks")
    labels = () if entry.label is None else (entry.label,)
    raising = not (authoritative and labels)
    base = mapped if kept else replace(mapped, locks=(), origins=(), unresolved=(), narrowed=())
    return replace(
        with_locks(base, added),
        labels=mapped.labels + labels if raising else labels,
        compartments=tuple(sorted({*mapped.compartments, *entry.compartments})),
        # The rule named no label, so the source's default is what the sidecar may only raise.
        default_counts=raising and bool(labels) and not mapped.labels,
    )


def with_locks(mapped: MappedPermissions, added: MappedPermissions) -> MappedPermissions:
    """The first permissions with the locks of the others behind their own."""
    moved = tuple(replace(x, lock=x.lock + len(mapped.locks)) for x in added.origins)
    return replace(
        mapped,
        locks=mapped.locks + added.locks,
        origins=mapped.origins + moved,
        unresolved=mapped.unresolved + added.unresolved,
    )


def load_mapping(
    path: Path, source: str, *, authoritative_sidecars: bool = False, known: KnownNames = NOTHING_KNOWN
) -> FilePermissionMapper:
    """Read and check the mapping of a source.

    Raises:
        ConfigError: it cannot be read, is malformed, or belongs to another source; names file and line.
    """
    return parse_mapping(
        read_bytes(path),
        str(path),
        source,
        authoritative_sidecars=authoritative_sidecars,
        known=known,
        read_table=tables_beside(path),
    )


def tables_beside(path: Path) -> Callable[[str], bytes]:
    """Reads tables that lie beside a mapping."""
    return lambda name: read_bytes(path.parent / name, MAX_TABLE_BYTES)


def parse_mapping(
    data: bytes,
    name: str,
    source: str,
    *,
    authoritative_sidecars: bool = False,
    known: KnownNames = NOTHING_KNOWN,
    read_table: Callable[[str], bytes] | None = None,
) -> FilePermissionMapper:
    """Check a mapping. `name` stands in messages and origins.

    Args:
        data: the file.
        name: its name.
        source: whose mapping it must be.
        authoritative_sidecars: whether sidecars replace what it says.
        known: aliases of the tenant's directory.
        read_table: gives the content of a table beside it.

    Raises:
        ConfigError: it is malformed or belongs to another source; names file and line.
    """
    file = parse_yaml(data, name)
    principals, rules = _checked(file, file.validate(MappingEntry), source, known, read_table)
    return FilePermissionMapper(principals, rules, authoritative_sidecars)


def parse_additions(
    data: bytes,
    name: str,
    source: str,
    *,
    known: KnownNames = NOTHING_KNOWN,
    read_table: Callable[[str], bytes] | None = None,
) -> tuple[PrincipalMapping, tuple[Rule, ...]]:
    """The same for a source whose own permissions are read: its rules need no locks, and only add.

    Raises:
        ConfigError: it is malformed or belongs to another source; names file and line.
    """
    file = parse_yaml(data, name)
    return _checked(file, file.validate(AddingMappingEntry), source, known, read_table)


def _checked(
    file: DataFile,
    entry: MappingEntry | AddingMappingEntry,
    source: str,
    known: KnownNames,
    read_table: Callable[[str], bytes] | None,
) -> tuple[PrincipalMapping, tuple[Rule, ...]]:
    if entry.source != source:
        raise file.error(("source",), f"this is the mapping of {entry.source!r}, not of {source!r}")
    try:
        principals = PrincipalMapping.of(entry.source, entry.principals, known, read_table)
    except MappingLineError as error:
        raise file.error(("principals", error.index), str(error)) from error
    return principals, tuple(_rule(principals, file, number, rule) for number, rule in enumerate(entry.rules))


def _rule(principals: PrincipalMapping, file: DataFile, number: int, rule: RuleFields) -> Rule:
    place: tuple[str | int, ...] = ("rules", number)
    if rule.locks is not None:
        mapped = _resolve(principals, file, (*place, "locks"), rule.locks)
    elif rule.allow is not None:
        lock = LockEntry.model_construct(allow=rule.allow, deny=rule.deny or [])
        mapped = _resolve(principals, file, place, (lock,))
    else:
        mapped = MappedPermissions((), (), (), (), ())
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
            origins.append(_origin(file, number, ALLOW, entry.principal, who, (*at, "allow", index)))
        for index, name in enumerate(lock.deny):
            who = principals.resolve(name)
            if who is None:
                unresolved[UnresolvedName(name, DENY)] = None
                closed = True
            else:
                deny.append(who)
            origins.append(_origin(file, number, DENY, name, who, (*at, "deny", index)))
        mapped.append(MappedLock(tuple(allow), tuple(deny), closed))
    return MappedPermissions(tuple(mapped), (), (), tuple(origins), tuple(unresolved))


def _origin(
    file: DataFile, lock: int, effect: str, entry: str, who: PrincipalId | None, place: Sequence[str | int]
) -> Origin:
    return Origin(lock, effect, entry, file.place(place), who or "")
