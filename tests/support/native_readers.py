"""What locks of native names mean, stated once more for tests: naively, over sets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from secure_rag.model.ids import Micros
from secure_rag_acl.formats.native import NativeLock, NativePermissions


def may_read(permissions: NativePermissions, names: Collection[str], now: int) -> bool:
    """Whether somebody who holds these native names opens every lock."""
    return len(permissions.locks) > 0 and all(_opens(lock, names, Micros(now)) for lock in permissions.locks)


def _opens(lock: NativeLock, names: Collection[str], now: Micros) -> bool:
    if lock.closed or any(entry.principal.name in names for entry in lock.deny):
        return False
    return any(entry.principal.name in names and now < entry.expires for entry in lock.allow)


def count_differences(
    worlds: Any, read: Callable[..., object], rng: random.Random, seen: Counter[str]
) -> None:
    """Ours is never wider than the source and equal unless it says narrower, also with names unmapped; counted.

    `worlds` is a module with `PEOPLE`, `world` and `differences`, such as `tests.support.posix_worlds`.
    """
    things = worlds.world(rng)
    names = sorted(set().union(*(person.names() for person in worlds.PEOPLE)))
    mapped = {x for x in names if rng.random() < 0.8}
    for person, theirs, ours, found in worlds.differences(read, things):
        assert theirs or not ours, (person, found)
        assert found.narrowed or ours is theirs, (person, found)
        seen["all"] += 1
        seen["allowed"] += ours
        seen["narrowed"] += ours is not theirs
        denied = any(x.principal.name in person.names() for lock in found.locks for x in lock.deny)
        seen["denied by an entry"] += denied
        # What the data owner has not mapped grants nothing, and closes where it is denied.
        unmapped_deny = any(x.principal.name not in mapped for lock in found.locks for x in lock.deny)
        if not unmapped_deny and may_read(found, person.names() & mapped, 0):
            assert theirs, (person, mapped, found)
            seen["allowed with few names mapped"] += 1
