r"""Permissions of an NTFS folder, reached through an SMB share or not: a dump of paths with their descriptors.

Two locks: the share's list and the file's own. NTFS copies inherited entries into each file, and reaching a file
does not need rights on the folders above it ("bypass traverse checking", a right of everybody by default), so
folders are no locks. Formats and commands: `docs/formats/ntfs.md`.

Invariants
- A path that occurs twice, in whatever case, is withheld: NTFS knows one file of that name.
- A descriptor that is missing or malformed withholds its item; one of the share refuses the dump.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import Micros
from secure_rag_acl.fields import instant
from secure_rag_acl.formats import _ntfs_files as files
from secure_rag_acl.formats._sddl_decision import lock_of
from secure_rag_acl.formats._sddl_names import canonical_sid
from secure_rag_acl.formats._smb_share import read_accounts, share_access
from secure_rag_acl.formats.json_export import Node, parse_json
from secure_rag_acl.formats.native import (
    LIMITS,
    ItemProblem,
    Limits,
    Narrowing,
    NativeLock,
    NativePermissions,
    PermissionDump,
)
from secure_rag_acl.formats.sddl import Descriptor, parse_sddl

_ENVELOPE: Final = frozenset({"exported_at", "share", "domain_sid", "accounts", "items"})
_SHARE: Final = frozenset({"name", "sddl", "access"})
_ITEM: Final = frozenset({"path", "sddl", "error"})
_NO_DACL: Final = "the export holds no D: part, so nobody knows who may read"
_SHARED = tuple[NativeLock, tuple[Narrowing, ...]]


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Read a dump of `icacls /save`, of `Export-Csv`, or our JSON envelope.

    Args:
        data: the file.
        name: how places call it.
        limits: what a source may ask for.

    Raises:
        ConfigError: the dump as a whole cannot be trusted; names the place.
    """
    text = files.decode_windows(data, name, limits)
    if files.looks_like_csv(text):
        return _from_rows(name, files.csv_rows(text, name), _Dump(limits))
    if files.looks_like_icacls(text):
        return _from_rows(name, files.icacls_rows(text, name), _Dump(limits))
    return _from_json(parse_json(text.encode("utf-8"), name, limits), limits)


@dataclass(slots=True)
class _Dump:
    """Items while they are read."""

    limits: Limits
    domain: str | None = None
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    share: _SHARED | None = None
    items: dict[str, NativePermissions | ItemProblem] = field(
        default_factory=dict[str, NativePermissions | ItemProblem]
    )
    seen: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    parsed: dict[str, Descriptor] = field(default_factory=dict[str, Descriptor])
    entries: int = 0

    def add(self, place: str, written: str, sddl: str | None, error: str = "") -> None:
        """Take in one item."""
        if written == ".":
            return  # the root itself is no item
        try:
            path = files.relative_path(written)
        except ConfigError as refused:
            raise ConfigError(f"{place}: {refused}") from refused
        same = self.seen.setdefault(files.same_name(path), [])
        same.append(path)
        if len(same) > 1:
            for twice in same:
                self.items[twice] = ItemProblem(place, "the path occurs twice")
        else:
            self.items[path] = self._item(place, path, sddl, error)
        if len(self.items) > self.limits.max_items:
            raise ConfigError(f"{place}: more than {self.limits.max_items} items")

    def _item(self, place: str, path: str, sddl: str | None, error: str) -> NativePermissions | ItemProblem:
        impossible = files.impossible_name(path)
        if impossible is not None:
            return ItemProblem(place, impossible)
        if path.count("/") > self.limits.max_depth:
            return ItemProblem(place, f"more than {self.limits.max_depth} folders above the item")
        if not sddl:
            why = " ".join(error.split())[:200] or "no reason given"
            return ItemProblem(place, f"its permissions could not be exported: {why}")
        try:
            descriptor = self.descriptor(sddl)
        except ConfigError as refused:
            return ItemProblem(place, str(refused))
        self.count(descriptor, place)
        own = lock_of(descriptor, "ntfs", place, accounts=self.names)
        if own is None:
            return ItemProblem(place, _NO_DACL)
        both = (own,) if self.share is None else (self.share, own)
        try:
            return NativePermissions(
                tuple(lock for lock, _ in both), tuple(x for _, narrowed in both for x in narrowed)
            )
        except PolicyError as refused:
            return ItemProblem(place, str(refused))

    def descriptor(self, sddl: str) -> Descriptor:
        """A parsed descriptor; files of one folder mostly have the same."""
        known = self.parsed.get(sddl)
        if known is None:
            known = self.parsed[sddl] = parse_sddl(sddl, self.domain, self.limits.max_depth)
        return known

    def count(self, descriptor: Descriptor, place: str) -> None:
        """Count entries against the quota of the source.

        Raises:
            ConfigError: it is used up.
        """
        self.entries += sum(len(x.aces) for x in (descriptor.dacl, descriptor.sacl) if x is not None)
        if self.entries > self.limits.max_entries:
            raise ConfigError(f"{place}: more than {self.limits.max_entries} entries")

    def set_share(self, place: str, share: str, descriptor: Descriptor) -> None:
        """The share's list, before any item."""
        self.count(descriptor, place)
        lock = lock_of(descriptor, f"share {share}", place, owner_matters=False, accounts=self.names)
        if lock is None:
            raise ConfigError(f"{place}: {_NO_DACL}")
        self.share = lock

    def done(self, as_of: Micros | None = None) -> PermissionDump:
        """The finished dump."""
        return PermissionDump(MappingProxyType(self.items), as_of)


