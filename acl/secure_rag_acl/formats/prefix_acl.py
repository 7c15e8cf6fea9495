"""Access files for S3 prefixes, `[{keyPrefix, aclEntries: [{Name, Type, Access}]}]`, with a listing of the objects.

The publisher of this format says neither which of several matching prefixes decides nor where a prefix ends. Four
readings are plausible: all matching prefixes together, or only the longest; matching as text (`pay` matches
`payroll/x`), or by whole segments. Who reads here may read under each of the four, and whoever may read under all
four reads here: an allow counts only in the longest prefix of both ways of matching, a deny in every prefix that
matches as text. An object that no prefix matches is readable by nobody; the publisher's own product opens it to all.
Format: docs.aws.amazon.com/amazonq/latest/qbusiness-ug/s3-user-management.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from secure_rag.errors import ConfigError
from secure_rag.model.locks import MAX_LOCK_ENTRIES
from secure_rag_acl.formats import _envelope
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

FORMAT: Final = "prefix"
_SCHEME: Final = "s3://"
_KINDS: Final = {"USER": "prefix-user", "GROUP": "prefix-group"}


def read(data: bytes, name: str, limits: Limits = LIMITS) -> PermissionDump:
    """Permissions of the objects of a listing.

    Raises:
        ConfigError: the export as a whole cannot be trusted; names file and place.
    """
    root = _envelope.open_export(
        data,
        name,
        FORMAT,
        frozenset({"bucket", "listing", "acl"}),
        frozenset({"exported_at", "root"}),
        limits,
    )
    rules = _rules(root.child("acl"), root.child("bucket").text(), limits)
    reader = _Reader(root.child("acl"), rules, _prefix_of_root(root.optional("root")))
    items = list(_objects(root.child("listing"), reader.root))
    return PermissionDump(_envelope.by_path(items, limits, reader.item), _envelope.exported_at(root))


@dataclass(frozen=True, slots=True)
class _Rule:
    """One prefix with its entries. `allow` is without the names that the same prefix denies."""

    prefix: str
    node: Node
    allow: tuple[NativeEntry, ...]
    deny: tuple[NativeEntry, ...]
    closed: tuple[Closure, ...]
    narrowed: tuple[Narrowing, ...]

    @property
    def size(self) -> int:
        """How many entries it brings."""
        return len(self.allow) + len(self.deny) + len(self.closed) + len(self.narrowed)


@dataclass(frozen=True, slots=True)
class _Reader:
    acl: Node
    rules: Mapping[str, _Rule]
    root: str
    lengths: tuple[int, ...] = field(init=False)
    known: dict[tuple[str, ...], NativePermissions | ItemProblem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", tuple(sorted({len(x) for x in self.rules})))

    def item(self, path: str, node: Node) -> NativePermissions | ItemProblem:
        del node
        key = self.root + path
        as_text = [self.rules[key[:n]] for n in self.lengths if n <= len(key) and key[:n] in self.rules]
        whole = [x for x in as_text if _by_segments(x.prefix, key)]
        # Objects below the same prefixes share their locks; else a bucket costs objects times entries.
        seal = (*(x.prefix for x in as_text), "", whole[-1].prefix if whole else "")
        if seal not in self.known:
            self.known[seal] = _permissions(self.acl, as_text, whole)
        return self.known[seal]


def _permissions(acl: Node, as_text: list[_Rule], whole: list[_Rule]) -> NativePermissions | ItemProblem:
    if not as_text:
        why = "no prefix matches: nobody here, everybody in the product that defined the format"
        return NativePermissions(
            (NativeLock("no prefix", ()),), (Narrowing("no matching prefix", acl.place, why),)
        )
    longest = as_text[-1]
    if sum(x.size for x in as_text) > MAX_LOCK_ENTRIES:
        # Before anything is put together: nested prefixes would cost the product of both.
        return ItemProblem(longest.node.place, f"prefixes with more than {MAX_LOCK_ENTRIES} entries together")
    deny = tuple(x for rule in as_text for x in rule.deny)
    denied = {x.principal.name for x in deny}
    closed = tuple(x for rule in as_text for x in rule.closed)
    locks = [NativeLock(f"prefix {longest.prefix}", _without(longest.allow, denied), deny, closed)]
    if not whole:
        locks.append(NativeLock("no prefix of whole segments", ()))
    elif whole[-1] is not longest:
        locks.append(NativeLock(f"prefix {whole[-1].prefix}", _without(whole[-1].allow, denied)))
    return NativePermissions(tuple(locks), tuple(_narrowed(as_text, whole)))


def _narrowed(as_text: list[_Rule], whole: list[_Rule]) -> Iterator[Narrowing]:
    """Entries that another reading of the file would let decide otherwise."""
    longest, segments = as_text[-1], whole[-1] if whole else None
    denied = _names_of(longest.deny) if longest is segments else frozenset[str]()
    everywhere = _names_of(longest.allow) & (_names_of(segments.allow) if segments else frozenset())
    for rule in as_text:
        yield from rule.narrowed
        if rule is longest and rule is segments:
            continue
        for entry in rule.deny:
            if entry.principal.name not in denied:
                yield _why(entry, "a deny counts in every prefix that matches as text")
        for entry in rule.allow:
            if entry.principal.name not in everywhere:
                yield _why(entry, "an allow counts only in the longest prefix, by text and by segments")


def _names_of(entries: tuple[NativeEntry, ...]) -> frozenset[str]:
    return frozenset(x.principal.name for x in entries)


def _why(entry: NativeEntry, why: str) -> Narrowing:
    return Narrowing(entry.entry, entry.place, why)


def _without(entries: Iterable[NativeEntry], denied: Collection[str]) -> tuple[NativeEntry, ...]:
    """Allows that no deny of the same list takes away. An address with `+detail` falls with the one without."""
    return tuple(
        x for x in entries if x.principal.name not in denied and _plain(x.principal.name) not in denied
    )


def _by_segments(prefix: str, key: str) -> bool:
    return prefix == "" or prefix.endswith("/") or key == prefix or key[len(prefix)] == "/"


def _rules(acl: Node, bucket: str, limits: Limits) -> Mapping[str, _Rule]:
    found: dict[str, _Rule] = {}
    spellings: dict[str, str] = {}
    entries = 0
    for node in acl.items():
        prefix = _prefix(node.child("keyPrefix"), bucket)
        if prefix in found:
            raise node.error(f"the prefix {prefix!r} occurs twice")
        found[prefix] = _rule(prefix, node, spellings)
        entries += found[prefix].size
        if entries > limits.max_entries:
            raise node.error(f"more than {limits.max_entries} entries")
    return found


def _prefix(node: Node, bucket: str) -> str:
    if not isinstance(node.value, str):
        raise node.error("must be text")
    if not node.value.startswith(_SCHEME):
        return node.value
    place, _, prefix = node.value.removeprefix(_SCHEME).partition("/")
    if place != bucket:
        raise node.error(f"a prefix of another bucket than {bucket!r}")
    return prefix


def _rule(prefix: str, node: Node, spellings: dict[str, str]) -> _Rule:
    lists: dict[object, list[NativeEntry]] = {"ALLOW": [], "DENY": []}
    closed: list[Closure] = []
    narrowed: list[Narrowing] = []
    seen: set[tuple[str, object]] = set()
    for entry in node.child("aclEntries").items():
        access = entry.value.get("Access") if isinstance(entry.value, dict) else None
        found = _names(entry, access)
        if isinstance(found, Closure):
            closed.append(found)
        elif isinstance(found, Narrowing):
            narrowed.append(found)
        else:
            _refuse_ambiguity(entry, found[0], access, seen, spellings)
            shown = _envelope.as_written(entry)
            lists[access] += [
                NativeEntry(NativePrincipal(x, mail=_mail(x)), shown, entry.place) for x in found
            ]
            if _plain(found[0]) != found[0]:
                why = "the address without its +detail does not count as allowed, only as denied"
                narrowed.append(Narrowing(shown, entry.place, why))
    deny = tuple(lists["DENY"])
    allow = _without(lists["ALLOW"], _names_of(deny))
    return _Rule(prefix, node, allow, deny, tuple(closed), tuple(narrowed))


def _refuse_ambiguity(
    node: Node, name: str, access: object, seen: set[tuple[str, object]], spellings: dict[str, str]
) -> None:
    if (name, access) in seen:
        raise node.error(f"{name} {access} occurs twice")
    seen.add((name, access))
    elsewhere = spellings.setdefault(name.casefold(), name)
    if elsewhere != name:
        raise node.error(f"{name} is spelt {elsewhere} elsewhere: whether they are one name is not known")


def _names(node: Node, access: object) -> tuple[str, ...] | Closure | Narrowing:
    """Native names of an entry: as written, and for a deny also without `+detail`, which the publisher ignores."""
    kind = node.value.get("Type") if isinstance(node.value, dict) else None
    try:
        name = _envelope.plain_text(node, "Name")
    except ConfigError:
        name = None
    if access not in ("ALLOW", "DENY") or name is None:
        shown = _envelope.as_written(node)
        return Closure(shown, node.place, "may deny somebody: Name or Access cannot be read")
    if not isinstance(kind, str) or kind not in _KINDS:
        shown = _envelope.as_written(node)
        if access == "DENY":
            return Closure(shown, node.place, "denies an unknown Type")
        return Narrowing(shown, node.place, "an unknown Type")
    native = f"{_KINDS[kind]}:{name.lower() if kind == 'USER' and '@' in name else name}"
    return (native,) if access == "ALLOW" else tuple(dict.fromkeys((native, _plain(native))))


def _plain(native: str) -> str:
    """A user's name without the `+detail` of an address."""
    if not native.startswith("prefix-user:") or "@" not in native:
        return native
    local, _, domain = native.removeprefix("prefix-user:").rpartition("@")
    kept = local.partition("+")[0]
    return f"prefix-user:{kept}@{domain}" if kept else native


def _mail(native: str) -> str | None:
    name = native.removeprefix("prefix-user:")
    return name if name != native and "@" in name else None


def _prefix_of_root(node: Node | None) -> str:
    if node is None:
        return ""
    root = node.text()
    if not root.endswith("/"):
        raise node.error("must end with /")
    return root


def _objects(listing: Node, root: str) -> Iterator[tuple[str, Node]]:
    if not isinstance(listing.value, dict):
        raise listing.error("must be an object, as list-objects-v2 prints it")
    if any(
        listing.value.get(x) not in (None, False)
        for x in ("IsTruncated", "NextToken", "NextContinuationToken")
    ):
        raise listing.error("the listing is not complete")
    contents = listing.optional("Contents")
    for node in contents.items() if contents else ():
        key = node.child("Key")
        if not isinstance(key.value, str):
            raise key.error("must be text")
        # A key that ends with / is the marker of a folder.
        if key.value.startswith(root) and not key.value.endswith("/"):
            yield key.value.removeprefix(root), node
