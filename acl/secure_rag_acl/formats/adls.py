"""Azure Data Lake Storage Gen2: owner, group and ACL of every path, and the role assignments above them.

Each folder above a file is a lock of its own (execute), the file is the last one (read). Within one path the source
asks in order: owner (no mask), named user (mask), all groups of the caller together (mask), other (mask); the first
kind that knows the caller decides. A role with data rights is asked before all of them and only ever opens.
Reference: learn.microsoft.com/azure/storage/blobs/data-lake-storage-access-control, "access check algorithm".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag_acl.formats import _adls_roles, _envelope
from secure_rag_acl.formats._adls_roles import Roles
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import (
    LIMITS,
    ItemProblem,
    Limits,
    Narrowing,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
    PermissionDump,
)

FORMAT: Final = "adls"
_ROOT: Final = "/"
_SUPER_USER: Final = "$superuser"
"""Owner of what was made with an account key; no account of the directory."""
_PERMISSIONS: Final = re.compile(r"[r-][w-][x-]")
_KINDS: Final = frozenset({"user", "group", "mask", "other"})
_ALL: Final = "rwx"


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Permissions of the files of an export.

    Raises:
        ConfigError: the export as a whole cannot be trusted; names file and place.
    """
    root = _envelope.open_export(
        data,
        name,
        FORMAT,
        frozenset({"container", "paths", "role_assignments", "deny_assignments"}),
        frozenset({"exported_at", "root"}),
        limits,
    )
    nodes = [(_path(node), node) for node in root.child("paths").items()]
    reader = _Reader(_by_path(nodes), _adls_roles.read_roles(root))
    items = list(_files(nodes, _root_folder(root.optional("root"), limits)))
    return PermissionDump(_envelope.by_path(items, limits, reader.item), _envelope.exported_at(root))


@dataclass(frozen=True, slots=True)
class _Guard:
    lock: NativeLock
    narrowed: tuple[Narrowing, ...]


@dataclass(frozen=True, slots=True)
class _Acl:
    """Access entries of one path; `default:` entries are not among them."""

    node: Node
    owner: str
    group: str
    entries: Mapping[tuple[str, str], str]

    def grants(self, kind: str, name: str, right: str) -> bool:
        """Whether an entry has a right; only the owner's is not masked."""
        mask = _ALL if (kind, name) == ("user", "") else self.entries.get(("mask", ""), _ALL)
        return right in self.entries[kind, name] and right in mask

    def written(self, kind: str, name: str) -> str:
        """An entry as it stands in the ACL."""
        return f"{kind}:{name}:{self.entries[kind, name]}"


@dataclass(frozen=True, slots=True)
class _Reader:
    paths: Mapping[str, Node | None]
    roles: Roles
    folders: dict[str, _Guard | str] = field(default_factory=dict)

    def item(self, path: str, node: Node) -> NativePermissions | ItemProblem:
        del path
        whole = str(node.child("path").value)
        guards = [self._folder(x, node) for x in _above(whole)]
        guards.append(_guard(_acl(node), "r", f"file {whole}", self.roles))
        narrowed = tuple(x for guard in guards for x in guard.narrowed)
        return NativePermissions(tuple(x.lock for x in guards), narrowed + self.roles.narrowed)

    def _folder(self, path: str, below: Node) -> _Guard:
        if path not in self.folders:
            try:
                self.folders[path] = self._read_folder(path, below)
            except ConfigError as error:
                self.folders[path] = str(error)
        found = self.folders[path]
        if isinstance(found, str):
            raise ConfigError(found)
        return found

    def _read_folder(self, path: str, below: Node) -> _Guard:
        if path not in self.paths:
            raise below.error(f"the folder {path!r} above it is not in the export")
        node = self.paths[path]
        if node is None:
            raise below.error(f"the folder {path!r} above it occurs twice")
        if not node.child("directory").truth():
            raise below.error(f"{path!r} above it is no folder")
        return _guard(_acl(node), "x", f"folder {path}", self.roles)


def _guard(acl: _Acl, right: str, what: str, roles: Roles) -> _Guard:
    """The lock of one path, and what of it is narrower than the source."""
    allow, deny = list(roles.allow), list[NativeEntry]()
    always = {x.principal.name for x in roles.allow}
    for kind, name, native in _users(acl):
        if acl.grants(kind, name, right):
            allow.append(_entry(acl, kind, name, native))
        elif native not in always:
            deny.append(_entry(acl, kind, name, native))
    groups = list(_groups(acl))
    opened = {native for kind, name, native in groups if acl.grants(kind, name, right)}
    allow += [_entry(acl, k, n, native) for k, n, native in groups if acl.grants(k, n, right)]
    other = acl.grants("other", "", right)
    refused = [
        _entry(acl, k, n, native) for k, n, native in groups if native not in opened and native not in always
    ]
    narrowed = [_why(x, "has a role through a group") for x in deny if roles.through_groups]
    if other:
        # A group that is refused keeps its members from `other`; whom an earlier entry admits falls with them.
        narrowed += [_why(x, "has an own entry, another group or a role") for x in refused if allow]
        deny += refused
        allow.append(_entry(acl, "other", "", "adls-other"))
    elif not opened:
        # Only names and roles admit: a deny could match nobody else but who has a role, and roles are asked first.
        deny = []
        narrowed = []
    return _Guard(NativeLock(what, tuple(allow), tuple(deny)), tuple(narrowed))


