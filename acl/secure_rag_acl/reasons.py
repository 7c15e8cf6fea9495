"""Which control withheld a class: a second pass over the same functions, for auditors and owners.

Casbin names the row that matched. When a conjunct failed there is none, so the order of the passes below is the
order in which an auditor reads them: from the outermost wall inwards.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from secure_rag.model.decisions import Reason
from secure_rag.model.ids import Micros
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import Subject
from secure_rag_acl import functions as f


class LockState(StrEnum):
    """What one lock says to one subject."""

    OPEN = "open"
    UNRESOLVED = "unresolved"
    DENIED = "denied"
    NOT_ON_LIST = "not_on_list"


def lock_state(lock: Lock, subject: Subject, now: Micros) -> LockState:
    """Why a lock is open or not."""
    if f.lock_unresolved(lock, subject):
        return LockState.UNRESOLVED
    if f.lock_denied(lock, subject):
        return LockState.DENIED
    return LockState.OPEN if f.lock_opens(lock, subject, now) else LockState.NOT_ON_LIST


def reason(subject: Subject, action: str, cls: AclClass, now: Micros, actions: Collection[str]) -> Reason:
    """The first control that withholds, `ALLOWED` when none does.

    Args:
        subject: who asks.
        action: what for.
        cls: the class asked for.
        now: the instant of the view.
        actions: those that the policy has rows for.
    """
    states = [lock_state(lock, subject, now) for lock in cls.locks]
    checks = (
        (Reason.UNKNOWN_SUBJECT, bool(subject.closure)),
        (Reason.TENANT, f.same_tenant(subject, cls)),
        (Reason.REVOKED, f.not_revoked(subject, cls)),
        (Reason.LABEL, f.dominates(subject, cls)),
        (Reason.COMPARTMENT, f.need_to_know(subject, cls)),
        (Reason.DELEGATION, f.hops_allow(subject, action, cls, now)),
        (Reason.UNRESOLVED_DENY, LockState.UNRESOLVED not in states),
        (Reason.DENIED, LockState.DENIED not in states),
        (Reason.NOT_ON_LIST, LockState.NOT_ON_LIST not in states and bool(states) and action in actions),
    )
    return next((why for why, passed in checks if not passed), Reason.ALLOWED)