def _from_rows(name: str, rows: Iterable[files.Row], dump: _Dump) -> PermissionDump:
    own: list[files.Row] = []
    for row in rows:
        if not files.is_share(row.path):
            own.append(row)
            continue
        if dump.share is not None:
            raise ConfigError(f"{row.place}: a second share; export each share as a source of its own")
        try:
            descriptor = dump.descriptor(row.sddl)
        except ConfigError as error:
            raise ConfigError(f"{row.place}: {error}") from error
        dump.set_share(row.place, row.path, descriptor)
    if dump.share is None:
        raise ConfigError(
            f"{name}: no row holds the share's descriptor; add one whose path is \\\\server\\share, or export as "
            "JSON with `share: null` when nobody reaches the files through a share"
        )
    for row in own:
        dump.add(row.place, row.path, row.sddl)
    return dump.done()


def _from_json(root: Node, limits: Limits) -> PermissionDump:
    _only(root, _ENVELOPE)
    dump = _Dump(limits)
    domain = root.optional("domain_sid")
    dump.domain = _sid(domain) if domain is not None else None
    accounts = root.optional("accounts")
    named = read_accounts(accounts) if accounts is not None else {}
    dump.names = {sid: account for account, sid in named.items()}
    if not isinstance(root.value, dict) or "share" not in root.value:
        raise root.error("'share' is missing; null says that the files are not reached through a share")
    share = root.optional("share")
    if share is not None:
        _share(dump, share, named)
    for item in _list(root.child("items")):
        _only(item, _ITEM)
        _add(dump, item)
    exported_at = root.optional("exported_at")
    return dump.done(_instant(exported_at) if exported_at is not None else None)


def _add(dump: _Dump, item: Node) -> None:
    path, sddl, error = item.child("path"), item.optional("sddl"), item.optional("error")
    if not isinstance(path.value, str):
        raise path.error("must be text")
    place = (sddl or item).place
    if sddl is None or error is not None:
        dump.add(place, path.value, None, str(error.value if error else ""))
    elif isinstance(sddl.value, str):
        dump.add(place, path.value, sddl.value)
    else:
        dump.add(place, path.value, None, "the descriptor is no text")


def _share(dump: _Dump, node: Node, accounts: Mapping[str, str]) -> None:
    _only(node, _SHARE)
    name = node.child("name").text()
    sddl, access = node.optional("sddl"), node.optional("access")
    if (sddl is None) == (access is None):
        raise node.error("needs either 'sddl' or 'access'")
    if access is not None:
        dump.set_share(access.place, name, share_access(_list(access), accounts))
    elif sddl is not None:
        try:
            descriptor = dump.descriptor(sddl.text())
        except ConfigError as error:
            raise sddl.error(str(error)) from error
        dump.set_share(sddl.place, name, descriptor)


def _list(node: Node) -> list[Node]:
    """Elements; PowerShell writes a list of one as its only element."""
    return [node] if isinstance(node.value, dict) else list(node.items())


def _only(node: Node, known: frozenset[str]) -> None:
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    unknown = sorted(str(x) for x in node.value if x not in known)
    if unknown:
        raise node.error(f"unknown key {unknown[0]!r}")


def _sid(node: Node) -> str:
    try:
        return canonical_sid(node.text())
    except ConfigError as error:
        raise node.error(str(error)) from error


def _instant(node: Node) -> Micros:
    try:
        return instant(node.text())
    except ValueError as error:
        raise node.error(str(error)) from error
