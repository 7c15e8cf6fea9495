"""The directory as a file: YAML, JSON, or a folder with `directory.yaml`, `users.csv` and `groups.csv`.

A section that is absent is not covered: nothing in it is removed or changed. All checks that need no database are
made here; `secure_rag_acl.directory` makes the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model import ids
from secure_rag_acl.aliases import Alias, MailAddress, ObjectId, SecurityId, alias
from secure_rag_acl.data_files import DataFile, decode, read_bytes
from secure_rag_acl.directory_tables import MAX_BYTES, Path_, read_folder
from secure_rag_acl.fields import CompartmentName, Instant, Native, Principal, ShortName, StrictModel
from secure_rag_acl.nesting import nesting_problem
from secure_rag_acl.yaml_files import parse_yaml

WILDCARD: Final = "*"
_PREFIXES: Final = {
    "users": ("user:", "service:"),
    "groups": ("group:",),
    "applications": ("app:",),
    "agents": ("agent:",),
}


def _source(value: str) -> str:
    if value == WILDCARD:
        return value
    try:
        return ids.name(value, "source")
    except PolicyError as error:
        raise ValueError(str(error)) from None


def _member(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


class NativeIds(StrictModel):
    """What other systems call somebody. Permissions that name these can be joined to the principal."""

    mail: MailAddress | None = None
    sid: SecurityId | None = None
    object_id: ObjectId | None = None
    aliases: Annotated[list[Alias], Field(default_factory=list)]

    def native_ids(self) -> dict[str, str]:
        """Aliases in their one form, each with the field that it stands in."""
        given = {"mail": self.mail, "sid": self.sid, "object_id": self.object_id}
        found = dict.fromkeys(self.aliases, "aliases")
        return found | {
            alias(f"{field.removesuffix('_id')}:{value}"): field
            for field, value in given.items()
            if value is not None
        }


class UserEntry(NativeIds):
    """A person or a service. Only an active `member` belongs to `everyone`."""

    id: Principal
    kind: Literal["member", "guest", "service"]
    state: Literal["active", "disabled"] = "active"
    name: Native | None = None
    clearance: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]


class MemberEntry(StrictModel):
    """A member of a group, from an instant up to (not including) another."""

    id: Principal
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class GroupEntry(NativeIds):
    """A group. `complete` overrides what the file says of itself."""

    id: Principal
    name: Native | None = None
    complete: bool | None = None
    members: list[Annotated[MemberEntry, BeforeValidator(_member)]]


class GrantEntry(StrictModel):
    """The most that an application or agent may do. Only sources have a wildcard."""

    actions: Annotated[list[Literal["read"]], Field(min_length=1)]
    label: Native
    compartments: list[CompartmentName]
    sources: list[Annotated[str, AfterValidator(_source)]]
    purposes: list[ShortName]
    expires: Instant


class ApplicationEntry(StrictModel):
    """A calling application: hop 0 of every question that it asks."""

    id: Principal
    name: Native | None = None
    grant: GrantEntry


class AgentEntry(StrictModel):
    """An agent: a hop when it acts for somebody, a subject when it acts for itself."""

    id: Principal
    name: Native | None = None
    owner: Principal
    clearance: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]
    grant: GrantEntry


class Defaults(StrictModel):
    """Label names of users without a clearance of their own."""

    clearance: Annotated[dict[Literal["member", "guest", "service"], Native], Field(default_factory=dict)]


class DirectoryFile(StrictModel):
    """A whole directory, or what one sync could get of it."""

    tenant: ShortName
    complete: bool
    defaults: Annotated[Defaults, Field(default_factory=lambda: Defaults(clearance={}))]
    users: list[UserEntry] | None = None
    groups: list[GroupEntry] | None = None
    applications: list[ApplicationEntry] | None = None
    agents: list[AgentEntry] | None = None
    _file: DataFile = PrivateAttr(default_factory=lambda: DataFile("directory", None))

    def error(self, path: Path_, message: str) -> ConfigError:
        """An error that names its place in the file."""
        return self._file.error(path, message)

    def place(self, path: Path_) -> str:
        """File and line of a place."""
        return self._file.place(path)

    def removes(self, name: str) -> bool:
        """Whether somebody who is not in this file is gone: it is complete and covers their section."""
        return self.complete and self._covers_name(name)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether every one of these principals belongs to a section of this file."""
        return all(name == ids.EVERYONE or self._covers_name(name) for name in names)

    def states_members(self, group: GroupEntry) -> bool:
        """Whether the members of a group in this file are all there are."""
        return self.complete if group.complete is None else group.complete

    def _covers_name(self, name: str) -> bool:
        sections = (section for section, prefixes in _PREFIXES.items() if name.startswith(prefixes))
        return any(getattr(self, section) is not None for section in sections)

    def entries(self) -> Iterator[tuple[Path_, UserEntry | GroupEntry | ApplicationEntry | AgentEntry]]:
        """Every principal of the file with its place."""
        for section in _PREFIXES:
            entries: list[UserEntry | GroupEntry | ApplicationEntry | AgentEntry] | None = getattr(
                self, section
            )
            for index, entry in enumerate(entries or ()):
                yield (section, index), entry


