"""From native names of one source to canonical principals. The data owner says who is who; nothing is guessed.

Invariants
- The most specific kind of line that knows a name decides: exact, identifier, pattern, mail. If two lines mean
  different principals the name is ambiguous and means nobody.
- Everyone-like names mean somebody by an exact line only.
- What the directory has under an address or identifier is of the kind that the source calls the name: an account under
  the address of a group is not the group.
- Two names become one principal only where the data owner says `merge: true`: lines that may come to the same
  principal are refused otherwise. Names of one person within one directory-kept kind are the directory's word.
- Taking a line away never makes a reader set larger, unless the line contradicted another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import EVERYONE, PrincipalId
from secure_rag_acl.aliases import MAIL, OBJECT, SID
from secure_rag_acl.fields import native_name
from secure_rag_acl.formats.native import NativePrincipal
from secure_rag_acl.known_names import NOTHING_KNOWN, Gone, KnownNames, fold, parse_table
from secure_rag_acl.patterns import NamePattern
from secure_rag_acl.principal_lines import Level, PrincipalEntry

MAX_COVERING: Final = 100
"""Lines that cover more than one name; each of them is asked about every name."""
BROAD_KINDS: Final = (
    "posix-other", "nfs4-everyone", "adls-other", "graph-organization", "graph-anyone", "graph-everyone",
    "graph-everyone-except-external", "drive-anyone", "drive-domain", "confluence-anonymous",
)  # fmt: skip
BROAD_SIDS: Final = frozenset(
    {
        "S-1-1-0",  # Everyone
        "S-1-2-0",  # Local
        "S-1-5-2",  # Network
        "S-1-5-4",  # Interactive
        "S-1-5-7",  # Anonymous
        "S-1-5-11",  # Authenticated Users
        "S-1-5-15",  # This Organization
        "S-1-5-32-545",  # Users
        "S-1-5-32-546",  # Guests
    }
)
_DOMAIN_WIDE_SID: Final = re.compile(r"S-1-5-21-\d+-\d+-\d+-(513|514|515)")
"""Domain Users, Domain Guests and Domain Computers of any domain."""
_MAIL: Final = re.compile(r"[^\s@:]+@[^\s@:]+")
_MAIL_KINDS: Final = ("drive-user", "drive-group")
_OBJECT_KINDS: Final = ("graph-user", "graph-group", "graph-app", "adls-user", "adls-group")


class MappingLineError(PolicyError):
    """A line of `principals:` is wrong; `index` says which."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


