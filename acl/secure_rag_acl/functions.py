"""The named functions that the policy model may call; nothing else is callable from it.

Invariants
- Pure: no I/O, no clock, no global. The instant is a parameter.
- Each returns a bool, and False on the empty strings that Casbin puts in for an empty policy.
- A lock opens for who is allowed and not denied. Being uncertain about somebody in a deny list closes it for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag.model.ids import Micros
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import MAX_HOPS, Hop, Subject

OPEN: Final = "open"
DENIED: Final = "denied"
LOCK_ROWS: Final = frozenset({OPEN, DENIED})


def lock_unresolved(lock: Lock, subject: Subject) -> bool:
    """Whether a deny of this lock names somebody whom nobody knows for certain."""
    return lock.unresolved_deny or not lock.deny.isdisjoint(subject.uncertain)


def lock_denied(lock: Lock, subject: Subject) -> bool:
    """Whether a deny applies: to the subject, to a hop, to everyone, or to somebody uncertain.

    A deny of everyone closes the lock for all, although guests and services are not in everyone: who writes it
    means nobody, and a guest must not be the one who is left.
    """
    return (
        lock_unresolved(lock, subject)
        or subject.everyone in lock.deny
        or not lock.deny.isdisjoint(subject.closure)
        or any(not lock.deny.isdisjoint(hop.closure) for hop in subject.hops)
    )


def lock_opens(lock: Lock, subject: Subject, now: Micros) -> bool:
    """Whether no deny applies and an allow entry of the subject has not ended."""
    return not lock_denied(lock, subject) and any(p in subject.closure and now < t for p, t in lock.allow)


def on_locks(row: str, subject: Subject, cls: AclClass, now: Micros) -> bool:
    """`open`: every lock opens, and there is one. `denied`: a deny applies to some lock.

    Raises:
        PolicyError: a policy row names another check.
    """
    if row == OPEN:
        # all(()) is True: a class without locks would be open to the world.
        return bool(cls.locks) and all(lock_opens(lock, subject, now) for lock in cls.locks)
    if row == DENIED:
        return any(lock_denied(lock, subject) for lock in cls.locks)
    if row == "":
        return False
    raise PolicyError(f"a policy row names an unknown check: {row!r}")


def same_tenant(subject: Subject, cls: AclClass) -> bool:
    """Whether subject and class are of one tenant."""
    return _are(subject, cls) and subject.tenant == cls.tenant


def not_revoked(subject: Subject, cls: AclClass) -> bool:
    """Whether no revocation cuts the subject, or anybody in between, off everything or off the source."""
    return _are(subject, cls) and not subject.revoked and cls.source not in subject.revoked_sources


def dominates(subject: Subject, cls: AclClass) -> bool:
    """Whether the subject's clearance reaches the label of the class."""
    if not _are(subject, cls):
        return False
    taxonomy = subject.taxonomy
    return taxonomy.rank_of_clearance(subject.clearance) >= taxonomy.rank_of_content(cls.label)


def need_to_know(subject: Subject, cls: AclClass) -> bool:
    """Whether the subject is in every compartment of the class."""
    return _are(subject, cls) and cls.compartments <= subject.compartments


def hop_allows(hop: Hop, subject: Subject, action: str, cls: AclClass, now: Micros) -> bool:
    """Whether one hop permits this action on this class for this purpose now."""
    taxonomy = subject.taxonomy
    demanded = taxonomy.rank_of_content(cls.label)
    return (
        action in hop.actions
        and subject.purpose in hop.purposes
        and now < hop.expires
        and cls.source in hop.sources
        and cls.compartments <= hop.compartments
        and bool(hop.ceilings)
        and all(taxonomy.rank_of_clearance(ceiling) >= demanded for ceiling in hop.ceilings)
    )


def hops_allow(subject: Subject, action: str, cls: AclClass, now: Micros) -> bool:
    """Whether there is a hop, there are not too many, and every one of them permits."""
    return (
        _are(subject, cls)
        and 1 <= len(subject.hops) <= MAX_HOPS
        and all(hop_allows(hop, subject, action, cls, now) for hop in subject.hops)
    )


def _are(subject: object, cls: object) -> bool:
    return isinstance(subject, Subject) and isinstance(cls, AclClass)


FUNCTIONS: Final[tuple[Callable[..., bool], ...]] = (
    on_locks,
    same_tenant,
    not_revoked,
    dominates,
    need_to_know,
    hops_allow,
)
