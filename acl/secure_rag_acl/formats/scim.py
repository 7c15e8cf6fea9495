"""SCIM 2.0 (RFC 7643, 7644): users and groups as a provider lists them, in ListResponses.

Read are the answers to `GET /Users` and `GET /Groups`, one or several pages in a JSON list. Messages that change
something (PatchOp, BulkRequest) are refused: they say what happened, not what is. Names of attributes are compared
without case, as RFC 7643 §2.1 wants it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secure_rag.model import ids
from secure_rag_acl import aliases
from secure_rag_acl.formats.json_export import Node, parse_json
from secure_rag_acl.formats.native import LIMITS, Limits
from secure_rag_acl.identity import Account, Export

_LIST: Final = "urn:ietf:params:scim:api:messages:2.0:listresponse"
_USER: Final = "urn:ietf:params:scim:schemas:core:2.0:user"
_GROUP: Final = "urn:ietf:params:scim:schemas:core:2.0:group"
_ACTIVE: Final = {"true": True, "false": False}


@dataclass(slots=True)
class _Listing:
    """Pages that follow each other."""

    place: str
    total: int
    count: int = 0
    cursor: bool = False
    """Whether the last page names the next one by a cursor (RFC 9865) instead of counting."""


def read_scim(
    data: bytes, name: str, *, absent_members_are_none: bool = False, limits: Limits = LIMITS
) -> Export:
    """Users and groups of an export.

    Args:
        data: one ListResponse, or a list of them.
        name: stands in messages.
        absent_members_are_none: whether a group without a list of members is empty rather than incompletely known.
        limits: of size and number.

    Raises:
        ConfigError: malformed, too large, something else than lists of users and groups, or an entry that
            contradicts itself; names the place.
    """
    root = parse_json(data, name, limits)
    export = Export(name)
    listings: list[_Listing] = []
    seen: dict[str, Node] = {}
    entries = 0
    for page in root.items() if isinstance(root.value, list) else (root,):
        resources = _page(page, listings, export)
        entries += len(resources)
        if entries > limits.max_items:
            raise root.error(f"more than {limits.max_items} users and groups")
        for resource in resources:
            _resource(resource, seen, export, absent_members_are_none=absent_members_are_none)
    if not listings:
        raise root.error("no ListResponse")
    for listing in listings:
        if listing.count != listing.total:
            export.gaps.append(f"{listing.place}: {listing.count} of {listing.total} results are here")
    return export


def _field(node: Node, name: str) -> Node | None:
    """An attribute, whatever its case; None when it is absent or null.

    Raises:
        ConfigError: no object, or two spellings of one attribute.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    found = [key for key in node.value if key.lower() == name.lower()]
    if len(found) > 1:
        raise node.error(f"{found[0]!r} and {found[1]!r} are one attribute")
    return node.optional(found[0]) if found else None


def _schemas(node: Node) -> set[str]:
    stated = _field(node, "schemas")
    return set() if stated is None else {x.text().lower() for x in stated.items()}


def _number(node: Node, name: str, default: int | None = None) -> int:
    value = _field(node, name)
    if value is None and default is not None:
        return default
    if value is None:
        raise node.error(f"{name!r} is missing")
    return value.number()


def _page(node: Node, listings: list[_Listing], export: Export) -> list[Node]:
    """Resources of a page; joined to the listing that it goes on with."""
    if _LIST not in _schemas(node):
        raise node.error("is no ListResponse: only lists of users and groups are read")
    stated = _field(node, "Resources")
    resources = [] if stated is None else list(stated.items())
    total, start = _number(node, "totalResults"), _number(node, "startIndex", 1)
    per_page = _number(node, "itemsPerPage", len(resources))
    last = listings[-1] if listings else None
    if last is not None and last.cursor and start <= 1 and last.total == total:
        pass
    elif start <= 1:
        last = _Listing(node.place, total)
        listings.append(last)
    elif last is None or last.total != total or start != last.count + 1:
        export.gaps.append(f"{node.place}: results before number {start} are missing, or changed meanwhile")
        last = _Listing(node.place, total) if last is None else last
        if not listings:
            listings.append(last)
    last.count += len(resources)
    last.cursor = _field(node, "nextCursor") is not None
    # Some servers state the size that was asked for; on the last page there may be fewer.
    if per_page < len(resources) or (per_page > len(resources) and last.count < total):
        export.gaps.append(f"{node.place}: {len(resources)} results where itemsPerPage says {per_page}")
    return resources


