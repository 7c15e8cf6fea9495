"""What the list of a security descriptor decides about reading a file.

Windows walks the list in order and stops at the first entry that names somebody in the reader's token and holds
READ_DATA (MS-DTYP 2.5.3.2, for one right bit). A lock knows no order: its denies beat its allows.

Invariants
- Exact where entries of different names stand denies first, as Windows itself writes each level; where an allow
  stands before a deny of another name, whoever is on both is withheld, and that is recorded.
- Of one name only the first entry that decides counts; after an entry for Everyone nothing counts any more; a deny
  that no allow follows denies nobody who would otherwise be let in.
- A condition is never evaluated: an allow under one grants nobody; a deny under one lets nobody pass who is not
  decided before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from secure_rag_acl.formats._sddl_names import (
    EVERYONE,
    OWNER_RIGHTS,
    grants_alone,
    held_by_nobody,
    principal_of,
)
from secure_rag_acl.formats.native import Closure, Narrowing, NativeEntry, NativeLock, NativePrincipal
from secure_rag_acl.formats.sddl import (
    CONDITIONAL_ALLOW,
    CONDITIONAL_DENY,
    NO_READ_UP,
    NULL_DACL,
    PUBLISHED,
    Ace,
    Descriptor,
)

OWNER_MAY_CHANGE: Final = "the owner may change the list and so could let herself in; that is not reading"
ALLOW_BEFORE_DENY: Final = "the source lets in who is allowed by an earlier entry; here the deny comes first"
_MEDIUM_LEVEL: Final = 8192
_NO_ACCOUNTS: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(slots=True)
class _Walk:
    """State of one walk along a list."""

    what: str
    place: str
    owner: str | None
    accounts: Mapping[str, str]
    allow: list[NativeEntry] = field(default_factory=list[NativeEntry])
    deny: list[NativeEntry] = field(default_factory=list[NativeEntry])
    closed: list[Closure] = field(default_factory=list[Closure])
    narrowed: list[Narrowing] = field(default_factory=list[Narrowing])
    waiting: list[NativeEntry] = field(default_factory=list[NativeEntry])
    """Denies that no allow follows yet."""
    barrier: Closure | None = None
    """The first deny of nobody knows whom; who comes after it is not let in."""
    decided: set[str] = field(default_factory=set[str])

    def place_of(self, ace: Ace) -> str:
        return f"{self.place} ace {ace.number}"

    def entry(self, ace: Ace, sid: str) -> NativeEntry:
        return NativeEntry(principal_of(sid, self.accounts.get(sid)), ace.text, self.place_of(ace))

    def narrow(self, ace: Ace, why: str) -> None:
        self.narrowed.append(Narrowing(ace.text, self.place_of(ace), why))


def lock_of(
    descriptor: Descriptor,
    what: str,
    place: str,
    *,
    owner_matters: bool = True,
    accounts: Mapping[str, str] = _NO_ACCOUNTS,
) -> tuple[NativeLock, tuple[Narrowing, ...]] | None:
    """The lock that a descriptor puts on reading; None when it does not say who may (no DACL in the text).

    Args:
        descriptor: as parsed.
        what: the lock's description.
        place: where the descriptor stands; entries add `ace N`.
        owner_matters: record that an owner could give herself access.
        accounts: names for people to read, by identifier.
    """
    dacl = descriptor.dacl
    if dacl is None:
        return None
    walk = _Walk(what, place, descriptor.owner, accounts)
    for ace in (*dacl.aces, *(descriptor.sacl.aces if descriptor.sacl is not None else ())):
        _restrict(walk, ace)
    if dacl.null:
        walk.allow.append(NativeEntry(principal_of(EVERYONE), f"D:{NULL_DACL}", place))
    for ace in dacl.aces:
        if not _step(walk, ace):
            break
    if owner_matters:
        _owner(walk, descriptor)
    return NativeLock(what, tuple(walk.allow), tuple(walk.deny), tuple(walk.closed)), tuple(walk.narrowed)


def _step(walk: _Walk, ace: Ace) -> bool:
    """Take one entry in; False when no later one can decide anything."""
    if ace.inherit_only or ace.may_read is False:
        return True
    if ace.kind in CONDITIONAL_ALLOW or ace.kind in {"A", "OA"}:
        return _allow(walk, ace)
    if ace.kind in {"D", "OD", CONDITIONAL_DENY}:
        return _deny(walk, ace)
    return True


def _sid(walk: _Walk, ace: Ace) -> str | None:
    return walk.owner if ace.sid == OWNER_RIGHTS else ace.sid


def _allow(walk: _Walk, ace: Ace) -> bool:
    sid = _sid(walk, ace)
    if sid is not None and (held_by_nobody(sid) or not grants_alone(sid) or sid in walk.decided):
        return True
    why = _why_no_grant(ace, sid)
    if sid is None or why is not None:
        walk.narrow(ace, why or "")
        return True
    if walk.barrier is not None:
        if walk.allow:
            walk.narrowed.append(Narrowing(walk.barrier.entry, walk.barrier.place, walk.barrier.why))
        else:
            walk.closed.append(walk.barrier)
        walk.narrow(ace, "stands after a deny that cannot be told to spare anybody")
        return False
    if walk.allow:
        walk.narrowed.extend(Narrowing(x.entry, x.place, ALLOW_BEFORE_DENY) for x in walk.waiting)
    walk.deny.extend(walk.waiting)
    walk.waiting.clear()
    walk.allow.append(walk.entry(ace, sid))
    walk.decided.add(sid)
    return sid != EVERYONE


def _why_no_grant(ace: Ace, sid: str | None) -> str | None:
    if ace.kind in CONDITIONAL_ALLOW:
        return "a conditional allow grants nobody: its condition is not evaluated"
    if ace.kind == "OA":
        return "an allow for a kind of directory object grants nobody a file"
    if ace.may_read is None:
        return "rights that are not published grant nothing"
    if sid is None:
        return (
            "the export does not say who the owner is" if ace.sid is not None else "an unknown account token"
        )
    return None


def _deny(walk: _Walk, ace: Ace) -> bool:
    sid = _sid(walk, ace)
    if sid is not None and (held_by_nobody(sid) or sid in walk.decided):
        return True
    if ace.kind == CONDITIONAL_DENY or sid is None:
        if walk.barrier is None:
            why = "a conditional deny" if sid is not None else "a deny of somebody unknown"
            walk.barrier = Closure(ace.text, walk.place_of(ace), f"{why}: whom it spares cannot be told")
        return True
    if ace.may_read is None or ace.of_object or not grants_alone(sid):
        walk.narrow(
            ace, "a deny that perhaps does not concern a person who reads a file is taken as one that does"
        )
    walk.waiting.append(walk.entry(ace, sid))
    walk.decided.add(sid)
    if sid == EVERYONE and not walk.allow:
        walk.closed.append(Closure(ace.text, walk.place_of(ace), "denies everybody"))
    return sid != EVERYONE


def _restrict(walk: _Walk, ace: Ace) -> None:
    """Close the lock for entries that restrict whatever the order is."""
    why = None if ace.inherit_only else _restriction(ace)
    if why is not None:
        walk.closed.append(Closure(ace.text, walk.place_of(ace), why))
        walk.narrow(ace, why)


def _restriction(ace: Ace) -> str | None:
    if ace.kind not in PUBLISHED:
        return "an entry of a type that is not published may deny"
    if ace.kind == "SP":
        return "a central access policy applies, and its rules are not in the export"
    if ace.kind == "FL":
        return "an access filter applies, and its condition is not evaluated"
    if ace.kind == "TL" and ace.may_read is not True:
        return "only trusted processes may read"
    if ace.kind == "ML" and (ace.rights is None or ace.rights & NO_READ_UP) and not _is_low(ace.sid):
        return "only processes of a high integrity level may read"
    return None


def _is_low(level: str | None) -> bool:
    prefix, _, number = (level or "").rpartition("-")
    return prefix == "S-1-16" and int(number) <= _MEDIUM_LEVEL


def _owner(walk: _Walk, descriptor: Descriptor) -> None:
    """Record that the owner holds WRITE_DAC without an entry, unless one for OWNER RIGHTS replaces that."""
    dacl, owner = descriptor.dacl, descriptor.owner
    if owner is None or dacl is None or dacl.null:
        return
    if any(x.sid == OWNER_RIGHTS and not x.inherit_only for x in dacl.aces):
        return
    name: NativePrincipal = principal_of(owner)
    if not any(x.principal.name in {name.name, f"sid:{EVERYONE}"} for x in walk.allow):
        walk.narrowed.append(Narrowing(f"O:{owner}", walk.place, OWNER_MAY_CHANGE))