class Why(StrEnum):
    """Why a native name means nobody."""

    UNMAPPED = "unmapped"
    AMBIGUOUS = "ambiguous"
    RECYCLED = "recycled"
    ENDED = "ended"
    OTHER_IDENTIFIER = "other_identifier"
    """Only its address is known, and the directory has another identifier for whom that belongs to."""
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Whom a native name means, or why nobody. `candidates` are the principals of an ambiguous name."""

    principal: PrincipalId | None
    why: Why | None = None
    candidates: tuple[PrincipalId, ...] = ()


_Found = PrincipalId | Gone | None
_GROUP: Final = "group:"
_WITH_KIND: Final = ("-user", "-group", "-app")
"""Ends of kinds that say whether a name is of a group."""


@dataclass(frozen=True, slots=True)
class _Cover:
    """A line that covers many names."""

    index: int
    entry: PrincipalEntry
    find: Callable[[NativePrincipal], _Found]
    doubts: Callable[[NativePrincipal, PrincipalId], bool]
    """Whether what was found can only make a name ambiguous, never say whom it means."""
    claims: Callable[[PrincipalId], bool]
    values: frozenset[PrincipalId] | None = None
    pattern: NamePattern | None = None

    @property
    def what(self) -> str:
        """For messages."""
        kind = {Level.MAIL: "mail_domain", Level.PATTERN: "pattern"}.get(self.entry.level)
        return kind or ("sid_table" if self.entry.sid_table is not None else "object_ids")


@dataclass(frozen=True, slots=True)
class PrincipalMapping:
    """Native names of one source. The same name in another source is another name."""

    source: str
    names: Mapping[str, PrincipalId]
    covers: tuple[_Cover, ...] = ()

    @staticmethod
    def of(
        source: str,
        lines: Sequence[PrincipalEntry],
        known: KnownNames = NOTHING_KNOWN,
        read_table: Callable[[str], bytes] | None = None,
    ) -> PrincipalMapping:
        """Build and check a mapping.

        Args:
            source: whose names these are.
            lines: of `principals:`.
            known: aliases of the tenant's directory.
            read_table: gives the content of a file beside the mapping.

        Raises:
            MappingLineError: a line twice, or lines that may come to one principal without `merge: true`.
            ConfigError: a table beside the mapping is malformed; names file and line.
        """
        names = _exact(lines)
        covers = [
            _cover(index, line, known, read_table)
            for index, line in enumerate(lines)
            if line.level is not Level.EXACT
        ]
        if len(covers) > MAX_COVERING:
            raise MappingLineError(covers[-1].index, f"more than {MAX_COVERING} lines that cover many names")
        _refuse_merges(lines, covers)
        return PrincipalMapping(source, MappingProxyType(names), tuple(covers))

    def resolve(self, entry: str) -> PrincipalId | None:
        """Principal of an entry that a data owner wrote; None for a native name that means nobody.

        Raises:
            PolicyError: the entry has a canonical prefix but not the canonical form.
        """
        if ids.is_canonical(entry):
            return ids.principal_id(entry)
        return self.look_up(named(native_name(entry))).principal

    def look_up(self, native: NativePrincipal) -> Resolution:
        """Whom a name of the source means. A name that reads like a canonical principal means nobody."""
        try:
            name = native_name(native.name)
        except ValueError:
            return Resolution(None, Why.MALFORMED)
        if ids.is_canonical(name):
            return Resolution(None, Why.MALFORMED)
        exact = self.names.get(name)
        if native.broad or is_broad(name):
            return Resolution(exact, None if exact is not None else Why.UNMAPPED)
        hits, firm = ([], False) if exact is None else ([exact], True)
        why = Why.UNMAPPED
        for cover in self.covers:
            found = cover.find(native)
            if isinstance(found, Gone):
                why = Why(found.value)
            elif found is not None:
                hits.append(found)
                firm = firm or not cover.doubts(native, found)
        distinct = tuple(sorted(set(hits)))
        if len(distinct) > 1:
            return Resolution(None, Why.AMBIGUOUS, distinct)
        who = next(iter(distinct), None)
        if who is None:
            return Resolution(None, why)
        return Resolution(who) if firm else Resolution(None, Why.OTHER_IDENTIFIER)


def is_broad(name: str) -> bool:
    """Whether a name is known to mean everyone-like groups, whatever its reader says of it."""
    kind, _, value = name.partition(":")
    if kind == "sid":
        return value.upper() in BROAD_SIDS or _DOMAIN_WIDE_SID.fullmatch(value.upper()) is not None
    return kind in BROAD_KINDS


def named(name: str) -> NativePrincipal:
    """A name that somebody wrote down, with what its form says: an address, an identifier."""
    kind, _, value = name.partition(":")
    if kind in _OBJECT_KINDS:
        return NativePrincipal(name, object_id=value)
    address = value if kind in _MAIL_KINDS else name
    return NativePrincipal(name, mail=address.lower() if _MAIL.fullmatch(address) else None)


def of_its_kind(native: NativePrincipal, found: PrincipalId | Gone | None) -> PrincipalId | Gone | None:
    """What the directory has under a name, unless the one is a group and the other is none."""
    kind = native.name.partition(":")[0]
    if found is None or isinstance(found, Gone) or not kind.endswith(_WITH_KIND):
        return found
    return found if kind.endswith("-group") == found.startswith(_GROUP) else None


def identifier_aliases(native: NativePrincipal) -> tuple[str, ...]:
    """Aliases by which a directory may know a name that carries an identifier."""
    kind, _, value = native.name.partition(":")
    sid = (f"{SID}:{value}",) if kind == SID else ()
    return sid if native.object_id is None else (*sid, f"{OBJECT}:{native.object_id}")


def _exact(lines: Sequence[PrincipalEntry]) -> dict[str, PrincipalId]:
    names: dict[str, PrincipalId] = {}
    unmerged: dict[PrincipalId, str] = {}
    for index, line in enumerate(lines):
        if line.native is None:
            continue
        native, principal = line.native, line.fixed
        if ids.is_canonical(native):
            raise MappingLineError(
                index, f"{native!r} reads like a canonical principal, not like a native name"
            )
        if native in names:
            raise MappingLineError(index, f"the native name {native!r} occurs twice")
        names[native] = principal
        if not line.merge:
            if principal in unmerged:
                other = unmerged[principal]
                raise MappingLineError(
                    index, f"{other!r} and {native!r} are both {principal}; if so, say merge: true"
                )
            unmerged[principal] = native
    return names


def _cover(
    index: int, line: PrincipalEntry, known: KnownNames, read_table: Callable[[str], bytes] | None
) -> _Cover:
    if line.pattern is not None:
        pattern = line.named
        if pattern.joins and not line.merge:
            raise MappingLineError(
                index,
                "the pattern may join several names to one principal; if that is meant, say merge: true",
            )

        def by_pattern(native: NativePrincipal) -> _Found:
            return pattern.resolve(native_name(native.name))

        return _Cover(index, line, by_pattern, _never, pattern.may_name, pattern=pattern)
    if line.mail_domain is not None:
        ending = f"@{line.mail_domain}"

        def by_mail(native: NativePrincipal) -> _Found:
            if native.mail is None or not native.mail.lower().endswith(ending):
                return None
            return of_its_kind(native, known.find(f"{MAIL}:{native.mail}"))

        def doubts(native: NativePrincipal, principal: PrincipalId) -> bool:
            return known.contradict(principal, identifier_aliases(native))

        return _Cover(index, line, by_mail, doubts, _not_everyone)
    prefix, choice = (SID, line.sid_table) if line.sid_table is not None else (OBJECT, line.object_ids)
    if isinstance(choice, str):
        return _from_table(index, line, prefix, choice, read_table)

    def by_identifier(native: NativePrincipal) -> _Found:
        alias = next((x for x in identifier_aliases(native) if x.startswith(f"{prefix}:")), None)
        return None if alias is None else of_its_kind(native, known.find(alias))

    return _Cover(index, line, by_identifier, _never, _not_everyone)


def _from_table(
    index: int, line: PrincipalEntry, prefix: str, file: str, read_table: Callable[[str], bytes] | None
) -> _Cover:
    if read_table is None:
        raise MappingLineError(index, f"{file}: a table needs a mapping that is a file")
    table = parse_table(read_table(file), file, "sid" if prefix == SID else "object_id")
    if len(set(table.values())) < len(table) and not line.merge:
        raise MappingLineError(index, f"{file} joins several names to one principal; if so, say merge: true")

    def look(native: NativePrincipal) -> _Found:
        alias = next((x for x in identifier_aliases(native) if x.startswith(f"{prefix}:")), None)
        return None if alias is None else table.get(fold(alias.removeprefix(f"{prefix}:")))

    values = frozenset(table.values())
    return _Cover(index, line, look, _never, values.__contains__, values=values)


def _never(native: NativePrincipal, principal: PrincipalId) -> bool:
    del native, principal
    return False


def _not_everyone(principal: PrincipalId) -> bool:
    return principal != EVERYONE


def _refuse_merges(lines: Sequence[PrincipalEntry], covers: Sequence[_Cover]) -> None:
    """Of the lines that may come to one principal, all but one say `merge: true`."""
    open_covers = [x for x in covers if not x.entry.merge]
    for index, line in enumerate(lines):
        if line.native is None or line.merge:
            continue
        for cover in open_covers:
            same_name = cover.pattern is not None and cover.pattern.resolve(line.native) == line.principal
            if not same_name and cover.claims(line.fixed):
                raise MappingLineError(
                    index,
                    f"the {cover.what} line may come to {line.principal} too; if that is meant, say merge: true on"
                    " one of them",
                )
    for number, cover in enumerate(open_covers):
        for other in open_covers[:number]:
            if _may_meet(cover, other):
                raise MappingLineError(
                    cover.index,
                    f"the {other.what} line may come to the same principals; if that is meant, say merge: true",
                )


def _may_meet(one: _Cover, other: _Cover) -> bool:
    if one.values is not None:
        return any(other.claims(x) for x in one.values)
    if other.values is not None:
        return any(one.claims(x) for x in other.values)
    if one.pattern is not None and other.pattern is not None:
        return one.pattern.may_meet(other.pattern)
    if one.pattern is not None or other.pattern is not None:
        fixed = one.pattern or other.pattern
        return fixed is not None and fixed.principal != EVERYONE
    # The directory itself knows which identifiers, or which addresses, are of one person.
    return one.entry.level is not other.entry.level
