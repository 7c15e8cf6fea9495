"""What locks of native names mean, stated once more for tests: naively, over sets."""

from __future__ import annotations

from collections.abc import Collection

from secure_rag.model.ids import Micros
from secure_rag_acl.formats.native import NativeLock, NativePermissions


def may_read(permissions: NativePermissions, names: Collection[str], now: int) -> bool:
    """Whether somebody who holds these native names opens every lock."""
    return len(permissions.locks) > 0 and all(_opens(lock, names, Micros(now)) for lock in permissions.locks)


def _opens(lock: NativeLock, names: Collection[str], now: Micros) -> bool:
    if lock.closed or any(entry.principal.name in names for entry in lock.deny):
        return False
    return any(entry.principal.name in names and now < entry.expires for entry in lock.allow)
