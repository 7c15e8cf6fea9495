"""Permissions of a driveItem, as Graph lists them: people, groups, applications, sharing links, invitations.

Source: Microsoft Graph `permission`, `sharingLink`. The list of an item is the effective one: what its folders pass
on is in it, whether `inheritedFrom` says so (OneDrive Personal) or not (SharePoint, OneDrive for Business).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secure_rag.model.ids import NEVER, Micros
from secure_rag_acl.formats._graph_identities import ANYONE, ORGANIZATION, Nobody, of_identity_set
from secure_rag_acl.formats._graph_lists import Lists, as_written, collection, expiry
from secure_rag_acl.formats._graph_sites import SiteGroups
from secure_rag_acl.formats.json_export import Node

READING_ROLES: Final = frozenset({"read", "write", "owner", "sp.full control"})
READING_LINKS: Final = frozenset({"view", "edit", "embed", "review"})
_SCOPES: Final = {"anonymous": (ANYONE,), "organization": (ORGANIZATION,), "users": (), None: ()}


@dataclass(frozen=True, slots=True)
class _Permission:
    node: Node
    entry: str
    expires: Micros
    site: str | None
    groups: SiteGroups
    lists: Lists

    def narrow(self, why: str, node: Node | None = None) -> None:
        self.lists.narrow(self.entry, (node or self.node).place, why)

    def grant(self, identities: Node) -> None:
        named = of_identity_set(identities, self.site)
        if isinstance(named, Nobody):
            self.narrow(named.why, identities)
            return
        entry = f"{self.entry} {as_written(identities)}"
        members = self.groups.expand(named)
        self.lists.admit(members.who, entry, identities.place, self.expires)
        if members.unnamed:
            self.lists.narrow(
                entry, identities.place, f"{members.unnamed} members of the site group have no name"
            )


def read_permissions(listing: Node, site: str | None, groups: SiteGroups, lists: Lists) -> None:
    """Put the answer of `GET …/items/{id}/permissions` on the lists of its item.

    Raises:
        ConfigError: it is incomplete or not what Graph answers.
        PolicyError: more entries than a lock may have.
    """
    for node in collection(listing):
        entry = as_written(node, "id", "roles", "expirationDateTime", "hasPassword")
        ends = node.optional("expirationDateTime")
        expires = expiry(ends) if ends else NEVER
        _read(_Permission(node, entry, expires, site, groups, lists))


def _read(permission: _Permission) -> None:
    node = permission.node
    roles = {role.text() for role in node.child("roles").items()} if node.has("roles") else set[str]()
    link = node.optional("link")
    if link is not None and _scope(link) == "existingAccess":
        return
    if not roles & READING_ROLES:
        permission.narrow("no role that is known to read")
    elif _true(node, "hasPassword"):
        permission.narrow("a password is asked for, and nobody knows who has it")
    elif link is not None:
        _read_link(permission, link)
    else:
        _read_direct(permission)


def _read_direct(permission: _Permission) -> None:
    node = permission.node
    granted = node.optional("grantedToV2") or node.optional("grantedTo")
    invitation = node.optional("invitation")
    if granted is not None:
        permission.grant(granted)
    elif invitation is None:
        permission.narrow("grants nobody who is named")
    elif invitation.has("signInRequired") and not _true(invitation, "signInRequired"):
        permission.narrow("an invitation that works without signing in")
    # Any other invitation was not redeemed yet and lets nobody in.
    if any(True for _ in _identities(node)):
        permission.narrow("identities beside no link")


def _read_link(permission: _Permission, link: Node) -> None:
    scope = _scope(link)
    kind = link.optional("type")
    identities = list(_identities(permission.node))
    if _true(link, "preventsDownload"):
        permission.narrow("a link to look at in the browser only; its text would leave it", link)
    elif kind is not None and kind.text() not in READING_LINKS:
        permission.narrow(f"link of type {kind.text()!r}", link)
    elif scope not in _SCOPES:
        permission.narrow(f"link of scope {scope!r}", link)
    else:
        entry = f"{permission.entry} {as_written(link, 'scope', 'type')}"
        permission.lists.admit(_SCOPES[scope], entry, link.place, permission.expires)
        for identity in identities:
            permission.grant(identity)
        if permission.node.has("grantedToV2") or permission.node.has("grantedTo"):
            permission.narrow("a grantee beside a link")
        if scope is None and not identities:
            permission.narrow("a link that does not say for whom it works", link)


def _identities(node: Node) -> list[Node]:
    # The deprecated list repeats the newer one with less in it.
    listed = node.optional("grantedToIdentitiesV2") or node.optional("grantedToIdentities")
    return list(listed.items()) if listed else []


def _scope(link: Node) -> str | None:
    scope = link.optional("scope")
    return scope.text() if scope else None


def _true(node: Node, key: str) -> bool:
    found = node.optional(key)
    return found is not None and found.truth()
