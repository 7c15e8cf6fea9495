"""Explanations and access lists for who manages: rights first, then the answer, then the record, then it is given.

Invariants
- Roles are those of the asking principal in the same snapshot; over HTTP nobody has the roles of the beginning.
- Who may not be told, and what is not there, end in the same error with the same words.
- An application passes on only what is about content that its own grant covers, and nothing that it is denied or cut
  off from. Agents manage nothing.
- Acting as somebody else and expanding groups are rights of their own, and on record, before anything is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.database.access_facts import (
    HeldRevocation,
    active_callers,
    held_delegations,
    held_revocations,
)
from secure_rag.database.document_facts import DocumentFacts, document_facts
from secure_rag.database.views import ReadView
from secure_rag.errors import InvalidRequestError, NotFoundError
from secure_rag.model.ids import ClassKey, Micros, PrincipalId, PrincipalKind, SourceKey, TenantKey
from secure_rag.model.subject import CallerIdentity, Hop, Subject
from secure_rag.retrieval.authorize import READ
from secure_rag_acl import functions as f
from secure_rag_acl.access_lists import Documents, DocumentsPage, ReadersPage, documents_page, readers_page
from secure_rag_acl.explain_account import Account
from secure_rag_acl.explain_document import Question, explain_document
from secure_rag_acl.explain_sight import Reader, reader
from secure_rag_acl.management import Action, ManagementPolicy

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_HOST: Final = "host"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to be told.

    Attributes:
        tenant: of whose documents.
        principal: authenticated.
        caller: the call over HTTP; None for an operator on the host.
    """

    tenant: str
    principal: PrincipalId
    caller: CallerIdentity | None = None


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """One document, and whom it is about. Without subject and delegation it is about the asker."""

    document: str
    subject: PrincipalId | None = None
    app: PrincipalId | None = None
    agents: tuple[PrincipalId, ...] = ()
    delegation: str | None = None
    purpose: str = "qa"
    at: Micros | None = None


@dataclass(frozen=True, slots=True)
class ListRequest:
    """One page of a list: of the readers of `document`, or of what `subject` can read."""

    document: str = ""
    subject: PrincipalId | None = None
    app: PrincipalId | None = None
    label: str | None = None
    source: str | None = None
    expanded: bool = False
    purpose: str = "qa"
    limit: int = 100
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """The asker in one view, and what her application lets through."""

    view: ReadView
    tenant: TenantKey
    reader: Reader
    hop: Hop | None
    asks: Subject | None
    cuts: tuple[HeldRevocation, ...] = ()
    """What the application is cut off from. What is closed to everybody stays to be explained."""

    @property
    def hidden(self) -> frozenset[str]:
        """Documents that the asker's application is cut off from one by one."""
        return frozenset(x.document for x in self.cuts if x.document is not None)

    def covered(self, keys: Collection[ClassKey]) -> frozenset[ClassKey]:
        """Those classes whose content the asker's application may have."""
        hop, asks = self.hop, self.asks
        if hop is None or asks is None:
            return frozenset(keys)
        return frozenset(
            key
            for key, cls in self.view.classes(self.tenant, keys).items()
            if f.hop_allows(hop, asks, READ, cls, self.view.now)
            and all(lock.deny.isdisjoint(hop.closure) for lock in cls.locks)
            and not self._cut_off(cls.source)
        )

    def covers(self, source: SourceKey, facts: DocumentFacts) -> bool:
        """Whether the asker's application may have a document. What nothing guards counts as content without label."""
        hop, asks = self.hop, self.asks
        if hop is None or asks is None:
            return True
        if facts.document_id in self.hidden:
            return False
        if facts.class_key is not None:
            return facts.class_key in self.covered([facts.class_key])
        taxonomy = asks.taxonomy
        needed = taxonomy.rank_of_content(taxonomy.default)
        reached = all(taxonomy.rank_of_clearance(x) >= needed for x in hop.ceilings)
        permitted = READ in hop.actions and asks.purpose in hop.purposes and source in hop.sources
        return permitted and reached and not self._cut_off(source)

    def _cut_off(self, source: SourceKey) -> bool:
        return any(x.document is None and x.source in (None, source) for x in self.cuts)


