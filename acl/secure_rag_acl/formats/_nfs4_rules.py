"""NFSv4 access lists (RFC 7530, section 6): the first entry that matches the reader and names the right decides.

Locks know no order: their denies always win. What needs no order comes out exactly: entries after the first for
one name, after everyone, and denies that nobody admitted later could meet are left out. Where a group is denied
after an entry that admits some of its members, those members are kept out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secure_rag_acl.formats._folder_locks import Guard
from secure_rag_acl.formats.native import Closure, Narrowing, NativeEntry, NativeLock, NativePrincipal

EVERYONE: Final = NativePrincipal("nfs4-everyone", broad=True)
_LATER: Final = "a deny after an allow: whom both name is kept out"
_UNKNOWN_ALLOW: Final = "nobody knows whom it names, or when it applies: it grants nothing"
_UNKNOWN_DENY: Final = "nobody knows whom it denies: no later entry grants anything"


@dataclass(frozen=True, slots=True)
class Step:
    """One entry that bears on the right in question.

    Attributes:
        allows: it grants, or else refuses.
        principal: whom; None when the source cannot say.
        entry: as written.
        place: where.
    """

    allows: bool
    principal: NativePrincipal | None
    entry: str
    place: str


def guard(steps: Sequence[Step], what: str) -> Guard:
    """Whom an ordered list admits, as one lock."""
    kept, narrowed, closed = _effective(steps)
    kept = [x for n, x in enumerate(kept) if x[0].allows or _meets_later(x, kept[n + 1 :])]
    for number, (step, name) in enumerate(kept):
        if not step.allows and any(
            earlier.allows and _may_share(other, name) for earlier, other in kept[:number]
        ):
            narrowed.append(Narrowing(step.entry, step.place, _LATER))
    allow = tuple(NativeEntry(name, step.entry, step.place) for step, name in kept if step.allows)
    deny = tuple(NativeEntry(name, step.entry, step.place) for step, name in kept if not step.allows)
    return Guard(NativeLock(what, allow, deny, () if allow else tuple(closed)), tuple(narrowed))


_Named = tuple[Step, NativePrincipal]


def _effective(steps: Sequence[Step]) -> tuple[list[_Named], list[Narrowing], list[Closure]]:
    """Entries that can be the first for somebody, up to the one that decides for all who are left."""
    kept: list[_Named] = []
    narrowed: list[Narrowing] = []
    seen = set[str]()
    for number, step in enumerate(steps):
        if step.principal is None and step.allows:
            narrowed.append(Narrowing(step.entry, step.place, _UNKNOWN_ALLOW))
        elif step.principal is None:
            if not any(x.allows for x in steps[number + 1 :]):
                continue
            narrowed.append(Narrowing(step.entry, step.place, _UNKNOWN_DENY))
            return kept, narrowed, [Closure(step.entry, step.place, _UNKNOWN_DENY)]
        elif step.principal.name not in seen:
            seen.add(step.principal.name)
            if step.principal == EVERYONE and not step.allows:
                break
            kept.append((step, step.principal))
            if step.principal == EVERYONE:
                break
    return kept, narrowed, []


def _meets_later(denied: _Named, later: Sequence[_Named]) -> bool:
    return any(step.allows and _may_share(name, denied[1]) for step, name in later)


def _may_share(one: NativePrincipal, other: NativePrincipal) -> bool:
    """Whether somebody may hold both names. One account has one user name, unless one is a bare number."""
    kinds = [x.name.startswith("nfs4-user:") for x in (one, other)]
    return one.name == other.name or not all(kinds) or ("@" in one.name) is not ("@" in other.name)
