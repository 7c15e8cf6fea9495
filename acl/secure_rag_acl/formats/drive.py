"""Google Drive v3: `files.get` and `permissions.list` objects in an envelope of ours.

Drive knows grants only, so an entry that is not understood grants nothing and is reported as narrower. What restricts
(limited access, the restrictions of a shared drive, an end, a deleted account) must be in the export to be seen:
an export whose field masks could have left it out is refused. A link is no grant here: who has only a link does not
find the file by searching. Reference: developers.google.com/drive/api/reference/rest/v3/permissions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from secure_rag_acl.formats import _drive_grants, _envelope
from secure_rag_acl.formats._drive_grants import DOMAIN, Granted, narrowing, says_yes
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import (
    LIMITS,
    Closure,
    ItemProblem,
    Limits,
    Narrowing,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
    PermissionDump,
)

FORMAT: Final = "drive"
_SHORTCUT: Final = "application/vnd.google-apps.shortcut"
_FILE_FIELDS: Final = frozenset({"driveId", "mimeType", "inheritedPermissionsDisabled"})
_PERMISSION_FIELDS: Final = frozenset(
    {
        "id", "type", "role", "view", "deleted", "pendingOwner", "expirationTime", "permissionDetails",
        "inheritedPermissionsDisabled", "nextPageToken",
    }
)  # fmt: skip
_WITHOUT_EFFECT_ON_READING: Final = frozenset(
    {
        "adminManagedRestrictions", "copyRequiresWriterPermission", "downloadRestriction",
        "sharingFoldersRequiresOrganizerPermission", "driveMembersOnly", "domainUsersOnly",
    }
)  # fmt: skip


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Permissions of the files of an export.

    Raises:
        ConfigError: the export as a whole cannot be trusted; names file and place.
    """
    root = _envelope.open_export(
        data,
        name,
        FORMAT,
        frozenset({"fields", "items"}),
        frozenset({"exported_at", "drives", "organization_domains"}),
        limits,
    )
    _check_masks(root.child("fields"))
    reader = _Reader(
        _drives(root.optional("drives")),
        _domains(root.optional("organization_domains")),
        _tells_permissions(root.child("fields").child("files").text()),
    )
    items = [(_path(node), node) for node in root.child("items").items()]
    return PermissionDump(_envelope.by_path(items, limits, reader.item), _envelope.exported_at(root))


@dataclass(frozen=True, slots=True)
class _Reader:
    drives: Mapping[str, Node]
    domains: tuple[NativeEntry, ...]
    inline: bool
    """The field mask of the files let their permissions through whole."""

    def item(self, path: str, node: Node) -> NativePermissions | ItemProblem:
        del path
        file = node.child("file")
        if file.optional("mimeType") and file.child("mimeType").value == _SHORTCUT:
            return ItemProblem(file.place, "a shortcut says nothing about who may read its target")
        entries = self._entries(node, file)
        limited = says_yes(file, "inheritedPermissionsDisabled")
        found = [x for x in (_drive_grants.grant(entry, limited) for entry in entries) if x is not None]
        granted = [x for x in found if not isinstance(x, Narrowing)]
        narrowed = [x for x in found if isinstance(x, Narrowing)]
        locks = [NativeLock("permissions of the file", tuple(x.entry for x in granted if x.opens))]
        if file.has("driveId"):
            locks += self._drive_locks(file.child("driveId"), granted, narrowed)
        narrowed += _unlisted(file, entries)
        return NativePermissions(tuple(locks), tuple(narrowed))

    def _entries(self, node: Node, file: Node) -> list[Node]:
        """All permission objects of an item, or an error that says why they are not all here."""
        if node.has("error"):
            raise node.child("error").error("the permissions could not be read; nobody may read the file")
        pages = node.optional("permission_pages")
        if pages is None:
            if not file.has("permissions"):
                raise file.error(
                    "no permissions: the exporting account may not see them, or the file is in a shared drive and "
                    "needs permission_pages, or the field mask left them out; nobody may read the file"
                )
            if not self.inline:
                raise file.child("permissions").error(
                    "the field mask of files cuts permissions; use permission_pages"
                )
            return _once(list(file.child("permissions").items()))
        listed = list(pages.items())
        if not listed:
            raise pages.error("no page of permissions")
        for number, page in enumerate(listed):
            if page.has("nextPageToken") != (number < len(listed) - 1):
                raise page.error(
                    "the pages of permissions are not complete: nextPageToken and pages do not fit"
                )
        return _once([entry for page in listed for entry in page.child("permissions").items()])

    def _drive_locks(
        self, node: Node, granted: Sequence[Granted], narrowed: list[Narrowing]
    ) -> list[NativeLock]:
        drive = self.drives.get(node.text())
        if drive is None:
            raise node.error("its shared drive is not in the export, nor what it restricts")
        restrictions = drive.child("restrictions")
        for key in ("driveMembersOnly", "domainUsersOnly"):
            restrictions.child(key)
        locks: list[NativeLock] = []
        if says_yes(restrictions, "driveMembersOnly"):
            members = tuple(x.entry for x in granted if x.member)
            locks.append(NativeLock("members of the shared drive", members))
        if says_yes(restrictions, "domainUsersOnly"):
            locks.append(NativeLock("users of the organisation", self.domains))
            if not self.domains:
                narrowed.append(
                    narrowing(restrictions, "the export does not name the organisation's domains")
                )
        unknown = _unknown_restrictions(restrictions)
        if unknown:
            locks.append(NativeLock("restrictions of the shared drive", (), (), unknown))
        return locks


