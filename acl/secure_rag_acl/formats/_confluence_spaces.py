"""Who may view a space, in the answers of the four APIs that tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag_acl.formats._confluence_answers import (
    Found,
    add_subject,
    clean,
    group,
    next_page,
    one_or_more,
    refuse_error,
    user,
)
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import Narrowing, NativeLock, NativePrincipal

ANONYMOUS: Final = NativePrincipal("confluence-anonymous", broad=True, display="anonymous access")
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Names:
    """What the export says about users and groups besides the entries.

    Attributes:
        user_keys: user key by user name; the old JSON-RPC API knows names only.
        group_names: name by id; the v2 API of Cloud knows ids only.
        anonymous_use: whether the site lets anonymous visitors in at all.
    """

    user_keys: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    group_names: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    anonymous_use: bool = False


def space_lock(node: Node, what: str, names: Names) -> tuple[NativeLock, tuple[Narrowing, ...]]:
    """Who may view a space. `node` has the answer of one API, under the name of that API.

    Raises:
        ConfigError: an error, an incomplete answer, or none.
    """
    readers = {"cloud_v2": _cloud, "cloud_v1": _old_cloud, "data_center": _data_center, "json_rpc": _json_rpc}
    given = [key for key in readers if node.has(key)]
    if len(given) != 1:
        raise node.error(f"needs the permissions under one of {', '.join(readers)}")
    found = Found()
    readers[given[0]](node.child(given[0]), found, names)
    if node.has("anonymous"):
        _data_center_anonymous(node.child("anonymous"), found, names)
    return found.lock(what), tuple(found.narrowed)


def _add_anonymous(found: Found, node: Node, names: Names) -> None:
    if names.anonymous_use:
        found.add(ANONYMOUS, node)
    else:
        found.leave_out(node, "the export does not say that the site lets anonymous visitors in")


def _views_space(operation: Node, key: str) -> bool:
    """Whether an operation is viewing the space; administering, editing and the like are no reading."""
    target = operation.child("targetType").value
    return operation.child(key).value == "read" and target == "space"


def _cloud(node: Node, found: Found, names: Names) -> None:
    """`GET /wiki/api/v2/spaces/ID/permissions`, every page of it."""
    pages = one_or_more(node)
    for number, page in enumerate(pages):
        refuse_error(page)
        page.child("_links")
        if next_page(page) != (number < len(pages) - 1):
            raise page.error("pages are left, or do not belong together")
        for entry in page.child("results").items():
            if _views_space(entry.child("operation"), "key"):
                _add_cloud(found, entry, names)


def _add_cloud(found: Found, entry: Node, names: Names) -> None:
    anonymous = entry.optional("anonymousAccess")
    if not entry.has("principal") and anonymous is not None and anonymous.truth():
        _add_anonymous(found, entry, names)
        return
    principal = entry.optional("principal")
    kind = None if principal is None else principal.child("type").value
    if principal is None or kind not in ("user", "group"):
        found.leave_out(entry, f"neither a user nor a group: {kind!r}")
        return
    key = clean(principal.child("id"))
    if kind == "user":
        found.add(NativePrincipal(f"confluence-user:{key}"), entry)
    elif key in names.group_names:
        name = names.group_names[key]
        found.add(NativePrincipal(f"confluence-group:{name}", object_id=key.lower(), display=name), entry)
    else:
        found.leave_out(entry, "a group whose name the export does not have")


def _old_cloud(node: Node, found: Found, names: Names) -> None:
    """`GET /wiki/rest/api/space/KEY?expand=permissions`, or its list of permissions."""
    refuse_error(node)
    for entry in (node if isinstance(node.value, list) else node.child("permissions")).items():
        if not _views_space(entry.child("operation"), "operation"):
            continue
        subjects = entry.optional("subjects")
        for kind in ("user", "group"):
            subject = None if subjects is None else subjects.optional(kind)
            if subject is None:
                continue
            results = list(subject.child("results").items())
            if subject.child("size").number() != len(results) or next_page(subject):
                raise subject.error("not all results are here")
            for result in results:
                add_subject(found, result, kind)
        anonymous, unlicensed = entry.optional("anonymousAccess"), entry.optional("unlicensedAccess")
        if anonymous is not None and anonymous.truth():
            _add_anonymous(found, entry, names)
        if unlicensed is not None and unlicensed.truth():
            found.leave_out(entry, "customers without a licence are no principals")


def _data_center(node: Node, found: Found, names: Names) -> None:
    """`GET /rest/api/space/KEY/permissions` of Data Center 9.1 and newer: one flat list, without pages."""
    refuse_error(node)
    for entry in node.items():
        if not _views_space(entry.child("operation"), "operationKey"):
            continue
        subject = entry.optional("subject")
        kind = None if subject is None else subject.child("type").value
        if subject is not None and kind == "user":
            found.add(user(subject), entry)
        elif subject is not None and kind == "group":
            found.add(group(subject), entry)
        elif kind == "anonymous":
            _add_anonymous(found, entry, names)
        else:
            found.leave_out(entry, f"neither a user nor a group: {kind!r}")


def _data_center_anonymous(node: Node, found: Found, names: Names) -> None:
    """`GET /rest/api/space/KEY/permissions/anonymous`: a list like the other, without subjects."""
    refuse_error(node)
    for entry in node.items():
        if _views_space(entry.child("operation"), "operationKey"):
            _add_anonymous(found, entry, names)


def _json_rpc(node: Node, found: Found, names: Names) -> None:
    """`getSpacePermissionSets` of `/rpc/json-rpc/confluenceservice-v2`, before Data Center 9.1."""
    refuse_error(node)
    for listed in (node if isinstance(node.value, list) else node.child("result")).items():
        for entry in listed.child("spacePermissions").items():
            if entry.child("type").value == "VIEWSPACE":
                _add_old(found, entry, names)


def _add_old(found: Found, entry: Node, names: Names) -> None:
    who, listed = entry.optional("userName"), entry.optional("groupName")
    if who is not None and listed is not None:
        found.leave_out(entry, "a user and a group at once")
    elif listed is not None:
        name = clean(listed)
        found.add(NativePrincipal(f"confluence-group:{name}", display=name), entry)
    elif who is None:
        _add_anonymous(found, entry, names)
    elif clean(who) in names.user_keys:
        key = names.user_keys[clean(who)]
        found.add(NativePrincipal(f"confluence-user:{key}", display=clean(who)), entry)
    else:
        found.leave_out(entry, "a user whose key the export does not have")


def table(node: Node | None, key: str, value: str) -> dict[str, str]:
    """One field of users or groups by another; one to one.

    Raises:
        ConfigError: an object lacks one, or two objects disagree.
    """
    built: dict[str, str] = {}
    taken: dict[str, str] = {}
    for entry in () if node is None else node.items():
        name, meaning = clean(entry.child(key)), clean(entry.child(value))
        if built.setdefault(name, meaning) != meaning or taken.setdefault(meaning, name) != name:
            raise entry.error(f"{key} {name!r} and {value} {meaning!r} belong to another entry already")
    return built