def check(document: DirectoryFile) -> None:
    """Check what spans several entries.

    Raises:
        ConfigError: duplicates, a wrong kind of principal, a cycle, or nesting deeper than the limit.
    """
    problem = next(_problems(document), None)
    if problem is not None:
        raise document.error(*problem)


def load_directory(path: Path) -> DirectoryFile:
    """Read and check a directory.

    Args:
        path: `*.yaml`, `*.json`, or a folder with `directory.yaml` (head, applications, agents), `users.csv` and
            `groups.csv`.

    Raises:
        ConfigError: it cannot be read or is malformed; names file, line and what is wrong.
    """
    if path.is_dir():
        file = read_folder(path)
    elif path.suffix == ".json":
        file = _parse_json(read_bytes(path, MAX_BYTES), str(path))
    else:
        file = parse_yaml(read_bytes(path, MAX_BYTES), str(path), MAX_BYTES)
    return as_directory(file)


def parse_directory(data: bytes, name: str) -> DirectoryFile:
    """A directory from YAML that was read already.

    Raises:
        ConfigError: it is malformed; names line and what is wrong.
    """
    return as_directory(parse_yaml(data, name, MAX_BYTES))


def as_directory(file: DataFile) -> DirectoryFile:
    """A directory from plain data that says where it came from.

    Raises:
        ConfigError: it is malformed; names the place and what is wrong.
    """
    document = file.validate(DirectoryFile)
    document._file = file
    check(document)
    return document


# ---- checks


def _problems(document: DirectoryFile) -> Iterator[tuple[Path_, str]]:
    if all(getattr(document, section) is None for section in _PREFIXES):
        yield (), "no section: give users, groups, applications or agents"
    yield from _id_problems(document)
    yield from _alias_problems(document)
    for index, group in enumerate(document.groups or ()):
        yield from _member_problems(group, ("groups", index))
    links = [
        (member.id, group.id)
        for group in document.groups or ()
        for member in group.members
        if member.id.startswith("group:")
    ]
    nested = nesting_problem(links)
    if nested is not None:
        yield ("groups",), nested


def _id_problems(document: DirectoryFile) -> Iterator[tuple[Path_, str]]:
    seen: set[str] = set()
    for place, entry in document.entries():
        section = str(place[0])
        if not entry.id.startswith(_PREFIXES[section]):
            yield (*place, "id"), f"{entry.id} does not belong into {section}"
        if entry.id in seen:
            yield (*place, "id"), f"{entry.id} occurs twice"
        seen.add(entry.id)
        if isinstance(entry, UserEntry) and (entry.kind == "service") != entry.id.startswith("service:"):
            yield (*place, "kind"), f"{entry.id} cannot be a {entry.kind}"
        if isinstance(entry, AgentEntry) and not entry.owner.startswith("user:"):
            yield (*place, "owner"), "an agent is owned by a user"
        if isinstance(entry, ApplicationEntry | AgentEntry):
            sources = entry.grant.sources
            if WILDCARD in sources and len(sources) > 1:
                yield (*place, "grant", "sources"), "either * or names"


def _alias_problems(document: DirectoryFile) -> Iterator[tuple[Path_, str]]:
    """A native id means one principal: whoever shares one could read what the other may."""
    owners: dict[str, str] = {}
    for place, entry in document.entries():
        if not isinstance(entry, NativeIds):
            continue
        for name, field in entry.native_ids().items():
            if owners.setdefault(name, entry.id) != entry.id:
                shown = name.removeprefix("mail:")
                yield (*place, field), f"{shown} belongs to {owners[name]} already"


def _member_problems(group: GroupEntry, place: Path_) -> Iterator[tuple[Path_, str]]:
    seen: set[str] = set()
    for number, member in enumerate(group.members):
        at = (*place, "members", number)
        if member.id == ids.EVERYONE:
            # Closures start at a person; a group that held everyone would deny nobody.
            yield at, "everyone cannot be a member of a group"
        if member.id in seen:
            yield at, f"{member.id} occurs twice in {group.id}"
        seen.add(member.id)
        if (
            member.valid_from is not None
            and member.valid_to is not None
            and member.valid_to <= member.valid_from
        ):
            yield at, "valid_to is not after valid_from"


# ---- JSON


def _parse_json(data: bytes, name: str) -> DataFile:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        built = dict(pairs)
        if len(built) != len(pairs):
            raise ConfigError(f"{name}: a key occurs twice in one object, among {sorted(built)[:5]}")
        return built

    try:
        return DataFile(name, json.loads(decode(data, name), object_pairs_hook=unique))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}:{error.lineno}: not valid JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: not valid JSON: nested too deeply, or a number without end") from error
