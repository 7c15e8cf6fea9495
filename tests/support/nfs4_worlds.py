"""Random NFSv4 lists, and who may read by RFC 7530, section 6.2.1, without the product."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from secure_rag_acl.formats.native import NativePermissions
from tests.support.acl_dumps import ReadDump
from tests.support.native_readers import may_read

USERS = ("ada@x.example", "bob@x.example", "cy@x.example")
GROUPS = ("staff@x.example", "eng@x.example")


@dataclass(frozen=True)
class Person:
    user: str
    groups: frozenset[str]

    def names(self) -> set[str]:
        return {f"nfs4-user:{self.user}", *(f"nfs4-group:{x}" for x in self.groups), "nfs4-everyone"}


PEOPLE = [
    Person(user, frozenset(groups))
    for user in (*USERS, "dee@x.example")
    for size in range(len(GROUPS) + 1)
    for groups in itertools.combinations(GROUPS, size)
]


@dataclass(frozen=True)
class Entry:
    kind: str
    flags: str
    who: str
    rights: str


@dataclass(frozen=True)
class Thing:
    path: str
    owner: str
    group: str
    entries: tuple[Entry, ...]

    def grants(self, person: Person, right: str, *, folder: bool) -> bool:
        for entry in self.entries:
            if entry.kind not in "AD" or right not in entry.rights:
                continue
            # RFC 7530 leaves inherit-only on files open; the readers may not rely on a deny being passed over there.
            if "i" in entry.flags and (folder or entry.kind == "A"):
                continue
            if self._matches(entry, person):
                return entry.kind == "A"
        return False

    def _matches(self, entry: Entry, person: Person) -> bool:
        if entry.who == "EVERYONE@":
            return True
        if entry.who == "OWNER@":
            return person.user == self.owner
        if entry.who == "GROUP@":
            return self.group in person.groups
        return entry.who in person.groups if "g" in entry.flags else entry.who == person.user

    def text(self) -> str:
        lines = [f"# file: {self.path}", f"# owner: {self.owner}", f"# group: {self.group}"]
        lines += [f"{x.kind}:{x.flags}:{x.who}:{x.rights}" for x in self.entries]
        return "\n".join(lines) + "\n\n"


def world(rng: random.Random) -> list[Thing]:
    """The root, at times a folder, and a file."""
    paths = [".", "d"][: 1 + rng.randrange(2)]
    file = "d/f" if len(paths) == 2 else "f"
    return [*(_thing(rng, x, "x") for x in paths), _thing(rng, file, "r")]


def may_open(things: list[Thing], person: Person) -> bool:
    *folders, file = things
    return all(x.grants(person, "x", folder=True) for x in folders) and file.grants(person, "r", folder=False)


def differences(
    read: ReadDump, things: list[Thing]
) -> Iterator[tuple[Person, bool, bool, NativePermissions]]:
    """Each person, whether the source admits, whether we do, and what we made of the dump."""
    dump = read("".join(x.text() for x in things).encode(), "w", below_root=True)
    found = dump.items[things[-1].path]
    assert isinstance(found, NativePermissions), found
    for person in PEOPLE:
        yield person, may_open(things, person), may_read(found, person.names(), 0), found


def _thing(rng: random.Random, path: str, right: str) -> Thing:
    entries = [_entry(rng, right) for _ in range(1 + rng.randrange(4))]
    if rng.random() < 0.6 or path == ".":
        entries.append(Entry("A", "", "EVERYONE@", f"{right}tcy"))
    return Thing(path, rng.choice(USERS), rng.choice(GROUPS), tuple(entries))


def _entry(rng: random.Random, right: str) -> Entry:
    who = rng.choice(("OWNER@", "GROUP@", "EVERYONE@", *USERS, *GROUPS, *USERS, *GROUPS))
    flags = "g" if who in GROUPS or who == "GROUP@" else ""
    flags += rng.choice(("", "", "", "", "fd", "fdi", "n"))
    rights = rng.choice((f"{right}tncy", f"{right}tncy", "rxtncy", "rwaxtTnNcCy", "wadtTNC", "tncy"))
    return Entry(rng.choice("AAADDU"), flags, who, rights)