class Explaining:
    """Explains over one open home. Blocking and thread-safe."""

    def __init__(self, opened: Installation) -> None:
        self._opened = opened
        self._policy = ManagementPolicy()

    def explain(self, asker: Asker, asked: ExplainRequest) -> Account:
        """Why a document may be read, or not.

        Raises:
            NotFoundError: there is no such document, or the asker may not have it explained: the same words.
            InvalidRequestError: the moment is to come, subject and delegation are both given, or a name is no text.
        """
        _refuse_what_is_no_text(asked.document, asked.subject, asked.app, *asked.agents, asked.delegation)
        if asked.delegation is not None and (asked.subject is not None or asked.agents):
            raise InvalidRequestError("either a delegation or a subject with its agents")
        about: dict[str, object] = {
            "document": asked.document,
            "subject": asked.subject,
            "agents": list(asked.agents),
            "delegation": asked.delegation,
            "at": asked.at,
        }
        with self._opened.views.open() as view:
            if asked.at is not None and asked.at > view.now:
                raise InvalidRequestError("that moment is still to come")
            told = self._told(view, asker)
            facts, source = self._document(told, asker, asked.document, "explain", about)
            question = _question(told, asker, asked)
            whom = question.identity.subject
            sight = told.reader.sight(whom, source)
            account = explain_document(view, self._opened.policy, told.tenant, facts, question, sight)
        about |= {"caller": question.identity.caller, "reason": account.reason}
        self._record(
            asker, "explained", about, acted=sight.act_as and whom != asker.principal, expanded=sight.expand
        )
        return account

    def who_can(self, asker: Asker, asked: ListRequest) -> ReadersPage:
        """Who may read a document: its entries with the number of readers, or everybody by name.

        Raises:
            NotFoundError: there is no such document, or the asker may not have it explained.
            AuthenticationError: it may be explained to the asker, but not expanded.
            InvalidRequestError: limit or cursor, or the name is no text.
        """
        _refuse_what_is_no_text(asked.document)
        about: dict[str, object] = {"document": asked.document, "expanded": asked.expanded}
        with self._opened.views.open() as view:
            told = self._told(view, asker)
            facts, source = self._document(told, asker, asked.document, "who_can", about)
            if asked.expanded and not self._policy.may(told.reader.manager, Action.MEMBERS_EXPAND, source):
                self._record(asker, "who_can_refused", about, acted=False, expanded=False)
                self._policy.require(told.reader.manager, Action.MEMBERS_EXPAND, source)
            page = readers_page(
                view, self._opened.policy, told.tenant, asker.tenant, facts,
                expanded=asked.expanded, purpose=asked.purpose, limit=asked.limit, cursor=asked.cursor,
            )  # fmt: skip
        self._record(asker, "who_can", about, acted=False, expanded=asked.expanded)
        return page

    def what_can(self, asker: Asker, asked: ListRequest) -> DocumentsPage:
        """What somebody may read of the sources that the asker may have explained.

        Raises:
            NotFoundError: there is no such subject or source, or the asker may not list for it: the same words.
            InvalidRequestError: label, limit or cursor, or a name is no text.
        """
        whom = asked.subject or asker.principal
        _refuse_what_is_no_text(whom, asked.app, asked.source, asked.label)
        about: dict[str, object] = {"subject": whom, "source": asked.source, "label": asked.label}
        with self._opened.views.open() as view:
            told = self._told(view, asker)
            row = view.principal(told.tenant, whom)
            sources = frozenset(
                key
                for key, (name, _, _) in view.source_ages(told.tenant).items()
                if asked.source in (None, name)
                and told.reader.may_explain(key)
                and told.reader.may_act_as(whom, key)
            )
            if row is None or not sources:
                self._record(asker, "what_can_refused", about, acted=False, expanded=False)
                raise NotFoundError(f"there is nothing to list for {whom!r}")
            apps = active_callers(view, told.tenant, PrincipalKind.APP)
            callers = [asked.app] if asked.app else [*apps, *([whom] if row.kind == "agent" else [])]
            calls = tuple(CallerIdentity(asker.tenant, PrincipalId(x), whom) for x in callers)
            page = documents_page(
                view, self._opened.policy, told.tenant,
                Documents(calls, sources, asked.label, asked.purpose, told.covered, told.hidden),
                limit=asked.limit, cursor=asked.cursor,
            )  # fmt: skip
        self._record(asker, "what_can", about, acted=whom != asker.principal, expanded=False)
        return page

    # ---- who asks

    def _told(self, view: ReadView, asker: Asker) -> _Told:
        """The asker's rights. Whoever comes through an agent or a delegation has none."""
        tenant = view.tenant_key(asker.tenant)
        if tenant is None:
            raise NotFoundError(f"there is no tenant {asker.tenant!r}")
        call = asker.caller
        found = reader(view, tenant, asker.principal, self._policy, operator=call is None)
        if call is None:
            return _Told(view, tenant, found, None, None)
        subject = view.subject(tenant, call, "qa")
        direct = call.delegation is None and call.caller.startswith("app:") and len(subject.hops) == 1
        if not direct or not subject.closure or not asker.principal.startswith(("user:", "service:")):
            refused = {"caller": call.caller, "delegation": call.delegation}
            self._record(asker, "explain_refused", refused, acted=False, expanded=False)
            raise NotFoundError("there is no such document")
        hop = subject.hops[0]
        cuts = tuple(x for x in held_revocations(view, tenant) if x.principal in hop.closure)
        return _Told(view, tenant, found, hop, subject, cuts)

    def _document(
        self, told: _Told, asker: Asker, name: str, what: str, about: Mapping[str, object]
    ) -> tuple[DocumentFacts, SourceKey]:
        """A document that may be explained to the asker.

        Raises:
            NotFoundError: there is none.
        """
        facts = document_facts(told.view, told.tenant, name)
        if facts is not None:
            ages = told.view.source_ages(told.tenant)
            source = next(key for key, (known, _, _) in ages.items() if known == facts.source)
            if told.reader.may_explain(source) and told.covers(source, facts):
                return facts, source
        self._record(asker, f"{what}_refused", about, acted=False, expanded=False)
        raise NotFoundError(f"there is no document {name!r}")

    def _record(
        self, asker: Asker, kind: str, about: Mapping[str, object], *, acted: bool, expanded: bool
    ) -> None:
        via = _HOST if asker.caller is None else asker.caller.caller
        body = {"by": asker.principal, "via": via, **about, "acted_as": acted, "members_expanded": expanded}
        self._opened.audit.record(asker.tenant, kind, self._opened.new_id(), body)


