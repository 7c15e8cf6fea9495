"""Nesting of groups: no cycles, and not deeper than a directory can mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAX_DEPTH: Final = 64
"""Casbin's own role manager stops at ten levels and loses a deny without a word; we refuse instead."""


def nesting_problem(links: Iterable[tuple[str, str]]) -> str | None:
    """What is wrong with (member, group) links between groups; None when nothing is.

    Walks without recursion, so that a long chain is refused rather than overflowing the stack.
    """
    parents: dict[str, list[str]] = {}
    for member, group in links:
        parents.setdefault(member, []).append(group)
    height: dict[str, int] = {}
    for start in sorted(parents):
        path: list[str] = [start]
        pending = [iter(sorted(parents[start]))]
        while pending:
            above = next(pending[-1], None)
            if above is None:
                done = path.pop()
                pending.pop()
                height[done] = 1 + max((height.get(x, 1) for x in parents.get(done, ())), default=0)
                if height[done] > MAX_DEPTH:
                    return f"groups are nested deeper than {MAX_DEPTH} levels, above {done}"
            elif above in path:
                return "groups contain each other: " + " in ".join([*path[path.index(above) :], above])
            elif above not in height:
                if len(path) >= MAX_DEPTH:
                    return f"groups are nested deeper than {MAX_DEPTH} levels, above {start}"
                path.append(above)
                pending.append(iter(sorted(parents.get(above, ()))))
    return None
