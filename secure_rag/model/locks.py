"""Locks and classes: what guards a document.

Invariants
- A lock opens for a subject in its allow list, unless a deny applies; an empty allow list opens for nobody.
- A principal that the directory does not know for certain closes every lock whose deny list names it.
- A class opens only if every one of its locks opens, and it has at least one (`all(())` is true!).
- Both are immutable and interned by digest; a class id never gets another meaning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from secure_rag.errors import PolicyError
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalKey,
    SourceKey,
    TenantKey,
    to_minute,
)
from secure_rag.model.labels import Trust

MAX_LOCKS = 64
"""A lock for each restricted folder above a file; sources nest deep."""
NOT_INTERNED = ClassKey(0)
MAX_LOCK_ENTRIES = 200_000


@dataclass(frozen=True, slots=True)
class Lock:
    """One allow list and one deny list.

    Attributes:
        allow: principals with the instant (exclusive, whole minutes) at which the entry ends, or `NEVER`.
        deny: principals; a deny never expires.
        unresolved_deny: a deny entry named somebody that could not be mapped; nobody opens this lock.
    """

    allow: frozenset[tuple[PrincipalKey, Micros]]
    deny: frozenset[PrincipalKey] = frozenset()
    unresolved_deny: bool = False

    @staticmethod
    def of(
        allow: Iterable[tuple[PrincipalKey, Micros]],
        deny: Iterable[PrincipalKey] = (),
        *,
        unresolved_deny: bool = False,
    ) -> Lock:
        """Canonical form: minutes, and of one principal's entries only the one that ends last.

        Raises:
            PolicyError: more entries than `MAX_LOCK_ENTRIES`; nothing is cut off.
        """
        latest: dict[PrincipalKey, Micros] = {}
        for principal, expires in allow:
            latest[principal] = max(latest.get(principal, Micros(0)), to_minute(expires))
        lock = Lock(frozenset(latest.items()), frozenset(deny), unresolved_deny)
        if len(lock.allow) + len(lock.deny) > MAX_LOCK_ENTRIES:
            raise PolicyError(f"a lock has more than {MAX_LOCK_ENTRIES} entries")
        return lock

    def body(self) -> str:
        """Canonical JSON, the input of the digest."""
        return json.dumps(
            {
                "allow": [[p, t if t < NEVER else None] for p, t in sorted(self.allow)],
                "deny": sorted(self.deny),
                "unresolved_deny": self.unresolved_deny,
            },
            separators=(",", ":"),
            sort_keys=True,
        )

    @staticmethod
    def from_body(body: str) -> Lock:
        """Inverse of `body`.

        Raises:
            PolicyError: the stored body is damaged.
        """
        try:
            raw = json.loads(body)
            if set(raw) != {"allow", "deny", "unresolved_deny"} or type(raw["unresolved_deny"]) is not bool:
                raise PolicyError("a stored lock has unexpected fields")
            allow = frozenset(
                (PrincipalKey(_integer(p)), NEVER if t is None else Micros(_integer(t)))
                for p, t in raw["allow"]
            )
            return Lock(
                allow, frozenset(PrincipalKey(_integer(p)) for p in raw["deny"]), raw["unresolved_deny"]
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PolicyError("a stored lock cannot be read") from error


@dataclass(frozen=True, slots=True)
class AclClass:
    """Everything that decides who may read a document, apart from the reader. `key` is 0 until it is interned.

    Raises:
        PolicyError: no lock, or more than `MAX_LOCKS`.
    """

    tenant: TenantKey
    locks: tuple[Lock, ...]
    label: LabelId
    compartments: frozenset[Compartment]
    trust: Trust
    source: SourceKey
    key: ClassKey = NOT_INTERNED

    def __post_init__(self) -> None:
        if not self.locks:
            raise PolicyError("a class needs at least one lock")
        if len(self.locks) > MAX_LOCKS:
            raise PolicyError(f"a class has more than {MAX_LOCKS} locks")


def lock_digest(lock: Lock) -> bytes:
    """SHA-256 of the canonical body."""
    return hashlib.sha256(lock.body().encode("utf-8")).digest()


def class_digest(cls: AclClass) -> bytes:
    """SHA-256 over tenant, the set of lock digests, label, compartments, trust and source (not the key)."""
    head = json.dumps(
        [cls.tenant, cls.label, sorted(cls.compartments), cls.trust.value, cls.source], separators=(",", ":")
    )
    return hashlib.sha256(
        head.encode("utf-8") + b"".join(sorted({lock_digest(x) for x in cls.locks}))
    ).digest()


def canonical_locks(locks: Iterable[Lock]) -> tuple[Lock, ...]:
    """Without duplicates, in digest order."""
    return tuple(sorted(dict.fromkeys(locks), key=lock_digest))


def _integer(value: object) -> int:
    if type(value) is not int:
        raise PolicyError("a stored lock holds something that is not an integer")
    return value