def _check_masks(node: Node) -> None:
    _envelope.strict_object(node, frozenset({"files", "permissions"}))
    for key, needed in (("files", _FILE_FIELDS), ("permissions", _PERMISSION_FIELDS)):
        mask = "".join(node.child(key).text().split())
        whole = {"*", f"{key}(*)", f"{key}/*", f"nextPageToken,{key}(*)", f"nextPageToken,{key}/*"}
        missing = needed - set(re.findall(r"[A-Za-z]+", mask))
        if mask not in whole and missing:
            raise node.child(key).error(
                f"the field mask leaves out what may restrict: {', '.join(sorted(missing))}; export with *"
            )


def _tells_permissions(mask: str) -> bool:
    parts = "".join(mask.split())
    return parts == "*" or re.search(r"(^|[,(])permissions([(/]\*|[,)]|$)", parts) is not None


def _path(node: Node) -> str:
    _envelope.strict_object(node, frozenset({"path", "file"}), frozenset({"permission_pages", "error"}))
    path = node.child("path")
    if not isinstance(path.value, str):
        raise path.error("must be text")
    return path.value


def _drives(node: Node | None) -> Mapping[str, Node]:
    found: dict[str, Node] = {}
    for drive in node.items() if node else ():
        key = drive.child("id").text()
        if key in found:
            raise drive.error(f"the shared drive {key!r} occurs twice")
        found[key] = drive
    return found


def _domains(node: Node | None) -> tuple[NativeEntry, ...]:
    found: list[NativeEntry] = []
    for item in node.items() if node else ():
        domain = item.text().lower()
        if not item.text().isascii() or not DOMAIN.fullmatch(domain):
            raise item.error("not a domain")
        found.append(
            NativeEntry(NativePrincipal(f"drive-domain:{domain}", broad=True), item.text(), item.place)
        )
    return tuple(found)


def _once(entries: list[Node]) -> list[Node]:
    seen: set[object] = set()
    for entry in entries:
        key = entry.child("id").text()
        if key in seen:
            raise entry.error(f"the permission {key!r} occurs twice")
        seen.add(key)
    return entries


def _unlisted(file: Node, entries: Sequence[Node]) -> list[Narrowing]:
    listed = {x.child("id").value for x in entries}
    known = file.optional("permissionIds")
    return [
        Narrowing(str(x.value), x.place, "a permission that the export does not describe")
        for x in (known.items() if known else ())
        if not isinstance(x.value, str) or x.value not in listed
    ]


def _unknown_restrictions(node: Node) -> tuple[Closure, ...]:
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    return tuple(
        Closure(f"{key}: {value!r}", node.place, "an unknown restriction of the shared drive")
        for key, value in node.value.items()
        if key not in _WITHOUT_EFFECT_ON_READING and value is not None and value is not False
    )
