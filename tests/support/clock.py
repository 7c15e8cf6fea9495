"""A clock that stands still until it is moved."""

from __future__ import annotations

from secure_rag.model.ids import Micros
from tests.worlds import NOW


class FixedClock:
    """Implements the Clock port."""

    def __init__(self, at: int = NOW) -> None:
        self.at = at

    def now(self) -> Micros:
        return Micros(self.at)
