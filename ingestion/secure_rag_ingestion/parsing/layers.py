"""The walls of the sandbox as seen from outside: which hold, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """One wall.

    Attributes:
        name: `landlock`, `seccomp`, ….
        holds: it is up.
        note: version or error, for a person.
    """

    name: str
    holds: bool
    note: str = ""


def unmet(require: Iterable[str], layers: Iterable[Layer]) -> list[str]:
    """Requirements that do not hold; `seccomp|netns` asks for one of the two."""
    up = {layer.name for layer in layers if layer.holds}
    return sorted(need for need in require if not up.intersection(need.split("|")))
