"""What a source says about one item, with names resolved: the way from mappings to locks.

`Origin.lock` numbers the locks of the value that carries it: in `MappedPermissions` the mapped locks, in a stored
document the locks of its class in canonical order. `canonical_origins` turns the one into the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from secure_rag.errors import PolicyError
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.locks import Lock, canonical_locks

ALLOW: Final = "allow"
DENY: Final = "deny"
NARROWER: Final = "narrower_than_source"
"""Name under which findings keep what is narrower than the source."""
_FIELDS: Final = (4, 5)


@dataclass(frozen=True, slots=True)
class MappedLock:
    """One lock before interning. An unmapped allow is absent here; an unmapped deny sets `unresolved_deny`."""

    allow: tuple[tuple[PrincipalId, Micros], ...]
    deny: tuple[PrincipalId, ...] = ()
    unresolved_deny: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Which entry of the source put a principal on a lock. Kept per document, outside the digest."""

    lock: int
    effect: str
    """`allow` or `deny`."""
    entry: str
    """As the data owner wrote it."""
    place: str
    """`file:line`."""
    principal: str = field(default="", compare=False)
    """Whom the entry means; empty when it means nobody, or was recorded by a release that did not keep it."""


@dataclass(frozen=True, slots=True)
class UnresolvedName:
    """A native name that the mapping does not know."""

    name: str
    effect: str


@dataclass(frozen=True, slots=True)
class Narrowed:
    """An entry of the source through which it may admit somebody whom the locks do not."""

    entry: str
    """As the source has it."""
    place: str
    why: str


@dataclass(frozen=True, slots=True)
class MappedPermissions:
    """What guards one item. There is always a lock; without a matching rule it opens for nobody.

    `labels` are the names that the mapping rule and the sidecar give; the highest counts, since a sidecar may only
    raise (an authoritative sidecar's label stands alone). Empty means the default of the source, then of the taxonomy.
    `default_counts` says that this default is one of the labels too: a sidecar raises above it, never lowers.
    `narrowed` is for reports: where these locks are narrower than the source.
    """

    locks: tuple[MappedLock, ...]
    labels: tuple[str, ...]
    compartments: tuple[str, ...]
    origins: tuple[Origin, ...]
    unresolved: tuple[UnresolvedName, ...]
    default_counts: bool = False
    narrowed: tuple[Narrowed, ...] = ()


def canonical_origins(locks: Sequence[Lock], origins: Iterable[Origin]) -> tuple[Origin, ...]:
    """Origins renumbered from the mapped locks to the canonical locks of the class they became."""
    place = {lock: number for number, lock in enumerate(canonical_locks(locks))}
    renumbered = (replace(x, lock=place[locks[x.lock]]) for x in origins)
    return tuple(sorted(renumbered, key=lambda x: (x.lock, x.effect, x.entry, x.place)))


def origins_to_json(origins: Iterable[Origin]) -> str:
    """Stored form: a list of `[lock, effect, entry, place]`, with the principal last where there is one."""
    rows = [[x.lock, x.effect, x.entry, x.place, *([x.principal] if x.principal else [])] for x in origins]
    return json.dumps(rows, separators=(",", ":"))


def origins_from_json(stored: str) -> tuple[Origin, ...]:
    """Inverse of `origins_to_json`.

    Raises:
        PolicyError: the stored text is damaged.
    """
    try:
        return tuple(_origin(item) for item in json.loads(stored))
    except (ValueError, TypeError) as error:
        raise PolicyError("stored origins cannot be read") from error


def _origin(item: object) -> Origin:
    if not isinstance(item, list) or len(item) not in _FIELDS:
        raise PolicyError("stored origins cannot be read")
    lock, *texts = item
    if type(lock) is not int or not all(isinstance(x, str) for x in texts):
        raise PolicyError("stored origins cannot be read")
    return Origin(lock, *texts)
