"""The directory as a file: YAML, JSON, or a folder with `directory.yaml`, `users.csv` and `groups.csv`.

A section that is absent is not covered: nothing in it is removed or changed. All checks that need no database are
made here; `secure_rag_acl.directory` makes the rest.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model import ids
from secure_rag_acl.data_files import DataFile, decode, read_bytes
from secure_rag_acl.fields import CompartmentName, Instant, Native, Principal, ShortName, StrictModel
from secure_rag_acl.nesting import nesting_problem
from secure_rag_acl.yaml_files import parse_yaml

MAX_BYTES: Final = 64 << 20
WILDCARD: Final = "*"
_PREFIXES: Final = {
    "users": ("user:", "service:"),
    "groups": ("group:",),
    "applications": ("app:",),
    "agents": ("agent:",),
}
_USER_COLUMNS: Final = ("id", "kind", "state", "name", "mail", "clearance", "compartments")
_GROUP_COLUMNS: Final = ("id", "name", "complete", "member", "valid_from", "valid_to")
_MAX_MAIL: Final = 254

Path_ = tuple[str | int, ...]


def _mail(value: str) -> str:
    if value.count("@") != 1 or len(value) > _MAX_MAIL or " " in value or not ids.is_clean(value):
        raise ValueError(f"not a mail address: {value!r}")
    return value.lower()


def _source(value: str) -> str:
    if value == WILDCARD:
        return value
    try:
        return ids.name(value, "source")
    except PolicyError as error:
        raise ValueError(str(error)) from None


def _member(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


class UserEntry(StrictModel):
    """A person or a service. Only an active `member` belongs to `everyone`."""

    id: Principal
    kind: Literal["member", "guest", "service"]
    state: Literal["active", "disabled"] = "active"
    name: Native | None = None
    mail: Annotated[str, AfterValidator(_mail)] | None = None
    clearance: Native | None = None
    compartments: Annotated[list[CompartmentName], Field(default_factory=list)]


class MemberEntry(StrictModel):
    """A member of a group, from an instant up to (not including) another."""

    id: Principal
    valid_from: Instant | None = None
    valid_to: Instant | None = None


class GroupEntry(StrictModel):
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
        file = _read_folder(path)
    elif path.suffix == ".json":
        file = _parse_json(read_bytes(path, MAX_BYTES), str(path))
    else:
        file = parse_yaml(read_bytes(path, MAX_BYTES), str(path), MAX_BYTES)
    return _document(file)


def parse_directory(data: bytes, name: str) -> DirectoryFile:
    """A directory from YAML that was read already.

    Raises:
        ConfigError: it is malformed; names line and what is wrong.
    """
    return _document(parse_yaml(data, name, MAX_BYTES))


def _document(file: DataFile) -> DirectoryFile:
    document = file.validate(DirectoryFile)
    document._file = file
    check(document)
    return document


# ---- checks


def _problems(document: DirectoryFile) -> Iterator[tuple[Path_, str]]:
    if all(getattr(document, section) is None for section in _PREFIXES):
        yield (), "no section: give users, groups, applications or agents"
    yield from _id_problems(document)
    yield from _mail_problems(document)
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


def _mail_problems(document: DirectoryFile) -> Iterator[tuple[Path_, str]]:
    owners: dict[str, str] = {}
    for index, user in enumerate(document.users or ()):
        if user.mail is not None and owners.setdefault(user.mail, user.id) != user.id:
            yield ("users", index, "mail"), f"{user.mail} belongs to {owners[user.mail]} already"


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


# ---- JSON and CSV


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


class _FolderFile(DataFile):
    """The head in YAML with users and groups from tables; knows the line of each row."""

    def __init__(self, head: DataFile, data: object, lines: dict[Path_, str]) -> None:
        super().__init__(head.name, data)
        self._head = head
        self._lines = lines

    def place(self, path: Sequence[str | int]) -> str:
        row = self._lines.get(tuple(path[:4])) or self._lines.get(tuple(path[:2]))
        return row or self._head.place(path)


def _read_folder(folder: Path) -> DataFile:
    head = parse_yaml(read_bytes(folder / "directory.yaml"), str(folder / "directory.yaml"))
    if not isinstance(head.data, dict):
        raise head.error((), "must be keys with values")
    for section in ("users", "groups"):
        if section in head.data:
            raise head.error((section,), f"these come from {section}.csv")
    lines: dict[Path_, str] = {}
    users = _users(folder / "users.csv", lines)
    groups = _groups(folder / "groups.csv", lines)
    return _FolderFile(head, {**head.data, "users": users, "groups": groups}, lines)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and filled cells of each row; unknown columns and rows of another length are refused."""
    text = decode(read_bytes(path, MAX_BYTES), str(path))
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) != len(header) or not set(header) <= set(columns) or "id" not in header:
            raise ConfigError(f"{path}:1: columns are {', '.join(columns)}; only id is needed")
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if cells and len(cells) != len(header):
                raise ConfigError(f"{place}: {len(cells)} cells where the header has {len(header)}")
            if cells:
                yield place, {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    except csv.Error as error:
        raise ConfigError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error


def _users(path: Path, lines: dict[Path_, str]) -> list[dict[str, object]]:
    users: list[dict[str, object]] = []
    for place, cells in _rows(path, _USER_COLUMNS):
        lines["users", len(users)] = place
        compartments = cells.pop("compartments", "").split()
        users.append({**cells, "compartments": compartments})
    return users


def _groups(path: Path, lines: dict[Path_, str]) -> list[dict[str, object]]:
    """Groups from one row per membership; a row without a member makes the group known."""
    groups: dict[str, dict[str, object]] = {}
    members: dict[str, list[dict[str, object]]] = {}
    numbers: dict[str, int] = {}
    for place, cells in _rows(path, _GROUP_COLUMNS):
        group = groups.setdefault(cells.get("id", ""), {"id": cells.get("id", "")})
        index = numbers.setdefault(str(group["id"]), len(numbers))
        lines.setdefault(("groups", index), place)
        for name in ("name", "complete"):
            value: object = cells.get(name)
            if name == "complete" and value is not None:
                value = _truth(str(value), place)
            if value is not None and group.setdefault(name, value) != value:
                raise ConfigError(f"{place}: {group['id']} has another {name} in an earlier row")
        inside = members.setdefault(str(group["id"]), [])
        if "member" in cells:
            lines["groups", index, "members", len(inside)] = place
            inside.append({name: cells[name] for name in ("valid_from", "valid_to") if name in cells})
            inside[-1]["id"] = cells["member"]
    return [{**group, "members": members[name]} for name, group in groups.items()]


def _truth(text: str, place: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"{place}: complete must be true or false")
    return text == "true"
