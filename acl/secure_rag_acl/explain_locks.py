"""Lock by lock: which entry admits the subject through which groups, which deny applies, and where both are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from secure_rag.model.ids import NEVER, Micros, PrincipalKey
from secure_rag.model.locks import Lock
from secure_rag.model.permissions import ALLOW, DENY
from secure_rag_acl.explain_account import ListEntry, LockAccount, iso
from secure_rag_acl.explain_case import Case
from secure_rag_acl.reasons import lock_state

MAX_NAMES: Final = 50
"""Names of a list that are written out; how many more there are is said."""


def lock_accounts(case: Case) -> tuple[LockAccount, ...]:
    """Every lock of the class, in its order."""
    locks = () if case.cls is None else case.cls.locks
    return tuple(_account(case, number, lock) for number, lock in enumerate(locks))


def admitting(case: Case, lock: Lock) -> list[PrincipalKey]:
    """Principals of the subject on the allow list whose entry has not ended."""
    return sorted({who for who, end in lock.allow if who in case.subject.closure and case.now < end})


def denying(case: Case, lock: Lock) -> list[PrincipalKey]:
    """Principals of the deny list that are the subject, a hop, a group of either, or everyone."""
    subject = case.subject
    denied = subject.closure.union(*(hop.closure for hop in subject.hops)) | {subject.everyone}
    return sorted(lock.deny & denied)


def doubtful(case: Case, lock: Lock) -> list[PrincipalKey]:
    """Principals of the deny list whom the directory does not know for certain."""
    return sorted(lock.deny & case.subject.uncertain)


def _account(case: Case, number: int, lock: Lock) -> LockAccount:
    allow, more_allow = _listed(case, (who for who, _ in lock.allow))
    deny, more_deny = _listed(case, lock.deny)
    closing = sorted({*denying(case, lock), *doubtful(case, lock)})
    opening, ends = admitting(case, lock), dict[PrincipalKey, Micros]()
    for who, until in lock.allow:
        ends[who] = max(until, ends.get(who, until))
    case.names.load((*opening, *closing))
    return LockAccount(
        number=number + 1,
        state=lock_state(lock, case.subject, case.now),
        opens_through=tuple(_allow_entry(case, number, who, ends[who]) for who in opening),
        closed_by=tuple(_deny_entry(case, number, who) for who in closing) + _unmapped(case, number, lock),
        allow=allow,
        more_allow=more_allow,
        deny=deny,
        more_deny=more_deny,
    )


def _listed(case: Case, keys: Iterable[PrincipalKey]) -> tuple[tuple[str, ...], int]:
    unique = sorted(set(keys))
    return tuple(case.names.sorted(unique[:MAX_NAMES])), max(0, len(unique) - MAX_NAMES)


def _allow_entry(case: Case, number: int, who: PrincipalKey, end: Micros) -> ListEntry:
    name = case.names.of(who)
    return ListEntry(
        principal=name,
        path=case.path(case.subject.principal, who),
        until=None if end >= NEVER else iso(end),
        origins=case.origins(number, ALLOW, name),
    )


def _deny_entry(case: Case, number: int, who: PrincipalKey) -> ListEntry:
    subject = case.subject
    starts = [subject.principal] if who in subject.closure else []
    starts += [hop.principal for hop in subject.hops if who in hop.closure]
    name = case.names.of(who)
    return ListEntry(
        principal=name,
        path=case.path(starts[0], who) if starts else (),
        until=None,
        origins=case.origins(number, DENY, name),
    )


def _unmapped(case: Case, number: int, lock: Lock) -> tuple[ListEntry, ...]:
    """A deny of somebody whom the mapping does not know."""
    if not lock.unresolved_deny:
        return ()
    return (ListEntry("", (), None, case.origins(number, DENY, "")),)
