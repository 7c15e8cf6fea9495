"""SharePoint's own principals and rights: site groups with their members, role assignments of its REST API.

Sources: SharePoint REST `RoleAssignments`, `RoleDefinition.BasePermissions`, `RoleType`, `PermissionKind`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats._graph_identities import Nobody, of_member, site_group, site_key
from secure_rag_acl.formats._graph_lists import Lists, as_written, collection, only
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import NativePrincipal

LIMITED_ACCESS: Final = frozenset({1, 9})
"""Guest and RestrictedGuest: SharePoint gives them so that somebody gets *through* to an item below."""
READING_KINDS: Final = frozenset({2, 3, 4, 5, 6, 7})
"""Reader, Contributor, WebDesigner, Administrator, Editor, Reviewer."""
READ_BITS: Final = 0x21
"""ViewListItems (bit 1) and OpenItems (bit 6): without the second, the text does not leave the browser."""
_EVERY_BIT: Final = (1 << 32) - 1
_UNCLEAR: Final = 1 << 64


@dataclass(frozen=True, slots=True)
class Members:
    """Who is behind a name.

    Attributes:
        who: names.
        unnamed: how many members no name could be taken from.
    """

    who: tuple[NativePrincipal, ...]
    unnamed: int = 0


@dataclass(frozen=True, slots=True)
class SiteGroups:
    """Site groups whose members the export lists completely, by native name."""

    known: Mapping[str, Members]

    def expand(self, principal: NativePrincipal) -> Members:
        """The members of a site group, or the name itself."""
        return self.known.get(principal.name) or Members((principal,))


def read_site_groups(sites: Node | None) -> SiteGroups:
    """Members of site groups, by site.

    A group whose members are not listed completely is not known and stays a name.

    Raises:
        ConfigError: the section is not what this format says, or lists a site or a group twice.
    """
    known: dict[str, Members] = {}
    seen: set[str] = set()
    for site in sites.items() if sites else ():
        only(site, "id", "groups")
        key = site_key(site.child("id"))
        if key in seen:
            raise site.error("a site twice")
        seen.add(key)
        for listed in site.child("groups").items():
            only(listed, "group", "users")
            name = site_group(key, str(listed.child("group").child("Id").number())).name
            if name in seen:
                raise listed.error("a site group twice")
            seen.add(name)
            members = _members(listed, key)
            if members is not None:
                known[name] = members
    return SiteGroups(known)


def _members(listed: Node, site: str) -> Members | None:
    try:
        found = [of_member(x, site) for x in collection(listed.child("users"))]
    except ConfigError:
        return None  # it stays a name, which opens nothing until somebody maps it
    named = tuple(dict.fromkeys(x for x in found if isinstance(x, NativePrincipal)))
    return Members(named, sum(isinstance(x, Nobody) for x in found))


def read_role_assignments(listing: Node, site: str | None, groups: SiteGroups, lists: Lists) -> None:
    """Put the answer of `…/roleassignments?$expand=Member,RoleDefinitionBindings` on lists.

    Raises:
        ConfigError: it is incomplete, or not what SharePoint answers.
        PolicyError: more entries than a lock may have.
    """
    for node in collection(listing):
        rights = _rights(node.child("RoleDefinitionBindings"))
        member = node.child("Member")
        named = of_member(member, site)
        if not rights & (READ_BITS | _UNCLEAR):
            continue
        entry = as_written(member, "Id", "LoginName", "PrincipalType", "Title")
        if rights & READ_BITS != READ_BITS:
            lists.narrow(entry, node.place, "rights that are not known to read the file itself")
        elif isinstance(named, Nobody):
            lists.narrow(entry, node.place, named.why)
        else:
            members = groups.expand(named)
            lists.admit(members.who, entry, node.place)
            if members.unnamed:
                lists.narrow(entry, node.place, f"{members.unnamed} members of the site group have no name")


def _rights(bindings: Node) -> int:
    """The permission mask of all roles together, and one bit more when some role has none that is known."""
    total = 0
    for binding in bindings.items():
        kind = binding.child("RoleTypeKind").number()
        if kind in LIMITED_ACCESS:
            continue
        mask = binding.optional("BasePermissions")
        if mask is not None:
            # Custom roles have no kind, and the built-in ones can be edited: the bits are what SharePoint checks.
            low = _half(mask.child("Low"))
            total |= low | (_half(mask.child("High")) << 32)
        else:
            total |= READ_BITS if kind in READING_KINDS else _UNCLEAR
    return total


def _half(node: Node) -> int:
    value = node.value
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if type(number) is not int or not 0 <= number <= _EVERY_BIT:
        raise node.error("must be half of a permission mask")
    return number
