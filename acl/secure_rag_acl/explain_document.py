"""Why may somebody read a document, and why not: the whole path of the decision, for managers, never for callers.

Invariants
- The verdict is the engine's; the controls are asked one by one as well, and both must name the same reason.
- Everything is read in one snapshot, at one instant: now, or one for which the history is kept.
- What is said depends on the reader's sight alone; the verdict does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.database.access_facts import class_at
from secure_rag.database.document_facts import DocumentFacts
from secure_rag.database.views import ReadView
from secure_rag.errors import PolicyError
from secure_rag.model.decisions import Decision, Reason
from secure_rag.model.ids import Micros, PrincipalKey, TenantKey
from secure_rag.model.locks import AclClass
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.ports import PolicyEngine
from secure_rag.retrieval.authorize import READ
from secure_rag_acl.explain_account import REASONS, Account, Control, Step, iso
from secure_rag_acl.explain_case import Case
from secure_rag_acl.explain_locks import lock_accounts
from secure_rag_acl.explain_repairs import repairs
from secure_rag_acl.explain_sight import UNNAMED, Names, Sight
from secure_rag_acl.explain_steps import hop_accounts, steps

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_HISTORY: Final = (
    "order and names of labels",
    "trust and maximum age of the source",
    "states of principals and completeness of groups",
    "whether the document was withheld or in quarantine",
    "when permissions had been confirmed",
)
_OTHER_CLASS: Final = "entries of the source behind the locks: those of another class are not kept"


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked about, calling through whom, and when. `at` None is now."""

    identity: CallerIdentity
    purpose: str = "qa"
    at: Micros | None = None
    named: frozenset[str] = frozenset()
    """Principals and the delegation that the reader herself named: they may stand in the answer."""

    def shown(self, name: str | None, sight: Sight) -> str | None:
        """A caller or a delegation, unless she did not name it and may not be told what subjects hold."""
        return name if name is None or sight.act_as or name in self.named else UNNAMED


def explain_document(
    view: ReadView,
    engine: PolicyEngine,
    tenant: TenantKey,
    facts: DocumentFacts,
    asked: Question,
    sight: Sight,
) -> Account:
    """The whole path of one decision.

    Args:
        view: of now.
        engine: the authority.
        tenant: whose document.
        facts: of the document.
        asked: about whom.
        sight: what the reader may be told.

    Raises:
        PolicyError: the controls name another reason than the engine, or stored policy data is damaged.
    """
    past = asked.at is not None and asked.at < view.now
    then = ReadView(view._connection, asked.at) if past and asked.at is not None else view
    key = class_at(then, tenant, facts.document_id) if past else facts.class_key
    cls = None if key is None else then.classes(tenant, [key]).get(key)
    subject = then.subject(tenant, asked.identity, asked.purpose)
    names = Names(view, tenant, sight, _visible(view, tenant, subject, cls, asked, sight))
    case = Case(then, tenant, asked.identity, subject, facts, cls, past, sight, names)
    decision = None if cls is None else engine.decide(subject, READ, cls, then.now)
    return _account(case, asked, decision)


def _account(case: Case, asked: Question, decision: Decision | None) -> Account:
    passed = steps(case)
    failing = next((x.control for x in passed if x.passed is False), None)
    reason = _reason(passed, failing, decision)
    known = case.subject.hops or case.subject.closure
    name = case.names.of(case.subject.principal) if known else asked.identity.subject
    return Account(
        document=case.facts.document_id,
        name=f"{case.facts.source}/{case.facts.native_id}",
        subject=name,
        caller=asked.shown(asked.identity.caller, case.sight) or UNNAMED,
        delegation=asked.shown(asked.identity.delegation, case.sight),
        purpose=asked.purpose,
        instant=iso(case.now),
        past=case.past,
        allowed=reason is Reason.ALLOWED,
        reason=reason,
        failing=failing,
        repairs=() if failing is None else repairs(case, failing),
        steps=passed,
        locks=lock_accounts(case),
        hops=hop_accounts(case),
        rules=() if decision is None else decision.rules,
        no_history=_no_history(case),
        not_shown=_not_shown(case.sight),
    )


def _reason(passed: tuple[Step, ...], failing: Control | None, decision: Decision | None) -> Reason:
    """The first reason of the controls, which must be the engine's where the engine decides.

    Raises:
        PolicyError: it is not.
    """
    if decision is not None and decision.reason is Reason.EVALUATION_ERROR:
        return Reason.EVALUATION_ERROR
    engines = {
        Control.INDEX,
        Control.QUARANTINE,
        Control.DOCUMENT_REVOCATIONS,
        Control.TRUST,
        Control.FRESHNESS,
    }
    decided = next((x.control for x in passed if x.passed is False and x.control not in engines), None)
    expected = Reason.ALLOWED if decided is None else REASONS[decided]
    if decision is not None and decision.reason is not expected:
        raise PolicyError("the controls and the policy engine do not agree; nothing is explained")
    return Reason.ALLOWED if failing is None else REASONS[failing]


def _visible(
    view: ReadView,
    tenant: TenantKey,
    subject: Subject,
    cls: AclClass | None,
    asked: Question,
    sight: Sight,
) -> Iterable[PrincipalKey]:
    """Who may be named to whoever explains this document: its own entries, and whom she named herself."""
    keys = {subject.everyone}
    if cls is not None:
        keys |= {who for lock in cls.locks for who in (*lock.deny, *(x for x, _ in lock.allow))}
    rows = [view.principal(tenant, name) for name in sorted(asked.named)]
    keys |= {row.key for row in rows if row is not None}
    if sight.act_as:
        keys |= {subject.principal, *(hop.principal for hop in subject.hops)}
    return keys


def _no_history(case: Case) -> tuple[str, ...]:
    if not case.past:
        return ()
    same = case.cls is not None and case.cls.key == case.facts.class_key
    return _NO_HISTORY if same else (*_NO_HISTORY, _OTHER_CLASS)


def _not_shown(sight: Sight) -> tuple[str, ...]:
    hidden = (
        [] if sight.act_as else ["what the subject and the hops hold: clearance, groups, limits of grants"]
    )
    hidden += [] if sight.expand else ["groups between the subject and an entry"]
    return tuple(hidden)
