"""Microsoft Graph and SharePoint: exports of driveItem permissions, role assignments and connector items.

The envelope is ours (`docs/formats/graph.md`), the objects in it are the answers of the API, unchanged. An item
carries one of three things:
- `permissions`: what Graph lists for a driveItem, inherited ones included;
- `object` and `role_assignments`: what SharePoint's REST API says; an object without unique role assignments takes
  those of its parent, and what it lists itself is not read;
- `external_item`: an item of a Copilot connector.

Invariants
- A page that was not fetched, a parent that is not there, an answer that is an error: the item is withheld.
- Links for anyone or the organisation name broad principals: without a line of the mapping they open nothing.
- A site group is named by site and id; its members take its place only when all of them are listed.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError, PolicyError
from secure_rag_acl.formats._graph_external import read_external_item
from secure_rag_acl.formats._graph_identities import guid, site_key
from secure_rag_acl.formats._graph_lists import (
    Budget,
    Lists,
    QuotaExceededError,
    instant,
    only,
    printable,
)
from secure_rag_acl.formats._graph_permissions import read_permissions
from secure_rag_acl.formats._graph_sites import SiteGroups, read_role_assignments, read_site_groups
from secure_rag_acl.formats.json_export import Node, parse_json
from secure_rag_acl.formats.native import (
    LIMITS,
    ItemProblem,
    Limits,
    NativePermissions,
    PermissionDump,
)

FORMAT: Final = "graph-permissions"
VERSION: Final = 1
_KINDS: Final = ("permissions", "object", "external_item", "error")
_Outcome = NativePermissions | ItemProblem
_QUOTES: Final = 4
"""An honest export is quoted about once: each entry with its own identity."""
_UNPRINTABLE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Permissions of all items of an export.

    Raises:
        ConfigError: the export as a whole cannot be trusted, or asks for more than the limits.
    """
    root = parse_json(data, name, limits)
    only(root, "format", "version", "exported_at", "tenant", "sites", "securables", "items")
    if root.child("format").text() != FORMAT or root.child("version").number() != VERSION:
        raise root.error(f"not {FORMAT!r} of version {VERSION}")
    exported, listed = root.optional("exported_at"), root.child("items")
    source = _Source(
        limits,
        Budget(name, limits.max_entries, _QUOTES * limits.max_bytes),
        read_site_groups(root.optional("sites")),
        _tenant(root.optional("tenant")),
    )
    source.learn(root.optional("securables"))
    items: dict[str, _Outcome] = {}
    for count, item in enumerate(listed.items(), 1):
        if count > limits.max_items:
            raise listed.error(f"more than {limits.max_items} items")
        path = item.child("path")
        if not isinstance(path.value, str):
            raise path.error("must be text")
        key = printable(path.value)
        if key in items:
            items[key] = ItemProblem(item.place, "the path occurs twice")
        else:
            items[key] = source.item(item, path.value)
    return PermissionDump(MappingProxyType(items), instant(exported) if exported else None)


@dataclass(slots=True)
class _Source:
    limits: Limits
    budget: Budget
    groups: SiteGroups
    tenant: str | None
    _nodes: dict[str, Node | None] = field(default_factory=dict[str, Node | None])
    _done: dict[str, _Outcome] = field(default_factory=dict[str, _Outcome])

    def learn(self, securables: Node | None) -> None:
        """Take in webs, lists and folders that items inherit from; one that occurs twice is none."""
        for count, node in enumerate(securables.items() if securables else (), 1):
            if count > self.limits.max_items:
                raise node.error(f"more than {self.limits.max_items} securables")
            only(node, "id", "site", "object", "role_assignments", "parent")
            key = node.child("id").text()
            self._nodes[key] = None if key in self._nodes else node

    def item(self, node: Node, path: str) -> _Outcome:
        """What one item comes to."""
        try:
            _check_path(node, path)
            only(
                node, "path", "site", "item", "permissions", "object", "role_assignments", "parent",
                "external_item", "connection", "error",
            )  # fmt: skip
            return self._item(node)
        except QuotaExceededError:
            raise
        except (ConfigError, PolicyError) as error:
            return ItemProblem(node.place, str(error))

    def _item(self, node: Node) -> _Outcome:
        kinds = [x for x in _KINDS if node.has(x)]
        if len(kinds) != 1:
            raise node.error(f"needs exactly one of {', '.join(_KINDS)}")
        if kinds == ["error"]:
            raise node.error("the source answered with an error")
        _check_drive_item(node.optional("item"))
        if kinds == ["object"]:
            if _is_unique(node):
                return self._own(node)
            return self._inherited(node.child("parent"))
        lists = Lists(self.budget)
        if kinds == ["permissions"]:
            read_permissions(node.child("permissions"), _site(node), self.groups, lists)
            return lists.permissions("permissions of the drive item")
        connection = node.optional("connection")
        read_external_item(
            node.child("external_item"), _plain(connection) if connection else None, self.tenant, lists
        )
        return lists.permissions("access control list of the connector item")

    def _own(self, node: Node) -> NativePermissions:
        lists = Lists(self.budget)
        read_role_assignments(node.child("role_assignments"), _site(node), self.groups, lists)
        return lists.permissions("role assignments")

    def _inherited(self, parent: Node) -> _Outcome:
        trail: list[str] = []
        key = parent.text()
        while key not in self._done:
            node = self._nodes.get(key)
            if node is None:
                why = "occurs twice" if key in self._nodes else "is not in the export"
                return ItemProblem(parent.place, f"the parent {key!r} {why}")
            if key in trail:
                return ItemProblem(node.place, f"{key!r} is among its own parents")
            if len(trail) >= self.limits.max_depth:
                return ItemProblem(node.place, f"more than {self.limits.max_depth} parents")
            trail.append(key)
            if _is_unique(node):
                self._done[key] = self._try_own(node)
            else:
                key = node.child("parent").text()
        self._done.update(dict.fromkeys(trail, self._done[key]))
        return self._done[key]

    def _try_own(self, node: Node) -> _Outcome:
        try:
            return self._own(node)
        except QuotaExceededError:
            raise
        except (ConfigError, PolicyError) as error:
            return ItemProblem(node.place, str(error))


def _is_unique(node: Node) -> bool:
    return node.child("object").child("HasUniqueRoleAssignments").truth()


def _site(node: Node) -> str | None:
    site = node.optional("site")
    return site_key(site) if site else None


def _plain(node: Node) -> str:
    text = node.text()
    if not text.isascii() or not text.isalnum():
        raise node.error("not the id of a connection")
    return text


def _tenant(node: Node | None) -> str | None:
    found = guid(node.text()) if node else None
    if node is not None and found is None:
        raise node.error("not a tenant id")
    return found


def _check_drive_item(item: Node | None) -> None:
    """Refuse what is no file of this drive.

    Raises:
        ConfigError: it was deleted, or is a shortcut: then the permissions are not those of what it shows.
    """
    if item is None:
        return
    for facet in ("deleted", "remoteItem"):
        if item.has(facet):
            raise item.error(f"has the facet {facet!r}")


def _check_path(node: Node, path: str) -> None:
    segments = path.split("/")
    # Not `isprintable`: names with no-break spaces are common and harmless.
    unclean = any(unicodedata.category(c) in _UNPRINTABLE for c in path)
    if unclean or any(x in ("", ".", "..") for x in segments):
        raise node.child("path").error("not a path relative to the root of the source")