def _users(acl: _Acl) -> Iterator[tuple[str, str, str]]:
    """Owner and named users. The owner's own entry comes first at the source, so a named one of his is void."""
    if acl.owner != _SUPER_USER:
        yield "user", "", f"adls-user:{acl.owner}"
    for kind, name in acl.entries:
        if kind == "user" and name and name != acl.owner:
            yield kind, name, f"adls-user:{name}"


def _groups(acl: _Acl) -> Iterator[tuple[str, str, str]]:
    if acl.group != _SUPER_USER:
        yield "group", "", f"adls-group:{acl.group}"
    for kind, name in acl.entries:
        if kind == "group" and name:
            yield kind, name, f"adls-group:{name}"


def _entry(acl: _Acl, kind: str, name: str, native: str) -> NativeEntry:
    key = native.partition(":")[2]
    principal = NativePrincipal(native, broad=kind == "other", object_id=key or None)
    return NativeEntry(principal, acl.written(kind, name), f"{acl.node.place}/access/acl")


def _why(entry: NativeEntry, why: str) -> Narrowing:
    return Narrowing(entry.entry, entry.place, f"who {why} is denied here by this entry")


def _acl(node: Node) -> _Acl:
    access = node.child("access")
    text = access.child("acl")
    entries: dict[tuple[str, str], str] = {}
    for written in text.text().split(","):
        scope, kind, name, rights = _parts(written, text)
        if (scope + kind, name) in entries:
            raise text.error(f"the entry {written!r} occurs twice")
        entries[scope + kind, name] = rights
    access_only = {key: x for key, x in entries.items() if not key[0].startswith("default:")}
    missing = [x for x in ("user", "group", "other") if (x, "") not in access_only]
    if missing:
        raise text.error(f"the entry {missing[0]}:: is missing")
    if ("mask", "") not in access_only and any(name for _, name in access_only):
        raise text.error("named entries without a mask")
    return _Acl(node, _identity(access.child("owner")), _identity(access.child("group")), access_only)


def _parts(written: str, node: Node) -> tuple[str, str, str, str]:
    scope, found = ("default:", written[8:]) if written.startswith("default:") else ("", written)
    parts = found.split(":")
    if len(parts) != 3 or not _PERMISSIONS.fullmatch(parts[2]):
        raise node.error(f"not an entry: {written!r}")
    kind, name, rights = parts[0], parts[1].lower(), parts[2]
    if kind not in _KINDS or (name and kind in ("mask", "other")):
        raise node.error(f"not an entry: {written!r}")
    if name and not _envelope.GUID.fullmatch(name):
        raise node.error(f"{written!r} names no object id; export without translating names")
    return scope, kind, name, rights


def _identity(node: Node) -> str:
    text = node.text().lower()
    if text != _SUPER_USER and not _envelope.GUID.fullmatch(text):
        raise node.error(f"{node.value!r} is no object id; export without translating names")
    return text


def _path(node: Node) -> str:
    _envelope.strict_object(node, frozenset({"path", "directory", "access"}))
    path = node.child("path")
    if not isinstance(path.value, str):
        raise path.error("must be text")
    node.child("directory").truth()
    return path.value


def _by_path(nodes: list[tuple[str, Node]]) -> Mapping[str, Node | None]:
    """Nodes by path; None for a path that occurs twice, which opens nothing below it."""
    found: dict[str, Node | None] = {}
    for path, node in nodes:
        found[path] = None if path in found else node
    return found


def _above(path: str) -> list[str]:
    """The container's root and every folder on the way to a path."""
    segments = path.split("/")
    return [_ROOT, *("/".join(segments[:n]) for n in range(1, len(segments)))]


def _root_folder(node: Node | None, limits: Limits) -> str:
    if node is None:
        return ""
    root = node.text()
    why = _envelope.why_no_path(root, limits.max_depth)
    if why is not None:
        raise ConfigError(f"{node.place}: {why}")
    return root + "/"


def _files(nodes: list[tuple[str, Node]], root: str) -> Iterator[tuple[str, Node]]:
    """Files below the source's root; folders only guard."""
    for path, node in nodes:
        if node.child("directory").value is False and path.startswith(root):
            yield path.removeprefix(root), node
