"""Azure role assignments that read blobs whatever the ACLs say.

Only the three built-in roles with data rights count, by the id of their definition. A condition, a custom role, a
scope that cannot be compared, or a deny assignment that nobody can evaluate here grants nothing and is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secure_rag_acl.formats import _envelope
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import Narrowing, NativeEntry, NativePrincipal

_READING: Final = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": "Storage Blob Data Reader",
}
_WITHOUT_DATA: Final = {
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635": "Owner",
    "b24988ac-6180-42a0-ab88-20f7382dd24c": "Contributor",
    "acdd72a7-3385-48ef-bd42-f606fba81ae7": "Reader",
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9": "User Access Administrator",
    "17d1049b-9a84-46fb-8f53-869881c3d3ab": "Storage Account Contributor",
}
_KINDS: Final = {"User": "adls-user", "ServicePrincipal": "adls-user", "Group": "adls-group"}


@dataclass(frozen=True, slots=True)
class Roles:
    """Who reads every file of the container by role, and which assignments may but do not count here."""

    allow: tuple[NativeEntry, ...]
    narrowed: tuple[Narrowing, ...]

    @property
    def through_groups(self) -> bool:
        """Whether a group has a role."""
        return any(x.principal.name.startswith("adls-group:") for x in self.allow)


def read_roles(root: Node) -> Roles:
    """Role assignments of an export.

    Raises:
        ConfigError: the lists or the container's id are missing or no such thing.
    """
    container = root.child("container").text().rstrip("/").lower()
    if not container.startswith("/subscriptions/"):
        raise root.child("container").error("must be the resource id of the container, /subscriptions/…")
    denied = list(root.child("deny_assignments").items())
    allow: list[NativeEntry] = []
    narrowed: list[Narrowing] = []
    for node in root.child("role_assignments").items():
        if not isinstance(node.value, dict):
            raise node.error("must be an object")
        if _is_elsewhere(node, container):
            continue
        for found in _read_one(node, container, bool(denied)):
            if isinstance(found, NativeEntry):
                allow.append(found)
            else:
                narrowed.append(found)
    return Roles(tuple(allow), tuple(narrowed))


def _read_one(node: Node, container: str, denied: bool) -> Iterator[NativeEntry | Narrowing]:
    role = _text(node, "roleDefinitionId").rpartition("/")[2]
    if role in _WITHOUT_DATA:
        return
    key, kind = _text(node, "principalId"), node.optional("principalType")
    shown = _envelope.as_written(node)
    why = None
    if role not in _READING:
        why = "a role that is not known here may read data"
    elif node.has("condition"):
        why = "a role with a condition"
    elif not _covers(_text(node, "scope"), container):
        why = "a role whose scope cannot be compared with the container"
    elif denied:
        why = "a deny assignment may take this role away"
    elif kind is None or not isinstance(kind.value, str) or kind.value not in _KINDS:
        why = "a role of an unknown kind of principal"
    elif not _envelope.GUID.fullmatch(key):
        why = "a role of nobody who could be named"
    else:
        yield NativeEntry(NativePrincipal(f"{_KINDS[kind.value]}:{key}", object_id=key), shown, node.place)
    if why is not None:
        yield Narrowing(shown, node.place, why)


def _covers(scope: str, container: str) -> bool:
    # An empty scope is no scope: as the beginning of a path it would cover everything.
    if not scope:
        return False
    return scope == "/" or container == scope or container.startswith(scope + "/")


def _is_elsewhere(node: Node, container: str) -> bool:
    """Whether an assignment is for something that neither is nor contains the container."""
    scope = _text(node, "scope")
    return scope.startswith("/subscriptions/") and not _covers(scope, container)


def _text(node: Node, key: str) -> str:
    found = node.optional(key)
    return found.value.lower() if found is not None and isinstance(found.value, str) else ""
