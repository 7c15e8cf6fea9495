"""Access control lists of items that a Copilot connector pushed into Microsoft Graph: grants and denies, deny wins.

Source: Microsoft Graph `externalConnectors.acl`.
"""

from __future__ import annotations

import re

from secure_rag_acl.formats._graph_identities import (
    EVERYONE,
    EVERYONE_EXCEPT_EXTERNAL,
    Nobody,
    group,
    guid,
)
from secure_rag_acl.formats._graph_lists import Lists, as_written
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import NativePrincipal

_EXTERNAL = re.compile(r"[A-Za-z0-9._~=-]{1,128}")


def read_external_item(item: Node, connection: str | None, tenant: str | None, lists: Lists) -> None:
    """Put the `acl` of an externalItem on the lists of its item.

    Raises:
        ConfigError: it has none, or one that is not what Graph answers.
        PolicyError: more entries than a lock may have.
    """
    for node in item.child("acl").items():
        entry = as_written(node, "type", "value", "accessType")
        access = node.child("accessType").text() if node.has("accessType") else None
        named = _named(node, connection, tenant)
        if access == "grant" and isinstance(named, NativePrincipal):
            lists.admit((named,), entry, node.place)
        elif access == "grant" and isinstance(named, Nobody):
            lists.narrow(entry, node.place, named.why)
        elif access == "deny" and isinstance(named, NativePrincipal):
            lists.refuse(named, entry, node.place)
        else:
            why = named.why if access == "deny" and isinstance(named, Nobody) else f"access type {access!r}"
            lists.close(entry, node.place, why)


def _named(node: Node, connection: str | None, tenant: str | None) -> NativePrincipal | Nobody:
    kind, value = node.child("type").text(), node.child("value").text()
    object_id = guid(value)
    if kind == "externalGroup":
        if connection is None or not _EXTERNAL.fullmatch(value):
            return Nobody("an external group without a connection, or with an id that none has")
        return NativePrincipal(f"graph-external-group:{connection}/{value}")
    if object_id is None:
        return Nobody("no object id")
    if kind == "user":
        return NativePrincipal(f"graph-user:{object_id}", object_id=object_id)
    if kind == "group":
        return group(object_id)
    if kind in ("everyone", "everyoneExceptGuests"):
        if tenant is not None and object_id != tenant:
            return Nobody("everyone of another tenant")
        return EVERYONE if kind == "everyone" else EVERYONE_EXCEPT_EXTERNAL
    return Nobody(f"type {kind!r}")
