"""A company in small, as SCIM and LDIF list it, with or without gaps; and what an import must make of it.

A group decides twice: in an allow its members get in, in a deny they stay out. So an import may forget a membership
only where it says that the group, or one below it, is not known completely; and it may never make one up.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from secure_rag_acl.data_files import DataFile
from secure_rag_acl.directory_files import DirectoryFile

Load = Callable[[bytes, str], DirectoryFile]
"""From an export and its style to a directory."""
STYLES = ("scim", "ldap", "ad")
FAULTS = {
    "scim": ("none", "none", "user missing", "group missing", "members missing", "page missing"),
    "ldap": ("none", "none", "user missing", "group missing", "members missing", "size limit"),
    "ad": (
        "none",
        "none",
        "user missing",
        "group missing",
        "range",
        "back link",
        "primary hidden",
        "size limit",
    ),
}
RULES = {
    "scim": ("userName", "displayName"),
    "ldap": ("uid", "cn"),
    "ad": ("sAMAccountName", "sAMAccountName"),
}
PRIMARY = 513


@dataclass(frozen=True)
class World:
    """Users `u0…`, groups `g0…`; a group has users, and groups of a higher number.

    In Active Directory everybody is in g0 by the primary group, which no list of members has.
    """

    users: int
    members: tuple[frozenset[str], ...]
    style: str
    fault: str
    at: int

    def direct(self, group: int) -> frozenset[str]:
        """Members as the source means them."""
        found = self.members[group]
        return found | {f"u{n}" for n in range(self.users)} if self.style == "ad" and group == 0 else found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A company and how it is exported."""
    users, groups = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    style = draw(st.sampled_from(STYLES))
    members: list[frozenset[str]] = []
    for number in range(groups):
        names = [*(f"u{n}" for n in range(users)), *(f"g{n}" for n in range(number + 1, groups))]
        if style == "ad" and number == 0:
            names = [x for x in names if x.startswith("g")] or ["g-none"]
        chosen = draw(st.frozensets(st.sampled_from(names), min_size=0 if style == "scim" else 1, max_size=3))
        members.append(chosen - {"g-none"})
    return World(users, tuple(members), style, draw(st.sampled_from(FAULTS[style])), draw(st.integers(0, 3)))


def truly_in(world: World, group: int) -> frozenset[str]:
    """Users of a group, nested ones included."""
    found = set[str]()
    for name in world.direct(group):
        found |= truly_in(world, int(name[1:])) if name.startswith("g") else {name}
    return frozenset(found)


# ---- exports


def exported(world: World) -> bytes:
    """The world as a file, with its fault."""
    return _scim(world) if world.style == "scim" else _ldif(world)


def _scim(world: World) -> bytes:
    users: list[dict[str, Any]] = [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": f"u{n}",
            "userName": f"u{n}",
            "active": True,
        }
        for n in range(world.users)
    ]
    groups: list[dict[str, Any]] = [
        {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
            "id": f"g{n}",
            "displayName": f"g{n}",
            "members": [
                {"value": x, "type": "Group" if x.startswith("g") else "User"} for x in sorted(listed)
            ],
        }
        for n, listed in enumerate(world.members)
    ]
    total = len(groups)
    if world.fault == "user missing":
        del users[world.at % len(users)]
    elif world.fault in ("group missing", "page missing"):
        del groups[world.at % len(groups)]
        total -= world.fault == "group missing"
    elif world.fault == "members missing":
        del groups[world.at % len(groups)]["members"]
    listed = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"], "startIndex": 1}
    pages = [
        {**listed, "totalResults": len(users), "Resources": users},
        {**listed, "totalResults": total, "Resources": groups},
    ]
    return json.dumps(pages).encode()


def _sid(rid: int) -> str:
    data = (
        bytes([1, 5]) + (5).to_bytes(6, "big") + b"".join(x.to_bytes(4, "little") for x in (21, 1, 2, 3, rid))
    )
    return base64.b64encode(data).decode()


def _ldif(world: World) -> bytes:
    users = {f"u{n}": _ldif_user(world, n) for n in range(world.users)}
    groups = {f"g{n}": _ldif_group(world, n) for n in range(len(world.members))}
    user, group = f"u{world.at % len(users)}", f"g{world.at % len(groups)}"
    end = ""
    match world.fault:
        case "user missing":
            del users[user]
        case "group missing":
            del groups[group]
        case "members missing":
            groups[group] = "".join(
                x for x in groups[group].splitlines(keepends=True) if not x.startswith("member")
            )
        case "range":
            first = groups[group].replace("member:", "member;range=0-0:", 1)
            groups[group] = first.partition("member:")[0].rstrip("\n") + "\n\n"
            users = {key: _without(text, "memberOf") for key, text in users.items()}
        case "back link":
            groups[group] = _without(groups[group], "member: CN=u")
        case "primary hidden":
            users[user] = users[user].replace(f"primaryGroupID: {PRIMARY}\n", "")
        case "size limit":
            del users[user], groups[group]
            end = "search: 2\nresult: 4 Size limit exceeded\n"
        case _:
            pass
    return ("".join((*users.values(), *groups.values())) + end).encode()


