"""Answers of Confluence's APIs about read access: restrictions of one page, and permissions of one space.

Completeness comes first: an answer that is an error, was not expanded or has pages left is no answer.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from secure_rag.model import ids
from secure_rag_acl.fields import only_looks_ascii
from secure_rag_acl.formats.json_export import Node
from secure_rag_acl.formats.native import Narrowing, NativeEntry, NativeLock, NativePrincipal

_FIRST_ERROR: Final = 400


@dataclass(slots=True)
class Found:
    """Entries of one list, in order, each name once; and what grants nothing although the source lets it."""

    entries: dict[str, NativeEntry] = field(default_factory=dict[str, NativeEntry])
    narrowed: list[Narrowing] = field(default_factory=list[Narrowing])

    def add(self, principal: NativePrincipal, node: Node) -> None:
        """Keep an entry."""
        self.entries.setdefault(principal.name, NativeEntry(principal, written(node), node.place))

    def leave_out(self, node: Node, why: str) -> None:
        """Keep why an entry grants nothing."""
        self.narrowed.append(Narrowing(written(node), node.place, why))

    def lock(self, what: str) -> NativeLock:
        """The list as a lock."""
        return NativeLock(what, tuple(self.entries.values()))


def written(node: Node) -> str:
    """An entry as the source wrote it."""
    return json.dumps(node.value, ensure_ascii=False, separators=(",", ":"))


def clean(node: Node) -> str:
    """A name in NFC.

    Raises:
        ConfigError: it is no text, empty, padded, or has characters that nobody sees or that only look like ASCII.
    """
    text = unicodedata.normalize("NFC", node.value) if isinstance(node.value, str) else ""
    if isinstance(node.value, str) and only_looks_ascii(node.value):
        raise node.error("holds a letter that only looks like ASCII")
    if not ids.is_clean(text):
        raise node.error("must be a name without padding, control or invisible characters")
    return text


def refuse_error(node: Node) -> None:
    """Refuse the body of an error that was saved instead of an answer.

    Raises:
        ConfigError: it is one.
    """
    if not isinstance(node.value, dict):
        return
    for key in ("statusCode", "status", "code"):
        status = node.value.get(key)
        if type(status) is int and status >= _FIRST_ERROR:
            raise node.error(f"the export holds an error of the API, {status}, instead of an answer")
    if "errors" in node.value or "error" in node.value:
        raise node.error("the export holds an error of the API instead of an answer")


# ---- restrictions of a page


def read_restriction(node: Node, what: str) -> tuple[NativeLock | None, tuple[Narrowing, ...]]:
    """The lock that a page's own read restriction is; None when there is none, which does not mean open.

    Args:
        node: the answer to `content/ID/restriction/byOperation/read`, the list of such answers for several pages of
            results, or the same inside `{"read": …}` as `restriction/byOperation` and `expand=restrictions` give it.
        what: name of the lock.

    Raises:
        ConfigError: it is an error, about another operation, not expanded, or has pages left.
    """
    answers = [_read_operation(x) for x in one_or_more(node)]
    found = Found()
    for kind in ("user", "group"):
        for entry in _paged([answer.child("restrictions").child(kind) for answer in answers]):
            add_subject(found, entry, kind)
    if not found.entries and not found.narrowed:
        return None, ()
    # Entries that grant nothing still restrict: the lock stays, with nobody on it.
    return found.lock(what), tuple(found.narrowed)


def one_or_more(node: Node) -> list[Node]:
    if not isinstance(node.value, list):
        return [node]
    answers = list(node.items())
    if not answers:
        raise node.error("no answer")
    return answers


def _read_operation(node: Node) -> Node:
    refuse_error(node)
    if not node.has("operation") and node.has("read"):
        node = node.child("read")
        refuse_error(node)
    operation = node.child("operation")
    if operation.value != "read":
        raise operation.error("is about another operation than read")
    return node


def _paged(lists: Sequence[Node]) -> Iterator[Node]:
    """Entries of a list over all its pages."""
    limit = lists[0].child("limit").number()
    full = True
    for number, page in enumerate(lists):
        entries = list(page.child("results").items())
        size = page.child("size").number()
        if page.child("limit").number() != limit or limit < 1 or size != len(entries) or size > limit:
            raise page.error("`limit`, `size` and the number of results do not fit together")
        if page.child("start").number() != number * limit:
            raise page.error(f"pages do not follow each other: this one should start at {number * limit}")
        if size and not full:
            raise page.error("results after a page that was not full")
        full = size == limit
        yield from entries
    if full or next_page(lists[-1]):
        raise lists[-1].error("pages are left: the last one must not be full")


def next_page(node: Node) -> bool:
    links = node.optional("_links")
    return links is not None and bool(isinstance(links.value, dict) and links.value.get("next"))


def add_subject(found: Found, node: Node, kind: str) -> None:
    """Keep a user or group of a restriction or of the v1 API."""
    stated = node.optional("type")
    if stated is None or stated.value != ("known" if kind == "user" else "group"):
        found.leave_out(
            node, f"not known as a {kind}: its type is {None if stated is None else stated.value!r}"
        )
    elif kind == "user":
        found.add(user(node), node)
    else:
        found.add(group(node), node)


def user(node: Node) -> NativePrincipal:
    """A user by account id (Cloud) or user key (Data Center). Mail and names change hands; they are not keys."""
    key = node.optional("accountId") or node.child("userKey")
    mail = node.value.get("email") if isinstance(node.value, dict) else None
    return NativePrincipal(
        f"confluence-user:{clean(key)}",
        mail=mail.lower() if isinstance(mail, str) and "@" in mail and ids.is_clean(mail) else None,
        display=_display(node, "displayName"),
    )


def group(node: Node) -> NativePrincipal:
    name = clean(node.child("name"))
    known = node.optional("id")
    return NativePrincipal(
        f"confluence-group:{name}", object_id=None if known is None else clean(known).lower(), display=name
    )


def _display(node: Node, key: str) -> str | None:
    value = node.value.get(key) if isinstance(node.value, dict) else None
    return value if isinstance(value, str) and ids.is_clean(value) else None
