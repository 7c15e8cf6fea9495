"""Whom Graph and SharePoint objects name: identity sets, logins with claims, principals of sites.

Sources: Microsoft Graph `sharePointIdentitySet`, `sharePointGroupIdentity`; claims encoding of SharePoint logins.
Everything that is not exactly one known principal is `Nobody`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from secure_rag.model.ids import is_clean
from secure_rag_acl.fields import only_looks_ascii
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import NativePrincipal

ANYONE: Final = NativePrincipal("graph-anyone", broad=True)
ORGANIZATION: Final = NativePrincipal("graph-organization", broad=True)
EVERYONE: Final = NativePrincipal("graph-everyone", broad=True)
EVERYONE_EXCEPT_EXTERNAL: Final = NativePrincipal("graph-everyone-except-external", broad=True)

_GUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_GUID_ONLY = re.compile(_GUID)
_FEDERATED = re.compile(rf"c:0o\.c\|federateddirectoryclaimprovider\|({_GUID})(_o)?")
_TENANT = re.compile(rf"c:0t\.c\|tenant\|({_GUID})")
_ALL_USERS = re.compile(rf"c:0-\.f\|rolemanager\|spo-grid-all-users/{_GUID}")
_ADD_IN = re.compile(rf"i:0i\.t\|ms\.sp\.ext\|({_GUID})@{_GUID}")
_LINK_ACCOUNT = re.compile(r"urn(?::|%3a)spo(?::|%3a)anon")
_OPAQUE = re.compile(r"[A-Za-z0-9!._=+,:{}-]{1,200}")
_SITE = re.compile(r"[a-z0-9.,_-]{1,300}")
_USER, _SECURITY_GROUP, _SITE_GROUP = 1, 4, 8
_DIRECTORY = ("user", "group", "application", "device")
_KIND_NAMES: Final = {"user": "user", "group": "group", "application": "app"}


@dataclass(frozen=True, slots=True)
class Nobody:
    """Why no name is taken from an identity."""

    why: str


def guid(text: str) -> str | None:
    """A GUID in lower case, or None."""
    lower = text.lower()
    return lower if _GUID_ONLY.fullmatch(lower) else None


def site_key(node: Node) -> str:
    """The id of a site, lower case.

    Raises:
        ConfigError: it is none.
    """
    key = node.text().lower()
    if not _SITE.fullmatch(key):
        raise node.error("not a site id (host,site GUID,web GUID)")
    return key


def group(object_id: str, display: str | None = None) -> NativePrincipal:
    """The members of a directory group."""
    return NativePrincipal(f"graph-group:{object_id}", object_id=object_id, display=display)


def site_group(site: str, local_id: str, display: str | None = None) -> NativePrincipal:
    """A SharePoint group; ids are unique within a site only, titles not even there."""
    return NativePrincipal(f"graph-site-group:{site}/{local_id}", display=display)


def of_login(
    login: str, site: str | None, mail: str | None = None, display: str | None = None
) -> NativePrincipal | Nobody:
    """Whom a SharePoint login name means.

    A claim that is not known stays a login, and counts as everyone-like: nobody can say how many it covers.
    """
    text = unicodedata.normalize("NFC", login.lower())
    if not is_clean(text) or only_looks_ascii(login):
        return Nobody("a login with control characters or blanks around it")
    if text == "c:0(.s|true":
        return EVERYONE
    if _ALL_USERS.fullmatch(text):
        return EVERYONE_EXCEPT_EXTERNAL
    if found := _FEDERATED.fullmatch(text):
        if found[2]:
            # The id is the group's, the claim is its owners': joined by id it would let all members in.
            return NativePrincipal(f"graph-group-owners:{found[1]}", display=display)
        return group(found[1], display)
    if found := _TENANT.fullmatch(text):
        return group(found[1], display)
    if found := _ADD_IN.fullmatch(text):
        return NativePrincipal(f"graph-app:{found[1]}", object_id=found[1], display=display)
    if _LINK_ACCOUNT.search(text):
        return Nobody("the account of an anonymous link")
    if site is None:
        return Nobody("a login of a site that is not named")
    return NativePrincipal(
        f"graph-site-user:{site}/{text}", broad=not text.startswith("i:"), mail=mail, display=display
    )


def of_member(node: Node, site: str | None) -> NativePrincipal | Nobody:
    """Whom a principal of SharePoint's REST API (SP.User, SP.Group) means.

    Raises:
        ConfigError: a field that decides is missing or of a wrong type.
    """
    kind = node.child("PrincipalType").number()
    display = _display(node, "Title")
    if kind == _SITE_GROUP:
        if site is None:
            return Nobody("a group of a site that is not named")
        return site_group(site, str(node.child("Id").number()), display)
    if kind in (_USER, _SECURITY_GROUP):
        login = node.child("LoginName")
        if not isinstance(login.value, str):
            raise login.error("must be text")
        return of_login(login.value, site, _mail(node, "Email"), display)
    return Nobody(f"principal type {kind}")


def of_identity_set(node: Node, site: str | None) -> NativePrincipal | Nobody:
    """Whom an identitySet or sharePointIdentitySet means.

    Raises:
        ConfigError: a field that decides is of a wrong type.
    """
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    kinds = [x for x in _DIRECTORY if node.has(x)]
    in_site = node.has("siteGroup") or node.has("sharePointGroup")
    if len(kinds) + in_site > 1 or (in_site and node.has("siteUser")):
        return Nobody("names several principals")
    if in_site:
        return _of_site_group(node, site)
    if not kinds:
        return _of_site_user(node, site) or Nobody("names no principal")
    if kinds == ["device"]:
        return Nobody("a device")
    return _of_directory(kinds[0], node, site)


def _of_directory(kind: str, node: Node, site: str | None) -> NativePrincipal | Nobody:
    facet = node.child(kind)
    identifier = _identifier(facet, "id")
    if isinstance(identifier, Nobody):
        return identifier
    if identifier is None:
        # The login is what SharePoint checks: Graph puts shared claims under `user` as well.
        by_login = _of_site_user(node, site) if kind != "application" else None
        return by_login or Nobody("an identity without an id: not redeemed, or not of the directory")
    mail = _mail(facet, "email") or (_mail(node.child("siteUser"), "email") if node.has("siteUser") else None)
    named = NativePrincipal(
        f"graph-{_KIND_NAMES[kind]}:{identifier.lower()}",
        mail=mail,
        object_id=guid(identifier),
        display=_display(facet, "displayName"),
    )
    # Without a site a login cannot be named, but it can still contradict.
    claimed = _of_site_user(node, site or "-")
    if isinstance(claimed, Nobody):
        return claimed
    if claimed is None or claimed.name == named.name or _is_plain(claimed):
        return named
    if kind == "group" and claimed.name == f"graph-group-owners:{identifier.lower()}":
        return claimed
    if kind == "user" and claimed.name.startswith("graph-site-user:") and not claimed.broad:
        return named
    return Nobody("id and login name different principals")


def _is_plain(claimed: NativePrincipal) -> bool:
    """A login without any claim, such as a display name in its place: says nothing."""
    login = claimed.name.partition("/")[2]
    return claimed.name.startswith("graph-site-user:") and not re.match(r"[a-z]:0", login)


def _of_site_user(node: Node, site: str | None) -> NativePrincipal | Nobody | None:
    facet = node.optional("siteUser")
    login = facet.optional("loginName") if facet else None
    if facet is None or login is None:
        return None
    if not isinstance(login.value, str):
        raise login.error("must be text")
    return of_login(login.value, site, _mail(facet, "email"), _display(facet, "displayName"))


def _of_site_group(node: Node, site: str | None) -> NativePrincipal | Nobody:
    by_site, by_tenant = node.optional("siteGroup"), node.optional("sharePointGroup")
    locals_ = {
        _identifier(facet, key)
        for facet, key in ((by_site, "id"), (by_tenant, "principalId"))
        if facet is not None and facet.has(key)
    }
    if len(locals_) > 1:
        return Nobody("names several principals")
    local = locals_.pop() if locals_ else None
    display = next((_display(x, "displayName") for x in (by_tenant, by_site) if x is not None), None)
    if isinstance(local, str) and site is not None:
        return site_group(site, local, display)
    whole = _identifier(by_tenant, "id") if by_tenant is not None else None
    if isinstance(whole, str):
        return NativePrincipal(f"graph-site-group:{whole}", display=display)
    return Nobody("a group of a site that is not named")


def _identifier(node: Node, key: str) -> str | Nobody | None:
    found = node.optional(key)
    if found is None:
        return None
    text = str(found.value) if type(found.value) is int else found.value
    if not isinstance(text, str):
        raise found.error("must be text")
    return text if _OPAQUE.fullmatch(text) else Nobody("an id with characters that no id has")


def _mail(node: Node, key: str) -> str | None:
    # Never from a login: that of a guest is no address, and a member's is one by convention only.
    value = node.value.get(key) if isinstance(node.value, dict) else None
    text = unicodedata.normalize("NFC", value.lower()) if isinstance(value, str) else ""
    clean = text.count("@") == 1 and is_clean(text) and not only_looks_ascii(str(value))
    return text if clean else None


def _display(node: Node, key: str) -> str | None:
    value = node.value.get(key) if isinstance(node.value, dict) else None
    text = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""
    return text if is_clean(text) else None
