"""LDIF exports of Active Directory and of LDAP servers: people and groups.

What is easily missed, and would open a deny: primary groups (`primaryGroupID`, `gidNumber`) have no `member`; a long
list of members comes in ranges (`member;range=0-1499`); a member of another domain is not in the export; a search
may have hit a size limit. Each makes its group, or the directory, incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl import aliases
from secure_rag_acl.formats._ldap_names import distinguished_name, object_guid, security_id
from secure_rag_acl.formats._ldif_records import Record, read_records
from secure_rag_acl.formats.native import LIMITS, Limits
from secure_rag_acl.identity import Account, Export

_PEOPLE: Final = frozenset({"user", "inetorgperson", "posixaccount"})
_GROUPS: Final = frozenset({"group", "groupofnames", "groupofuniquenames", "posixgroup"})
_NEVER_EMPTY: Final = frozenset({"groupofnames", "groupofuniquenames"})
"""Their schema demands a member, so that an entry without one was exported without the attribute."""
_NOBODY: Final = frozenset({"computer", "contact"})
"""May be members, but nobody signs in as one. A computer of Active Directory is of class user, too."""
_DISABLED: Final = 0x2
_LOCKED_FOR_GOOD: Final = "000001010000Z"
_MEMBERS: Final = ("member", "uniquemember")
_RANGE = re.compile(r"(member|uniquemember);range=([0-9]+)-([0-9]+|\*)")
_OF_A_DOMAIN: Final = ("S-1-5-21-", "S-1-12-1-")
"""Others, such as BUILTIN\\Administrators, mean another group on every machine and are nobody's alias."""
_DEFAULT_PRIMARY: Final = ("513", "514")
"""Domain Users, Domain Guests."""


@dataclass(slots=True)
class _Entry:
    record: Record
    key: str
    classes: frozenset[str]
    sid: str | None
    members: dict[str, None] = field(default_factory=dict[str, None])
    complete: bool = True


@dataclass(slots=True)
class _Tree:
    export: Export
    people: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    groups: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    keys: set[str] = field(default_factory=set[str])

    def doubt(self, group: _Entry, why: str) -> None:
        """A group is not known completely."""
        group.complete = False
        self.export.notes.append(f"{group.record.place}: {group.record.dn!r} is incomplete: {why}")


def read_ldif(
    data: bytes, name: str, *, absent_members_are_none: bool = False, limits: Limits = LIMITS
) -> Export:
    """Users and groups of an export.

    Args:
        data: the file.
        name: stands in messages.
        absent_members_are_none: whether groups are empty when no group of the export has any member.
        limits: of size and number.

    Raises:
        ConfigError: malformed, too large, changes instead of entries, or an entry that contradicts itself; names
            file and line.
    """
    tree = _Tree(Export(name))
    trailers: list[Record] = []
    for record in read_records(data, name, limits):
        if record.dn is None:
            trailers.append(record)
        else:
            _sort(record, tree)
    _search_results(trailers, tree.export)
    forward = any(entry.members or not entry.complete for entry in tree.groups.values())
    _join_logins(tree)
    _join_primary_groups(tree)
    _join_back_links(tree, forward=forward)
    for group in tree.groups.values():
        if not group.members and group.complete:
            if group.classes & _NEVER_EMPTY:
                tree.doubt(group, "it has no member, which its class does not allow")
            elif not forward and not absent_members_are_none:
                tree.doubt(group, "no group of the export has a list of members")
    tree.export.users += [_person(x, tree.export) for x in tree.people.values()]
    tree.export.groups += [_group(x) for x in tree.groups.values()]
    return tree.export


def _sort(record: Record, tree: _Tree) -> None:
    try:
        key = distinguished_name(record.dn or "")
        sids = [security_id(x) for x in record.attributes.get("objectsid", ())]
    except ValueError as error:
        raise ConfigError(f"{record.place}: {error}") from error
    if key in tree.keys:
        raise ConfigError(f"{record.place}: {record.dn!r} occurs twice")
    if len(sids) > 1:
        raise ConfigError(f"{record.place}: more than one objectSid")
    tree.keys.add(key)
    classes = frozenset(x.lower() for x in record.texts("objectclass"))
    if not classes:
        raise ConfigError(f"{record.place}: has no objectClass: nobody knows what it is")
    entry = _Entry(record, key, classes, sids[0] if sids else None)
    if classes & _NOBODY:
        tree.export.nobody.add(key)
    elif classes & _GROUPS:
        tree.groups[key] = entry
        _forward_links(entry, tree)
    elif classes & _PEOPLE:
        tree.people[key] = entry


def _search_results(trailers: Iterable[Record], export: Export) -> None:
    """What ldapsearch says at the end of a search: whether it was cut off, or goes on at another server."""
    cookie = False
    for record in trailers:
        results = record.texts("result")
        if "ref" in record.attributes:
            export.gaps.append(f"{record.place}: a part of the tree is on another server")
        elif not results:
            raise ConfigError(f"{record.place}: an entry without `dn`")
        if any(x.split()[:1] != ["0"] for x in results):
            export.gaps.append(f"{record.place}: the search ended with {results[0]!r}")
        if results:
            cookie = any(x.partition("cookie=")[2] for x in record.texts("pagedresults"))
    if cookie:
        export.gaps.append(f"{export.name}: pages of the search are left")


# ---- members


def _forward_links(group: _Entry, tree: _Tree) -> None:
    ranges: list[tuple[int, int | None]] = []
    for name, values in group.record.attributes.items():
        found = _RANGE.fullmatch(name)
        if found is not None:
            ranges.append((int(found[2]), None if found[3] == "*" else int(found[3])))
        if found is not None or name in _MEMBERS:
            for value in values:
                group.members[_member(value)] = None
    if ranges and not _covers(sorted(ranges, key=lambda x: x[0])):
        tree.doubt(group, "not all ranges of its members are here")