def _resource(node: Node, seen: dict[str, Node], export: Export, *, absent_members_are_none: bool) -> None:
    key = _required(node, "id")
    if key in seen:
        if seen[key].value != node.value:
            raise node.error(f"the id {key!r} occurs twice, and the entries differ")
        export.gaps.append(f"{node.place}: {key!r} is on two pages, so that another may be on none")
        return
    seen[key] = node
    schemas, meta = _schemas(node), _field(node, "meta")
    stated = None if meta is None else _field(meta, "resourceType")
    kind = str(stated.value).lower() if stated is not None else ""
    is_user, is_group = _USER in schemas or kind == "user", _GROUP in schemas or kind == "group"
    if is_user == is_group:
        raise node.error("is neither a user nor a group")
    if is_user:
        export.users.append(_user(node, key, export))
    else:
        export.groups.append(_group(node, key, export, absent_members_are_none=absent_members_are_none))


def _required(node: Node, name: str) -> str:
    value = _field(node, name)
    if value is None or not isinstance(value.value, str) or not ids.is_clean(value.value):
        raise node.error(f"{name!r} must be text without padding or control characters")
    return value.value


def _attributes(node: Node) -> dict[str, tuple[str, ...]]:
    """Texts of the core schema and, under their full names, of extensions; `mail` is the address that counts."""
    found: dict[str, tuple[str, ...]] = {}
    for key, value in node.value.items() if isinstance(node.value, dict) else ():
        if isinstance(value, str):
            found[key.lower()] = (value,)
        elif isinstance(value, dict) and key.lower().startswith("urn:"):
            found |= {f"{key}:{name}".lower(): (x,) for name, x in value.items() if isinstance(x, str)}
    return found


def _mail(node: Node) -> str | None:
    """The primary address, or the only one. Of several without a mark none is taken: it would be a guess."""
    stated = _field(node, "emails")
    values: list[str] = []
    primary: list[str] = []
    for entry in () if stated is None else stated.items():
        value, mark = _field(entry, "value"), _field(entry, "primary")
        if value is not None and isinstance(value.value, str):
            values.append(value.value)
            if mark is not None and str(mark.value).lower() == "true":
                primary.append(value.value)
    chosen = primary or values
    if len(chosen) != 1:
        return None
    try:
        return aliases.mail_address(chosen[0])
    except ValueError:
        return None


def _aliases(node: Node, key: str, mail: str | None) -> tuple[str, ...]:
    """The SCIM id, and what looks like the id of a directory object: Entra sends it as `externalId`."""
    external = _field(node, "externalId")
    candidates = [f"{aliases.OBJECT}:{key}"]
    if external is not None and isinstance(external.value, str):
        candidates.append(f"{aliases.OBJECT}:{external.value}")
    found = [] if mail is None else [f"{aliases.MAIL}:{mail}"]
    for candidate in (f"{aliases.SCIM}:{key}", *candidates):
        try:
            found.append(aliases.alias(candidate))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))


def _display(node: Node) -> str | None:
    stated = _field(node, "displayName")
    return stated.value if stated is not None and isinstance(stated.value, str) else None


def _user(node: Node, key: str, export: Export) -> Account:
    name = _required(node, "userName")
    mail = _mail(node)
    stated = _field(node, "active")
    value = None if stated is None else stated.value
    # Entra writes the truth value as text. Whoever is not said to be active is not.
    active = _ACTIVE.get(str(value).lower()) if isinstance(value, str | bool) else None
    if stated is not None and active is None:
        raise stated.error("must be true or false")
    if stated is None:
        export.notes.append(f"{node.place}: {name!r} is not said to be active and counts as disabled")
    attributes = _attributes(node) | ({} if mail is None else {"mail": (mail,)})
    addresses = tuple(x for x in (name, mail) if x is not None and "@" in x)
    return Account(
        key,
        node.place,
        attributes,
        display=_display(node),
        aliases=_aliases(node, key, mail),
        addresses=addresses,
        active=bool(active),
    )


def _group(node: Node, key: str, export: Export, *, absent_members_are_none: bool) -> Account:
    name = _required(node, "displayName")
    stated = _field(node, "members")
    complete = stated is not None or absent_members_are_none
    if not complete:
        export.notes.append(f"{node.place}: {name!r} has no list of members and counts as incomplete")
    members = tuple(_members(stated)) if stated is not None else ()
    mail = _mail(node)
    return Account(
        key,
        node.place,
        _attributes(node),
        display=name,
        aliases=_aliases(node, key, mail),
        members=members,
        complete=complete,
    )


def _members(node: Node) -> Iterator[str]:
    """Ids of members, users and groups alike; ids are unique over both (RFC 7643 §3.1)."""
    for entry in node.items():
        yield _required(entry, "value")
