"""How often one caller may ask for one subject. Comes before audit, so that asking cannot fill the audit log."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from secure_rag.model.subject import CallerIdentity
from secure_rag.ports import Clock

_MICROS: Final = 1_000_000
CALLER_FACTOR: Final = 20
"""A caller's requests for all its subjects together, in multiples of what it may ask for one."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: int


class _Buckets:
    """Token buckets of one rate, a bounded number of them."""

    def __init__(self, per_minute: int, max_entries: int) -> None:
        self._per_micro = per_minute / 60 / _MICROS
        self._burst = max(1.0, per_minute / 6)
        self._max = max_entries
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()

    def wait_s(self, key: tuple[str, ...], now: int) -> int:
        """Seconds until the key has a token; 0 when it has one. Takes none."""
        bucket = self._buckets.get(key)
        if bucket is None:
            return 0 if self._room(now) else 1
        # A clock that steps back must not refill, nor freeze the bucket until it has caught up.
        elapsed = max(0, now - bucket.at)
        bucket.tokens = min(self._burst, bucket.tokens + elapsed * self._per_micro)
        bucket.at = now
        self._buckets.move_to_end(key)
        missing = 1.0 - bucket.tokens
        return 0 if missing <= 0 else math.ceil(missing / self._per_micro / _MICROS)

    def take(self, key: tuple[str, ...], now: int) -> None:
        """Take a token that `wait_s` has found."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        bucket.tokens -= 1.0

    def _room(self, now: int) -> bool:
        """Make room for one more; only a bucket that is full again may be forgotten, or churn would reset limits."""
        while len(self._buckets) >= self._max:
            key, oldest = next(iter(self._buckets.items()))
            if oldest.tokens + max(0, now - oldest.at) * self._per_micro < self._burst:
                return False
            del self._buckets[key]
        return True


class RateLimiter:
    """Token buckets per caller and subject, and wider ones per caller.

    The second bound what a caller can do by naming ever new delegations, which nobody has vouched for yet. Each
    process counts for itself: with several, the limit is that many times as high.

    Args:
        per_minute: requests of one caller for one subject; a sixth of it may come at once.
        clock: the current time.
        max_entries: buckets kept; with all of them in use, further callers wait.
    """

    def __init__(self, per_minute: int, clock: Clock, *, max_entries: int = 65_536) -> None:
        self._clock = clock
        self._pairs = _Buckets(per_minute, max_entries)
        self._callers = _Buckets(per_minute * CALLER_FACTOR, max_entries)
        self._lock = threading.Lock()

    def wait_s(self, who: CallerIdentity) -> int:
        """Count one request: 0 when it may go on, otherwise whole seconds after which it is worth trying again."""
        caller = (who.tenant, who.caller)
        pair = (*caller, "delegation", who.delegation) if who.delegation else (*caller, str(who.subject))
        with self._lock:
            now = self._clock.now()
            wait = max(self._callers.wait_s(caller, now), self._pairs.wait_s(pair, now))
            if wait == 0:
                self._callers.take(caller, now)
                self._pairs.take(pair, now)
            return wait
