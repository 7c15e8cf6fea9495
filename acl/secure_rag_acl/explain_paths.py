"""Through which groups somebody is in a group: shortest ways in one view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_rag.database.access_facts import links_above
from secure_rag.model.ids import PrincipalKey, TenantKey

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView


class Paths:
    """Ways from one principal to every group that it is in, breadth first; among equals the one of the older groups."""

    def __init__(self, view: ReadView, tenant: TenantKey, start: PrincipalKey) -> None:
        self._start = start
        self._below: dict[PrincipalKey, PrincipalKey] = {}
        seen, edge = {start}, {start}
        while edge:
            reached: set[PrincipalKey] = set()
            for member, group in links_above(view, tenant, edge):
                if group not in seen:
                    seen.add(group)
                    reached.add(group)
                    self._below[group] = member
            edge = reached

    def to(self, target: PrincipalKey) -> tuple[PrincipalKey, ...]:
        """From the principal to a group, both included; empty when it is not in it."""
        way = [target]
        while way[-1] in self._below:
            way.append(self._below[way[-1]])
        return tuple(reversed(way)) if way[-1] == self._start else ()
