"""Who may read a document: everybody and every agent, exactly, from sets below the lists instead of one by one.

Invariants
- A reader is somebody whom the policy engine allows through some caller; each one shown is decided by the engine anew.
- The person's side of the policy is computed as sets; the hops are asked by the named functions of the policy model.
- Where a set and the engine differ, nothing is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_rag.database.access_facts import (
    HeldDelegation,
    HeldRevocation,
    Standing,
    active_callers,
    held_delegations,
    held_revocations,
    members_below,
    standings,
)
from secure_rag.database.document_facts import DocumentFacts
from secure_rag.database.tables import DocumentState
from secure_rag.errors import PolicyError
from secure_rag.model.ids import EVERYONE, PrincipalId, PrincipalKey, PrincipalKind, TenantKey
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import CallerIdentity, Hop, Subject
from secure_rag.ports import PolicyEngine
from secure_rag.retrieval.authorize import READ, is_stale
from secure_rag_acl import functions as f

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView


@dataclass(frozen=True, slots=True)
class Reads:
    """One reader and the calls through which it may.

    Attributes:
        principal: who gets the content: a person, a service, or the agent that is the last hop.
        on_behalf_of: for whom an agent acts; None for everybody acting for themselves.
        calls: each call that is allowed.
    """

    principal: str
    on_behalf_of: str | None
    calls: tuple[CallerIdentity, ...]

    @property
    def key(self) -> tuple[str, str]:
        """Sort key, unique in a list."""
        return self.principal, self.on_behalf_of or ""


class Readers:
    """The readers of one document in one view."""

    def __init__(
        self,
        view: ReadView,
        engine: PolicyEngine,
        tenant: TenantKey,
        tenant_name: str,
        facts: DocumentFacts,
        purpose: str,
    ) -> None:
        self._view, self._engine, self._tenant = view, engine, tenant
        self._tenant_name, self._purpose, self._facts = tenant_name, purpose, facts
        cls = (
            None if facts.class_key is None else view.classes(tenant, [facts.class_key]).get(facts.class_key)
        )
        self.cls = cls if cls is not None and _served(view, facts) else None
        self.standings = standings(view, tenant) if self.cls is not None else {}
        self.people: frozenset[PrincipalKey] = frozenset()
        self._hops: dict[str, bool] = {}
        if self.cls is not None:
            self._taxonomy = view.taxonomy(tenant)
            everyone = view.principal(tenant, EVERYONE)
            # As in `SubjectReader`: a directory without everyone has no members in it.
            self._everyone = PrincipalKey(0) if everyone is None else everyone.key
            self._has_everyone = everyone is not None
            self._uncertain = view.uncertain(tenant)
            self._cuts = [x for x in held_revocations(view, tenant) if self._about(x)]
            self.people = frozenset(self._open_to(self.cls))

    def all(self) -> list[Reads]:
        """Every reader, in order."""
        found: dict[tuple[str, str], list[CallerIdentity]] = {}
        for who, identity in self._calls():
            on_behalf_of = identity.delegation and who
            principal = identity.caller if identity.delegation else who
            found.setdefault((principal, on_behalf_of or ""), []).append(identity)
        return [Reads(p, behalf or None, tuple(calls)) for (p, behalf), calls in sorted(found.items())]

    def confirm(self, reads: Reads) -> None:
        """Let the engine decide every call of a reader.

        Raises:
            PolicyError: it denies one.
        """
        for identity in reads.calls:
            subject = self._view.subject(self._tenant, identity, self._purpose)
            if not self._allows(subject):
                raise PolicyError("the list of readers and the policy engine do not agree; nothing is listed")

    # ---- calls

    def _calls(self) -> Iterator[tuple[str, CallerIdentity]]:
        """(subject, call) of everything that is allowed."""
        if self.cls is None or not self.people:
            return
        apps = [x for x in active_callers(self._view, self._tenant, PrincipalKind.APP) if self._passes(x)]
        for key in self.people:
            who = self.standings[key]
            name = PrincipalId(who.name)
            callers = apps
            if who.kind == PrincipalKind.AGENT.value:
                callers = [who.name, *apps] if self._passes(who.name) else []
            for caller in callers:
                yield name, CallerIdentity(self._tenant_name, PrincipalId(caller), name)
        for delegation in held_delegations(self._view, self._tenant):
            yield from self._delegated(delegation)

    def _delegated(self, held: HeldDelegation) -> Iterator[tuple[str, CallerIdentity]]:
        agent = self.standings.get(held.agent)
        if held.subject not in self.people or agent is None or not self._passes(agent.name):
            return
        identity = CallerIdentity(self._tenant_name, PrincipalId(agent.name), None, held.id)
        if self._allows(self._view.subject(self._tenant, identity, self._purpose)):
            yield self.standings[held.subject].name, identity

    def _allows(self, subject: Subject) -> bool:
        cls = self.cls
        if cls is None or self._facts.document_id in subject.revoked_documents:
            return False
        return self._engine.decide(subject, READ, cls, self._view.now).allowed

    # ---- the hops' side

    def _passes(self, caller: str) -> bool:
        """Whether an application or agent, as a hop of its own, permits it."""
        if caller not in self._hops:
            row = self._view.principal(self._tenant, caller)
            self._hops[caller] = row is not None and self._permits(self._view._granted(self._tenant, row))
        return self._hops[caller]

    def _permits(self, hop: Hop) -> bool:
        cls = self.cls
        if cls is None or any(x.principal in hop.closure for x in self._cuts):
            return False
        asks = Subject(
            tenant=self._tenant,
            principal=hop.principal,
            closure=hop.closure,
            clearance=None,
            compartments=frozenset(),
            purpose=self._purpose,
            hops=(hop,),
            taxonomy=self._taxonomy,
            everyone=self._everyone,
        )
        denied = any(not lock.deny.isdisjoint(hop.closure) for lock in cls.locks)
        return not denied and f.hop_allows(hop, asks, READ, cls, self._view.now)

    # ---- the person's side

    def _open_to(self, cls: AclClass) -> set[PrincipalKey]:
        """Subjects for whom no control fails that is not about hops."""
        denied = {who for lock in cls.locks for who in lock.deny}
        closed = any(lock.unresolved_deny for lock in cls.locks)
        if closed or denied & self._uncertain or self._everyone in denied or self._cut_for_all():
            return set()
        if not self._view.directory_known(self._tenant):
            return set()
        found = {key for key, who in self.standings.items() if self._cleared(who, cls)}
        for lock in cls.locks:
            found &= self._admitted(lock)
        cut = denied | {x.principal for x in self._cuts if x.principal is not None}
        return found - members_below(self._view, self._tenant, cut) if cut else found

    def _admitted(self, lock: Lock) -> set[PrincipalKey]:
        live = {who for who, end in lock.allow if self._view.now < end}
        found = members_below(self._view, self._tenant, live)
        if self._has_everyone and self._everyone in live:
            member = PrincipalKind.MEMBER.value
            found |= {key for key, who in self.standings.items() if who.kind == member}
        return found

    def _cleared(self, who: Standing, cls: AclClass) -> bool:
        reached = self._taxonomy.rank_of_clearance(who.clearance) >= self._taxonomy.rank_of_content(cls.label)
        return reached and cls.compartments <= who.compartments

    def _about(self, cut: HeldRevocation) -> bool:
        """Whether a revocation is of everything, of this source or of this document."""
        source = None if self.cls is None else self.cls.source
        if cut.document is not None:
            return cut.document == self._facts.document_id
        return cut.source in (None, source)

    def _cut_for_all(self) -> bool:
        """As with a deny: one that names everyone, or somebody uncertain, is for all."""
        everybody = {None, self._everyone, *self._uncertain}
        return any(x.principal in everybody for x in self._cuts)


def _served(view: ReadView, facts: DocumentFacts) -> bool:
    stale = is_stale(facts.acl_as_of, facts.max_acl_age, view.now)
    return facts.state is DocumentState.LIVE and not stale


def page_of(readers: Iterable[Reads], behind: tuple[str, ...], limit: int) -> list[Reads]:
    """The first readers behind a sort key."""
    rest = [x for x in readers if x.key > behind] if behind else list(readers)
    return rest[:limit]
