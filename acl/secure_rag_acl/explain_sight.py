"""What the reader of an explanation may be told: names by right, never everything with holes cut into it.

Invariants
- Every principal in an explanation gets its name from `Names`, which knows who may be named to this reader.
- Whoever explains a document of her source sees its own entries, and whom she asked about; nobody else.
- What a person holds takes the right to act as her; who is in a group, and through what, the right to expand it.
- Roles are read as of now, whatever instant is explained. Only operators of the home have the roles of the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.database.document_facts import principal_names
from secure_rag.model.ids import PrincipalId, PrincipalKey, SourceKey, TenantKey
from secure_rag_acl.management import Action, ManagementPolicy, Manager, manager

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

UNNAMED: Final = "(not shown)"
"""Stands for a principal that the reader may not be told of."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody may be told about one source.

    Attributes:
        act_as: what the subject holds: clearance, compartments, limits of hops, revocations elsewhere.
        expand: who is in which group, and the groups in between.
    """

    act_as: bool
    expand: bool


FULL: Final = Sight(act_as=True, expand=True)


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads explanations, with the roles held in one view."""

    policy: ManagementPolicy
    manager: Manager

    def may_explain(self, source: SourceKey) -> bool:
        """Whether documents of a source may be explained to this reader at all."""
        return self.policy.may(self.manager, Action.EXPLAIN, source)

    def may_act_as(self, subject: PrincipalId | None, source: SourceKey | None) -> bool:
        """Whether the reader may be told what a subject holds. Everybody may be told of herself."""
        own = subject is not None and subject == self.manager.principal
        return own or self.policy.may(self.manager, Action.ACT_AS, source)

    def sight(self, subject: PrincipalId | None, source: SourceKey) -> Sight:
        """What may be told of a subject and a document of a source."""
        return Sight(
            act_as=self.may_act_as(subject, source),
            expand=self.policy.may(self.manager, Action.MEMBERS_EXPAND, source),
        )


def reader(
    view: ReadView, tenant: TenantKey, principal: PrincipalId, policy: ManagementPolicy, *, operator: bool
) -> Reader:
    """The reader as this view shows her.

    Args:
        view: of now.
        tenant: whose.
        principal: authenticated.
        policy: of the management plane.
        operator: whether she works on the host; while nobody was given a role, nobody else manages anything.
    """
    if not operator and not view.roles_were_assigned(tenant):
        return Reader(policy, Manager(principal, frozenset()))
    return Reader(policy, manager(view, tenant, principal))


class Names:
    """Names of principals, as far as the reader may be told."""

    def __init__(
        self, view: ReadView, tenant: TenantKey, sight: Sight, visible: Iterable[PrincipalKey]
    ) -> None:
        """`visible` are named to whoever explains: the document's own entries and whom she asked about."""
        self._view, self._tenant, self._sight = view, tenant, sight
        self._visible = frozenset(visible)
        self._names: dict[PrincipalKey, str] = {}

    def load(self, keys: Iterable[PrincipalKey]) -> None:
        """Read many names at once."""
        wanted = [key for key in keys if key not in self._names and self.shows(key)]
        if wanted:
            self._names.update(principal_names(self._view, self._tenant, wanted))

    def shows(self, key: PrincipalKey) -> bool:
        """Whether this principal may be named."""
        return self._sight.expand or key in self._visible

    def of(self, key: PrincipalKey) -> str:
        """Name of a principal, or that it is not shown."""
        if not self.shows(key):
            return UNNAMED
        self.load((key,))
        return self._names.get(key, UNNAMED)

    def sorted(self, keys: Iterable[PrincipalKey]) -> list[str]:
        """Names of several, in order."""
        known = tuple(keys)
        self.load(known)
        return sorted(self.of(key) for key in known)
