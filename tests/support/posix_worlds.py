"""Random POSIX permissions, and who may read by acl(5): written from its text, without the product."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from secure_rag_acl.formats.native import NativePermissions
from tests.support.acl_dumps import ReadDump
from tests.support.native_readers import may_read

USERS = ("ada", "bob", "cy", "1000")
GROUPS = ("staff", "eng", "2000")
READ, SEARCH = 4, 1
_FOLDER_RIGHTS = (7, 5, 5, 1, 1, 4, 0)
_FILE_RIGHTS = (6, 4, 4, 4, 0, 0, 2, 1, 7)


@dataclass(frozen=True)
class Person:
    user: str
    groups: frozenset[str]

    def names(self) -> set[str]:
        return {_native("user", self.user), *(_native("group", x) for x in self.groups), "posix-other"}


PEOPLE = [
    Person(user, frozenset(groups))
    for user in USERS
    for size in range(len(GROUPS) + 1)
    for groups in itertools.combinations(GROUPS, size)
]


@dataclass
class Thing:
    """A folder or file: `users` and `groups` are the named entries."""

    path: str
    owner: str
    group: str
    rights: tuple[int, int, int]
    users: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    mask: int | None = None
    default: bool = False

    def grants(self, person: Person, right: int) -> bool:
        mask = 7 if self.mask is None else self.mask
        if person.user == self.owner:
            return bool(self.rights[0] & right)
        if person.user in self.users:
            return bool(self.users[person.user] & mask & right)
        matching = [self.rights[1]] if self.group in person.groups else []
        matching += [rights for name, rights in self.groups.items() if name in person.groups]
        if matching:
            return any(rights & mask & right for rights in matching)
        return bool(self.rights[2] & right)

    def text(self) -> str:
        lines = [f"# file: {self.path}", f"# owner: {self.owner}", f"# group: {self.group}"]
        lines.append(f"user::{_letters(self.rights[0])}")
        lines += [self._masked(f"user:{name}", rights) for name, rights in self.users.items()]
        lines.append(self._masked("group:", self.rights[1]))
        lines += [self._masked(f"group:{name}", rights) for name, rights in self.groups.items()]
        lines += [f"mask::{_letters(self.mask)}"] if self.mask is not None else []
        lines.append(f"other::{_letters(self.rights[2])}")
        if self.default:
            lines += [f"default:{who}:rwx" for who in ("user:", "user:bob", "group:", "mask:", "other:")]
        return "\n".join(lines) + "\n\n"

    def _masked(self, who: str, rights: int) -> str:
        effective = rights if self.mask is None else rights & self.mask
        return f"{who}:{_letters(rights)}" + (
            f"\t#effective:{_letters(effective)}" if effective != rights else ""
        )


def world(rng: random.Random) -> list[Thing]:
    """The root, up to two folders, and a file."""
    depth = rng.randrange(3)
    paths = [".", "d", "d/e"][: depth + 1]
    things = [_thing(rng, path, _FOLDER_RIGHTS) for path in paths]
    for folder in things:
        folder.default = rng.random() < 0.3
        if rng.random() < 0.5:
            folder.rights, folder.users, folder.groups, folder.mask = (7, 5, 5), {}, {}, None
    return [*things, _thing(rng, "/".join([*paths[-1:], "f"]).removeprefix("./"), _FILE_RIGHTS)]


def may_open(things: list[Thing], person: Person) -> bool:
    *folders, file = things
    return all(x.grants(person, SEARCH) for x in folders) and file.grants(person, READ)


def differences(
    read: ReadDump, things: list[Thing]
) -> Iterator[tuple[Person, bool, bool, NativePermissions]]:
    """Each person, whether the source admits, whether we do, and what we made of the dump."""
    dump = read("".join(x.text() for x in things).encode(), "w", below_root=True)
    found = dump.items[things[-1].path]
    assert isinstance(found, NativePermissions), found
    for person in PEOPLE:
        yield person, may_open(things, person), may_read(found, person.names(), 0), found


def _thing(rng: random.Random, path: str, rights: tuple[int, ...]) -> Thing:
    thing = Thing(
        path,
        rng.choice(USERS),
        rng.choice(GROUPS),
        (rng.choice(rights), rng.choice(rights), rng.choice(rights)),
    )
    if rng.random() < 0.7:
        thing.users = {x: rng.choice(rights) for x in rng.sample(USERS, rng.randrange(3))}
        thing.groups = {x: rng.choice(rights) for x in rng.sample(GROUPS, rng.randrange(3))}
        thing.mask = rng.choice((7, 7, 5, 5, 4, 1, 0))
    return thing


def _native(kind: str, name: str) -> str:
    if name.isdigit():
        return f"posix-{'uid' if kind == 'user' else 'gid'}:{name}"
    return f"posix-{kind}:{name}"


def _letters(rights: int) -> str:
    return "".join(letter if rights & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))