def _member(value: bytes) -> str:
    """Key of a member; what is no distinguished name stays as it is and matches nobody."""
    try:
        return distinguished_name(value.decode("utf-8"))
    except ValueError:
        return value.decode("utf-8", "backslashreplace")


def _covers(ranges: list[tuple[int, int | None]]) -> bool:
    """Whether ranges follow each other from 0 to the end."""
    expected: int | None = 0
    for first, last in ranges:
        if first != expected:
            return False
        expected = None if last is None else last + 1
    return expected is None


def _join_logins(tree: _Tree) -> None:
    """`memberUid` names accounts by `uid`, which counts with its case."""
    by_login: dict[str, list[str]] = {}
    for key, person in tree.people.items():
        for login in person.record.texts("uid"):
            by_login.setdefault(login, []).append(key)
    for group in tree.groups.values():
        for value in group.record.attributes.get("memberuid", ()):
            login = value.decode("utf-8", "backslashreplace")
            found = by_login.get(login, [])
            if len(found) == 1:
                group.members[found[0]] = None
            else:
                tree.doubt(group, f"{len(found) or 'no'} accounts have the uid {login!r}")


def _join_primary_groups(tree: _Tree) -> None:
    by_sid = {x.sid: x for x in tree.groups.values() if x.sid is not None}
    by_number: dict[str, list[_Entry]] = {}
    for group in tree.groups.values():
        for number in group.record.texts("gidnumber"):
            by_number.setdefault(number, []).append(group)
    silent: dict[str, None] = {}
    for key, person in tree.people.items():
        for number in person.record.texts("gidnumber"):
            for group in by_number.get(number, ()):
                group.members[key] = None
        if "user" not in person.classes:
            continue
        stated = person.record.texts("primarygroupid")
        domain = None if person.sid is None else person.sid.rpartition("-")[0]
        if len(stated) != 1 or domain is None:
            silent[key] = None
        elif f"{domain}-{stated[0]}" in by_sid:
            by_sid[f"{domain}-{stated[0]}"].members[key] = None
    for group in by_sid.values():
        if silent and str(group.sid).rpartition("-")[2] in _DEFAULT_PRIMARY:
            tree.doubt(group, f"{len(silent)} users have no primaryGroupID or no objectSid, and may be in it")


def _join_back_links(tree: _Tree, *, forward: bool) -> None:
    """`memberOf` says the same from the other side. Where the sides differ, one of them was not read whole."""
    differing: dict[str, None] = {}
    for key, entry in (*tree.people.items(), *tree.groups.items()):
        if any(name.startswith("memberof;range=") for name in entry.record.attributes):
            tree.export.gaps.append(f"{entry.record.place}: not all of memberOf is here")
        for value in entry.record.attributes.get("memberof", ()):
            group = tree.groups.get(_member(value))
            if group is not None and key not in group.members:
                group.members[key] = None
                differing[group.key] = None
    for name in differing if forward else ():
        tree.doubt(tree.groups[name], "memberOf of others names it, and its own list does not name them")


# ---- accounts


def _person(entry: _Entry, export: Export) -> Account:
    record = entry.record
    addresses = (*record.texts("mail"), *record.texts("userprincipalname"), *record.texts("uid"))
    return Account(
        entry.key,
        record.place,
        _attributes(record),
        display=_display(record),
        aliases=_aliases(entry),
        addresses=tuple(x for x in addresses if "@" in x),
        active=_active(entry, export),
    )


def _active(entry: _Entry, export: Export) -> bool:
    record = entry.record
    if "user" in entry.classes:
        stated = record.texts("useraccountcontrol")
        if len(stated) == 1 and stated[0].lstrip("-").isdecimal():
            return not int(stated[0]) & _DISABLED
        export.notes.append(f"{record.place}: {record.dn!r} has no userAccountControl and counts as disabled")
        return False
    truths = (*record.texts("nsaccountlock"), *record.texts("logindisabled"))
    if any(x.lower() != "false" for x in truths):
        return False
    return _LOCKED_FOR_GOOD not in record.texts("pwdaccountlockedtime")


def _group(entry: _Entry) -> Account:
    return Account(
        entry.key,
        entry.record.place,
        _attributes(entry.record),
        display=_display(entry.record),
        aliases=_aliases(entry),
        members=tuple(entry.members),
        complete=entry.complete,
    )


def _attributes(record: Record) -> dict[str, tuple[str, ...]]:
    return {name: record.texts(name) for name in record.attributes}


def _display(record: Record) -> str | None:
    return next(iter((*record.texts("displayname"), *record.texts("cn"))), None)


def _aliases(entry: _Entry) -> tuple[str, ...]:
    """Address, security identifiers (earlier ones of a moved account, too) and object identifiers.

    Raises:
        ConfigError: a value is not what its attribute holds.
    """
    record = entry.record
    mails = [x for x in record.texts("mail") if "@" in x]
    sids = [x for name in ("objectsid", "sidhistory") for x in record.attributes.get(name, ())]
    guids = [x for name in ("objectguid", "entryuuid") for x in record.attributes.get(name, ())]
    try:
        found = [f"{aliases.MAIL}:{x}" for x in mails if len(mails) == 1]
        found += [f"{aliases.SID}:{x}" for x in map(security_id, sids) if x.startswith(_OF_A_DOMAIN)]
        found += [f"{aliases.OBJECT}:{object_guid(x)}" for x in guids]
        return tuple(dict.fromkeys(map(aliases.alias, found)))
    except ValueError as error:
        raise ConfigError(f"{record.place}: {error}") from error
