"""Everything that one explanation looks at, read in one view."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from secure_rag.database.access_facts import HeldRevocation, held_revocations
from secure_rag.database.document_facts import DocumentFacts
from secure_rag.database.subjects import PrincipalRow
from secure_rag.model.ids import Micros, PrincipalKey, PrincipalKind, TenantKey
from secure_rag.model.locks import AclClass
from secure_rag.model.permissions import Origin
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag_acl.explain_account import SourceEntry
from secure_rag_acl.explain_paths import Paths
from secure_rag_acl.explain_sight import Names, Sight

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

TRIES: Final = 20
"""Groups that are looked at for one that a subject could join; the line of the list is named in any case."""


@dataclass(slots=True)
class Case:
    """One document, one subject, one instant.

    Attributes:
        view: as of the instant that is explained.
        identity: who asks for whom.
        subject: as that view has it.
        facts: of the document, as they are now.
        cls: what guarded the document at that instant; None when nothing did.
        past: whether the instant is earlier than now.
        names: how principals are named to the reader.
    """

    view: ReadView
    tenant: TenantKey
    identity: CallerIdentity
    subject: Subject
    facts: DocumentFacts
    cls: AclClass | None
    past: bool
    sight: Sight
    names: Names
    _paths: dict[PrincipalKey, Paths] = field(default_factory=dict[PrincipalKey, Paths])
    _revocations: list[HeldRevocation] | None = None
    _origins: dict[tuple[int, str, str], list[SourceEntry]] | None = None

    @property
    def now(self) -> Micros:
        """The instant that is explained."""
        return self.view.now

    def path(self, start: PrincipalKey, target: PrincipalKey) -> tuple[str, ...]:
        """Names from a principal up to a group, or to `everyone`; groups in between only if they may be shown."""
        if target == self.subject.everyone and start != target:
            keys: tuple[PrincipalKey, ...] = (start, target)
        else:
            if start not in self._paths:
                self._paths[start] = Paths(self.view, self.tenant, start)
            keys = self._paths[start].to(target)
        return tuple(self.names.of(key) for key in keys)

    def origins(self, lock: int, effect: str, principal: str) -> tuple[SourceEntry, ...]:
        """The source entries that put somebody on a list; those that mean nobody for an empty name."""
        if self._origins is None:
            self._origins = _by_principal(self.facts.origins, self._own_origins())
        return tuple(dict.fromkeys(self._origins.get((lock, effect, principal), ())))

    def lists(self, lock: int, effect: str) -> tuple[str, ...]:
        """Where in the source a list of a lock is written."""
        places = [x.place for x in self._own_origins() if x.lock == lock and x.effect == effect]
        return tuple(dict.fromkeys(places))

    def _own_origins(self) -> Iterable[Origin]:
        """Origins are kept of the present class only."""
        same = self.cls is not None and self.cls.key == self.facts.class_key
        return self.facts.origins if same else ()

    def revocations(self) -> list[HeldRevocation]:
        """Revocations that hold for the subject or a hop, whatever they are of."""
        if self._revocations is None:
            subject = self.subject
            involved = subject.closure.union(*(hop.closure for hop in subject.hops))
            hit = involved | subject.uncertain | {subject.everyone}
            held = held_revocations(self.view, self.tenant)
            self._revocations = [x for x in held if x.principal is None or x.principal in hit]
        return self._revocations

    def principal(self, key: PrincipalKey) -> PrincipalRow | None:
        """The directory's row of a principal."""
        return self.view._by_key(self.tenant, key)

    def is_group(self, key: PrincipalKey) -> bool:
        """Whether somebody could join this principal."""
        row = self.principal(key)
        return row is not None and row.kind == PrincipalKind.GROUP.value and row.active


def _by_principal(
    known: Iterable[Origin], own: Iterable[Origin]
) -> dict[tuple[int, str, str], list[SourceEntry]]:
    """Entries by lock, effect and whom they mean. A list may have tens of thousands: it is gone through once."""
    recorded = any(x.principal for x in known)
    found: dict[tuple[int, str, str], list[SourceEntry]] = {}
    for x in own:
        # Recorded before origins said whom they mean: a canonical entry says so itself.
        meant = {x.principal} if recorded else {x.principal, x.entry}
        for name in meant:
            found.setdefault((x.lock, x.effect, name), []).append(SourceEntry(x.entry, x.place))
    return found
