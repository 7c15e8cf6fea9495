"""Readers of ADLS exports against the documented access check, over random ACLs, people and roles."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_acl.formats.adls import read
from secure_rag_acl.formats.native import NativePermissions
from tests.support.exported import NOW, adls_export, adls_path, encoded, oid, role
from tests.support.native_readers import may_read

USERS = ["a", "b", "c"]
GROUPS = ["c1", "c2"]


@dataclass(frozen=True)
class Acl:
    """One path; rights are 0 to 7 as in chmod. `mask` is None where there is none."""

    owner: str
    group: str
    owner_bits: int
    group_bits: int
    other_bits: int
    mask: int | None
    users: tuple[tuple[str, int], ...]
    groups: tuple[tuple[str, int], ...]
    template: int

    def text(self) -> str:
        entries = [f"user::{_rwx(self.owner_bits)}", *(f"user:{oid(x)}:{_rwx(b)}" for x, b in self.users)]
        entries += [f"group::{_rwx(self.group_bits)}", *(f"group:{oid(x)}:{_rwx(b)}" for x, b in self.groups)]
        if self.mask is not None:
            entries.append(f"mask::{_rwx(self.mask)}")
        entries += [f"other::{_rwx(self.other_bits)}", f"default:other::{_rwx(self.template)}"]
        return ",".join(entries)


@dataclass(frozen=True)
class Person:
    oid: str
    groups: frozenset[str]

    def names(self) -> frozenset[str]:
        return frozenset(
            {f"adls-user:{oid(self.oid)}", "adls-other", *(f"adls-group:{oid(x)}" for x in self.groups)}
        )


PEOPLE = [Person(user, frozenset(x)) for user in USERS for x in ([], ["c1"], ["c2"], GROUPS)]


def _rwx(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1)))


# ---- the documented access check, on numbers


def _access_check(person: Person, desired: int, acl: Acl) -> bool:
    mask = 7 if acl.mask is None else acl.mask
    if person.oid == acl.owner:
        return acl.owner_bits & desired == desired
    for user, bits in acl.users:
        if user == person.oid:
            return bits & mask & desired == desired
    member = [bits for group, bits in [*acl.groups, (acl.group, acl.group_bits)] if group in person.groups]
    if member:
        together = 0
        for bits in member:
            together |= bits
        return together & mask & desired == desired
    return acl.other_bits & mask & desired == desired


def _reads(person: Person, folders: Sequence[Acl], file: Acl, roles: Sequence[str]) -> bool:
    if any(x == person.oid or x in person.groups for x in roles):
        return True
    return all(_access_check(person, 1, x) for x in folders) and _access_check(person, 4, file)


# ----


def _acls(wanted: int) -> st.SearchStrategy[Acl]:
    bits = st.sampled_from([0, 7, wanted, 7 - wanted, wanted])

    @st.composite
    def one(draw: st.DrawFn) -> Acl:
        users = tuple((x, draw(bits)) for x in USERS if draw(st.integers(0, 3)) == 0)
        groups = tuple((x, draw(bits)) for x in GROUPS if draw(st.integers(0, 2)) == 0)
        masked = bool(users or groups) or draw(st.booleans())
        return Acl(
            owner=draw(st.sampled_from([*USERS, "d", "$superuser"])),
            group=draw(st.sampled_from([*GROUPS, "c3", "$superuser"])),
            owner_bits=draw(bits),
            group_bits=draw(bits),
            other_bits=draw(bits),
            mask=draw(st.sampled_from([7, 7, 7, wanted, 7 - wanted])) if masked else None,
            users=users,
            groups=groups,
            template=draw(bits),
        )

    return one()


_roles = st.lists(st.sampled_from(["a", "c1"]), max_size=2, unique=True) | st.just(list[str]())


def test_readers_are_readers_at_the_source_and_the_same_unless_narrowed() -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(st.lists(_acls(1), min_size=1, max_size=3), _acls(4), _roles)
    def check(folders: list[Acl], file: Acl, roles: list[str]) -> None:
        paths = ["/", *itertools.accumulate("f" * (len(folders) - 1), lambda x, y: f"{x}/{y}")]
        name = "a.md" if len(paths) == 1 else f"{paths[-1]}/a.md"
        nodes = [
            adls_path(p, x.text(), x.owner, x.group, folder=True) for p, x in zip(paths, folders, strict=True)
        ]
        nodes.append(adls_path(name, file.text(), file.owner, file.group))
        given_roles = [role(oid(x), "User" if x == "a" else "Group", "reader") for x in roles]
        found = read(encoded(adls_export(nodes, role_assignments=given_roles)), "lake.json").items[name]
        assert isinstance(found, NativePermissions)
        outcomes["exports"] += 1
        outcomes["narrowed"] += bool(found.narrowed)
        for person in PEOPLE:
            ours, source = may_read(found, person.names(), NOW), _reads(person, folders, file, roles)
            assert not ours or source, person
            if not found.narrowed:
                assert ours is source, person
            outcomes["people"] += 1
            outcomes["allowed"] += ours
            outcomes["lost"] += source and not ours
            outcomes["denied"] += any(
                x.principal.name in person.names() for lock in found.locks for x in lock.deny
            )

    check()
    assert outcomes["allowed"] >= 0.10 * outcomes["people"]
    assert outcomes["denied"] >= 0.05 * outcomes["people"]
    assert 0 < outcomes["narrowed"] <= 0.80 * outcomes["exports"]
    assert outcomes["lost"] <= 0.10 * outcomes["people"]
