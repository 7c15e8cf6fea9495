"""The clock of running programs; tests bring their own."""

from __future__ import annotations

import time

from secure_rag.model.ids import Micros


class SystemClock:
    """Wall clock, UTC."""

    def now(self) -> Micros:
        """Current instant."""
        return Micros(time.time_ns() // 1000)