def _without(text: str, start: str) -> str:
    return "".join(x for x in text.splitlines(keepends=True) if not x.startswith(start))


def _name(world: World, name: str) -> str:
    return (
        f"CN={name},DC=acme" if world.style == "ad" else f"{'cn' if name[0] == 'g' else 'uid'}={name},dc=acme"
    )


def _ldif_user(world: World, number: int) -> str:
    name = f"u{number}"
    if world.style == "ldap":
        return f"dn: {_name(world, name)}\nobjectClass: inetOrgPerson\nuid: {name}\n\n"
    links = [n for n, listed in enumerate(world.members) if name in listed]
    return (
        f"dn: {_name(world, name)}\nobjectClass: user\nsAMAccountName: {name}\nuserAccountControl: 512\n"
        f"objectSid:: {_sid(1000 + number)}\nprimaryGroupID: {PRIMARY}\n"
        + "".join(f"memberOf: {_name(world, f'g{n}').lower()}\n" for n in links)
        + "\n"
    )


def _ldif_group(world: World, number: int) -> str:
    name = f"g{number}"
    lines = "".join(f"member: {_name(world, x)}\n" for x in sorted(world.members[number]))
    if world.style == "ldap":
        return f"dn: {_name(world, name)}\nobjectClass: groupOfNames\ncn: {name}\n{lines}\n"
    rid = PRIMARY if number == 0 else 2000 + number
    return f"dn: {_name(world, name)}\nobjectClass: group\nsAMAccountName: {name}\nobjectSid:: {_sid(rid)}\n{lines}\n"


# ---- what an import makes of it


def loader(identity: Any, scim: Any, ldif: Any) -> Load:
    """An import as these modules make it."""

    def load(data: bytes, style: str) -> DirectoryFile:
        user, group = RULES[style]
        written = {
            "tenant": "acme",
            "complete": True,
            "users": {"id": {"attribute": user}, "members": {"all": True}},
            "groups": {"id": {"attribute": group}},
        }
        rules = identity.IdentityRules.model_validate(written)
        export = (scim.read_scim if style == "scim" else ldif.read_ldif)(data, style)
        document: DirectoryFile = identity.build_directory(
            export, rules, DataFile("identity.yaml", None)
        ).document
        return document

    return load


def disagreement(load: Load, world: World, counts: Counter[str]) -> str | None:
    """A membership that an import makes up, or forgets without a word."""
    document = load(exported(world), world.style)
    listed = {str(x.id): x for x in document.groups or ()}
    there = {x.id for x in document.users or ()}
    counts["worlds"] += 1
    counts[world.fault] += 1
    if world.fault in ("page missing", "size limit") and document.complete:
        return "a part counts as the whole"
    for number in range(len(world.members)):
        name, truly = f"group:g{number}", truly_in(world, number)
        below = _below(document, name)
        ours = {m.id for x in below if x in listed for m in listed[x].members if m.id.startswith("user:")}
        doubtful = not document.complete or any(x not in listed or listed[x].complete is False for x in below)
        for user in (f"u{n}" for n in range(world.users)):
            inside = f"user:{user}" in ours
            counts["asked"] += 1
            counts["inside"] += inside
            counts["doubtful"] += doubtful
            if inside and user not in truly:
                return f"{user} was put into g{number}"
            if user in truly and f"user:{user}" in there and not inside and not doubtful:
                return f"{user} was lost from g{number}"
            if (
                world.fault == "none"
                and world.style == "scim"
                and (doubtful or inside is not (user in truly))
            ):
                return f"g{number} is not as it is, without a reason"
            if world.fault == "none" and (user in truly) is not inside:
                return f"{user} and g{number} differ without a reason"
    return None


def _below(document: DirectoryFile, name: str) -> set[str]:
    """A group and those nested in it."""
    listed = {str(x.id): x for x in document.groups or ()}
    found, pending = {name}, [name]
    while pending:
        group = listed.get(pending.pop())
        for member in () if group is None else group.members:
            if member.id.startswith("group:") and member.id not in found:
                found.add(member.id)
                pending.append(member.id)
    return found