def _refuse_what_is_no_text(*names: str | None) -> None:
    """Arguments of a command can hold bytes that are no text; neither database nor audit log takes them.

    Raises:
        InvalidRequestError: one does.
    """
    if any("\ud800" <= x <= "\udfff" for name in names if name is not None for x in name):
        raise InvalidRequestError("a name is not valid text")


def _question(told: _Told, asker: Asker, asked: ExplainRequest) -> Question:
    """Whom an explanation is about, and through whom."""
    view, tenant = told.view, told.tenant
    then = view if asked.at is None else ReadView(view._connection, asked.at)
    named = {str(x) for x in (asked.subject, asked.app, *asked.agents) if x is not None}
    if asked.delegation is not None:
        chain = then._chain(tenant, asked.delegation)
        last = view._by_key(tenant, chain[-1].agent_id) if chain else None
        caller = _application(told, asker, asked.app) if last is None else PrincipalId(last.name)
        identity = CallerIdentity(asker.tenant, caller, None, asked.delegation)
        return Question(identity, asked.purpose, asked.at, frozenset(named | {asked.delegation}))
    whom = asked.subject or asker.principal
    if asked.agents:
        held = _delegation(then, tenant, whom, asked)
        subject = whom if held is None else None
        identity = CallerIdentity(asker.tenant, asked.agents[-1], subject, held)
    else:
        caller = _application(told, asker, asked.app)
        identity = CallerIdentity(asker.tenant, caller, whom)
    return Question(identity, asked.purpose, asked.at, frozenset(named | {whom, identity.caller}))


def _application(told: _Told, asker: Asker, app: PrincipalId | None) -> PrincipalId:
    """The application that is asked through: the one named, the calling one, or the tenant's only one.

    Raises:
        InvalidRequestError: there is no single one.
    """
    if app is not None:
        return app
    if asker.caller is not None:
        return asker.caller.caller
    known = active_callers(told.view, told.tenant, PrincipalKind.APP)
    if len(known) != 1:
        names = f": {', '.join(known) or 'there is none'}" if told.reader.may_act_as(None, None) else ""
        raise InvalidRequestError(f"name the calling application (--app){names}")
    return PrincipalId(known[0])


def _delegation(view: ReadView, tenant: TenantKey, whom: PrincipalId, asked: ExplainRequest) -> str | None:
    """The newest delegation that lets exactly these agents, in order, act for somebody."""
    held = {x.id: x for x in held_delegations(view, tenant)}
    rows = [view.principal(tenant, x) for x in (whom, *asked.agents)]
    app = None if asked.app is None else view.principal(tenant, asked.app)
    if any(row is None for row in rows) or (asked.app is not None and app is None):
        return None
    subject, *agents = [row.key for row in rows if row is not None]
    for found in reversed(held.values()):
        chain = [found]
        while chain[0].parent in held and len(chain) <= len(agents):
            chain.insert(0, held[chain[0].parent])
        made = app is None or chain[0].created_by == app.key
        if [x.agent for x in chain] == agents and found.subject == subject and made:
            return found.id
    return None
