"""A directory as a folder: a head in YAML, users and groups in tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.data_files import DataFile, decode, read_bytes
from secure_rag_acl.yaml_files import parse_yaml

MAX_BYTES: Final = 64 << 20
_NATIVE_COLUMNS: Final = ("mail", "sid", "object_id")
_USER_COLUMNS: Final = ("id", "kind", "state", "name", *_NATIVE_COLUMNS, "clearance", "compartments")
_GROUP_COLUMNS: Final = ("id", "name", "complete", *_NATIVE_COLUMNS, "member", "valid_from", "valid_to")

Path_ = tuple[str | int, ...]


class PlacedFile(DataFile):
    """A head in YAML with users and groups from elsewhere; knows the place of each."""

    def __init__(self, head: DataFile, data: object, places: dict[Path_, str]) -> None:
        super().__init__(head.name, data)
        self._head = head
        self._places = places

    def place(self, path: Sequence[str | int]) -> str:
        """Place of a member, else of the user or group, else in the head."""
        row = self._places.get(tuple(path[:4])) or self._places.get(tuple(path[:2]))
        return row or self._head.place(path)


def read_folder(folder: Path) -> DataFile:
    """Head, users and groups of a folder as one.

    Raises:
        ConfigError: a file cannot be read or is malformed.
    """
    head = parse_yaml(read_bytes(folder / "directory.yaml"), str(folder / "directory.yaml"))
    if not isinstance(head.data, dict):
        raise head.error((), "must be keys with values")
    for section in ("users", "groups"):
        if section in head.data:
            raise head.error((section,), f"these come from {section}.csv")
    lines: dict[Path_, str] = {}
    users = _users(folder / "users.csv", lines)
    groups = _groups(folder / "groups.csv", lines)
    return PlacedFile(head, {**head.data, "users": users, "groups": groups}, lines)


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
        for name in ("name", "complete", *_NATIVE_COLUMNS):
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
