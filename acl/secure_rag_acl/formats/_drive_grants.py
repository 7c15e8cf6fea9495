"""What one permission object of Drive grants, and to whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from secure_rag.model.ids import NEVER, Micros
from secure_rag_acl import fields
from secure_rag_acl.formats import _envelope
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import Narrowing, NativeEntry, NativePrincipal

_ROLES: Final = frozenset({"owner", "organizer", "fileOrganizer", "writer", "commenter", "reader"})
_THROUGH_LIMITED_ACCESS: Final = frozenset({"owner", "organizer"})
# Addresses of accounts are ASCII. Lower case or NFC of other letters can fall together with ASCII (U+212A is a k).
_MAIL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9.-]{1,253}")
DOMAIN: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


@dataclass(frozen=True, slots=True)
class Granted:
    """What a permission object grants.

    Attributes:
        entry: to whom.
        opens: it opens the file; false when the file has limited access and the permission is inherited.
        member: it makes a member of the shared drive.
    """

    entry: NativeEntry
    opens: bool
    member: bool


def grant(node: Node, limited: bool) -> Granted | Narrowing | None:
    """What one permission object grants; None when the source itself grants nothing by it."""
    if says_yes(node, "deleted"):
        return None
    if node.has("view"):
        known = node.child("view").value in ("published", "metadata")
        return None if known else narrowing(node, "an unknown view")
    role = node.optional("role")
    if role is None or not isinstance(role.value, str) or role.value not in _ROLES:
        return narrowing(node, "an unknown role")
    if role.value == "owner" and says_yes(node, "pendingOwner"):
        return narrowing(node, "an ownership that is not accepted yet")
    principal = _principal(node)
    if isinstance(principal, Narrowing):
        return principal
    expires = _expires(node)
    if expires is None:
        return narrowing(node, "an end that cannot be read")
    limited = limited or says_yes(node, "inheritedPermissionsDisabled")
    if limited and role.value not in _THROUGH_LIMITED_ACCESS and not node.has("permissionDetails"):
        return narrowing(node, "limited access, and nothing says that this permission is direct")
    details = [x for x in _details(node) if isinstance(x.get("role"), str) and x["role"] in _ROLES]
    direct = role.value in _THROUGH_LIMITED_ACCESS or any(x.get("inherited") is False for x in details)
    member = any(x.get("permissionType") == "member" for x in details)
    entry = NativeEntry(principal, _envelope.as_written(node), node.place, expires)
    return Granted(entry, direct or not limited, member)


def _principal(node: Node) -> NativePrincipal | Narrowing:
    kind = node.child("type").value if node.has("type") else None
    if kind in ("user", "group"):
        written = _envelope.plain_text(node, "emailAddress")
        if written is None:
            return narrowing(node, "no emailAddress: the field mask left it out, or it is hidden")
        mail = written.lower()
        if not written.isascii() or not _MAIL.fullmatch(mail):
            return narrowing(node, "not an address")
        display = node.optional("displayName")
        shown = display.value if display and isinstance(display.value, str) else None
        # The identifier belongs to the account: somebody who gets a recycled address has another one.
        key = node.child("id").text().lower()
        return NativePrincipal(f"drive-{kind}:{mail}", mail=mail, object_id=key, display=shown)
    if kind not in ("domain", "anyone"):
        return narrowing(node, "an unknown type")
    discovery = node.optional("allowFileDiscovery")
    if discovery is None or discovery.value is not True:
        return narrowing(node, "only for who has the link (allowFileDiscovery is not true)")
    if kind == "anyone":
        return NativePrincipal("drive-anyone", broad=True)
    written = _envelope.plain_text(node, "domain")
    if written is None or not written.isascii() or not DOMAIN.fullmatch(written.lower()):
        return narrowing(node, "no domain: the field mask left it out, or it is none")
    return NativePrincipal(f"drive-domain:{written.lower()}", broad=True)


def _expires(node: Node) -> Micros | None:
    end = node.optional("expirationTime")
    if end is None:
        return NEVER
    try:
        return fields.instant(end.value)
    except ValueError:
        return None


def _details(node: Node) -> list[Mapping[str, object]]:
    details = node.optional("permissionDetails")
    if details is None:
        return []
    return [x.value for x in details.items() if isinstance(x.value, dict)]


def says_yes(node: Node, key: str) -> bool:
    """Whether something that restricts is set. What is neither true nor false may restrict."""
    found = node.optional(key)
    return found is not None and found.value is not False


def narrowing(node: Node, why: str) -> Narrowing:
    """An object of the export that grants nothing here."""
    return Narrowing(_envelope.as_written(node), node.place, why)
