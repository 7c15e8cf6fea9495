"""Asking on this host, without tokens: who is asked as, and what an operator may see of the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model.decisions import Answer, Reason
from secure_rag.model.ids import ClassKey, Micros, PrincipalId, TenantKey, principal_id
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.retrieval.authorize import READ, is_stale
from secure_rag_acl.explain import Explanation, explain

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag_api.wiring import Installation


def caller_of(
    opened: Installation, tenant: str, *, subject: str | None, app: str | None, delegation: str | None
) -> CallerIdentity:
    """Who asks for whom. Without `app` it is the tenant's only application, or the last hop of the delegation.

    Only an operator is told what does not exist; to a caller it all looks the same.

    Raises:
        InvalidRequestError: not exactly one of subject and delegation, a malformed name, no single caller, or one
            that is no active application or agent.
        NotFoundError: there is no such tenant.
    """
    if (subject is None) == (delegation is None):
        raise InvalidRequestError("give either a subject (--as) or a delegation")
    try:
        named = None if app is None else principal_id(app)
        who = None if subject is None else principal_id(subject)
    except PolicyError as error:
        raise InvalidRequestError(str(error)) from error
    key = opened.tenant_key(tenant)
    callers = _callers(
        opened, key, None if named else delegation, ("app",) if named is None else ("app", "agent")
    )
    if named is not None and named not in callers:
        raise InvalidRequestError(f"{named} is no active application or agent of tenant {tenant!r}")
    if named is None and len(callers) != 1:
        if delegation is not None:
            raise InvalidRequestError(f"tenant {tenant!r} has no delegation {delegation!r}")
        known = f"one of {', '.join(callers)}" if callers else f"tenant {tenant!r} has no active one"
        raise InvalidRequestError(f"name the calling application (--app): {known}")
    return CallerIdentity(tenant, named or callers[0], who, delegation)


def explain_answer(
    opened: Installation, caller: CallerIdentity, purpose: str, answer: Answer
) -> list[Explanation]:
    """For each result, all that decided about it, as it stands now. For operators, never for callers."""
    with opened.views.open() as view:
        tenant = opened.tenant_key(caller.tenant, view)
        subject = view.subject(tenant, caller, purpose)
        return [explain(view, opened.policy, tenant, subject, x.document_id) for x in answer.results]


@dataclass(frozen=True, slots=True)
class Withheld:
    """What one subject can read of one source, and what keeps the rest from it: documents by reason."""

    source: str
    documents: dict[Reason, int]


def withheld(opened: Installation, caller: CallerIdentity, purpose: str) -> list[Withheld]:
    """Documents of a tenant by source and reason, `ALLOWED` among them. For operators, never for callers."""
    with opened.views.open() as view:
        tenant = opened.tenant_key(caller.tenant, view)
        subject = view.subject(tenant, caller, purpose)
        rows = _documents(opened, tenant, subject.revoked_documents)
        reasons = _class_reasons(
            opened, view, subject, {x.class_key for x in rows if x.class_key is not None}
        )
        found: dict[str, Counter[Reason]] = {}
        for row in rows:
            found.setdefault(row.source, Counter())[_reason(row, reasons, view.now)] += row.count
    return [Withheld(source, dict(sorted(counts.items()))) for source, counts in sorted(found.items())]


@dataclass(frozen=True, slots=True)
class _Documents:
    """Documents that are alike in all that decides about them."""

    source: str
    class_key: ClassKey | None
    state: DocumentState
    acl_as_of: Micros
    max_acl_age: Micros
    revoked: bool
    count: int


def _documents(opened: Installation, tenant: TenantKey, revoked: Collection[str]) -> list[_Documents]:
    d, s = t.document.c, t.source.c
    as_of = sa.case((d.acl_as_of > s.acl_as_of, d.acl_as_of), else_=s.acl_as_of)
    cut_off = d.public_id.in_(sorted(revoked))
    statement = (
        sa.select(s.name, d.class_id, d.state, as_of, s.max_acl_age, cut_off, sa.func.count())
        .join(t.source, s.id == d.source_id)
        .where(d.tenant_id == tenant, d.state != int(DocumentState.DELETED))
        .group_by(s.name, d.class_id, d.state, as_of, s.max_acl_age, cut_off)
    )
    with opened.reader.connect() as connection:
        rows = connection.execute(statement).all()
    return [
        _Documents(
            name,
            None if key is None else ClassKey(key),
            DocumentState(state),
            Micros(at),
            Micros(age),
            bool(hit),
            count,
        )
        for name, key, state, at, age, hit, count in rows
    ]


def _class_reasons(
    opened: Installation, view: ReadView, subject: Subject, keys: set[ClassKey]
) -> dict[ClassKey, Reason]:
    return {
        key: opened.policy.decide(subject, READ, cls, view.now).reason
        for key, cls in view.classes(subject.tenant, keys).items()
    }


def _reason(row: _Documents, reasons: dict[ClassKey, Reason], now: Micros) -> Reason:
    if row.state is DocumentState.QUARANTINED:
        return Reason.QUARANTINED
    if row.state is not DocumentState.LIVE or row.class_key is None:
        return Reason.NOT_INDEXED
    reason = reasons.get(row.class_key, Reason.TENANT)
    if reason is Reason.ALLOWED and row.revoked:
        return Reason.REVOKED
    stale = reason is Reason.ALLOWED and is_stale(row.acl_as_of, row.max_acl_age, now)
    return Reason.ACL_STALE if stale else reason


def _callers(
    opened: Installation, tenant: TenantKey, delegation: str | None, kinds: tuple[str, ...]
) -> list[PrincipalId]:
    """Active callers of these kinds, or the last hop of a delegation."""
    p, d = t.principal.c, t.delegation.c
    statement = sa.select(p.name).where(p.tenant_id == tenant)
    if delegation is None:
        statement = statement.where(p.kind.in_(kinds), p.state == "active")
    else:
        statement = statement.join(t.delegation, d.agent_id == p.id).where(d.public_id == delegation)
    with opened.reader.connect() as connection:
        return [principal_id(x) for x in connection.execute(statement.order_by(p.name)).scalars()]
