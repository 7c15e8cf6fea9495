"""The form of an explanation: plain values that are shown as they are, to people and to programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from secure_rag.model.decisions import Reason
from secure_rag.model.ids import NEVER, Micros
from secure_rag_acl.reasons import LockState


class Control(StrEnum):
    """What a decision passes, in the order in which the first one that fails gives the reason."""

    TENANT = "tenant"
    INDEX = "index"
    QUARANTINE = "quarantine"
    SUBJECT = "subject"
    REVOCATIONS = "revocations"
    LABEL = "label"
    COMPARTMENTS = "compartments"
    CHAIN = "chain"
    DENIES_RESOLVED = "denies_resolved"
    DENIES = "denies"
    ALLOW_LISTS = "allow_lists"
    DOCUMENT_REVOCATIONS = "document_revocations"
    TRUST = "trust"
    FRESHNESS = "freshness"


REASONS = {
    Control.TENANT: Reason.TENANT,
    Control.INDEX: Reason.NOT_INDEXED,
    Control.QUARANTINE: Reason.QUARANTINED,
    Control.SUBJECT: Reason.UNKNOWN_SUBJECT,
    Control.REVOCATIONS: Reason.REVOKED,
    Control.LABEL: Reason.LABEL,
    Control.COMPARTMENTS: Reason.COMPARTMENT,
    Control.CHAIN: Reason.DELEGATION,
    Control.DENIES_RESOLVED: Reason.UNRESOLVED_DENY,
    Control.DENIES: Reason.DENIED,
    Control.ALLOW_LISTS: Reason.NOT_ON_LIST,
    Control.DOCUMENT_REVOCATIONS: Reason.REVOKED,
    Control.TRUST: Reason.MIXED_TRUST,
    Control.FRESHNESS: Reason.ACL_STALE,
}
"""The reason that each control gives when it is the first to fail."""


class Fix(StrEnum):
    """Kinds of repair."""

    IMPORT_DIRECTORY = "import_directory"
    REGISTER = "register"
    ACTIVATE = "activate"
    ASK_AS = "ask_as"
    ASK_THROUGH = "ask_through"
    DELEGATE = "delegate"
    LIFT_REVOCATION = "lift_revocation"
    SET_CLEARANCE = "set_clearance"
    SET_LABEL = "set_label"
    ADD_TO_COMPARTMENTS = "add_to_compartments"
    WIDEN_GRANT = "widen_grant"
    RESOLVE_DENY = "resolve_deny"
    REMOVE_DENY = "remove_deny"
    ALLOW = "allow"
    RUN_INGEST = "run_ingest"
    RELEASE = "release"
    CONFIRM_PERMISSIONS = "confirm_permissions"


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing to change; all repairs of an explanation together make the failing control pass.

    Attributes:
        fix: what kind of change.
        says: in words, with the place.
        principal: of whom.
        lock: number of the lock, from 1.
        values: labels, compartments, entries, revocations or limits that it is about.
        groups: joining one of these does it too.
    """

    fix: Fix
    says: str
    principal: str | None = None
    lock: int | None = None
    values: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One control: whether it passed (None: not known for that instant, or not reached), and in words."""

    control: Control
    passed: bool | None
    says: str


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """An entry as the source has it, and where."""

    entry: str
    place: str


@dataclass(frozen=True, slots=True)
class ListEntry:
    """An entry of a lock that concerns the subject or a hop.

    Attributes:
        principal: whom it names; empty when it names nobody.
        path: from the subject or hop to the principal, group by group.
        until: when an allow ends; None when it does not.
        origins: entries of the source that put it there.
    """

    principal: str
    path: tuple[str, ...]
    until: str | None
    origins: tuple[SourceEntry, ...]


@dataclass(frozen=True, slots=True)
class LockAccount:
    """One lock.

    Attributes:
        number: from 1.
        state: what it says to the subject.
        opens_through: allow entries of the subject that have not ended.
        closed_by: deny entries that apply, or that name somebody uncertain or nobody.
        allow: names on the allow list, at most `MAX_NAMES`; `more_allow` others are not listed.
        deny: names on the deny list, the same way.
    """

    number: int
    state: LockState
    opens_through: tuple[ListEntry, ...]
    closed_by: tuple[ListEntry, ...]
    allow: tuple[str, ...]
    more_allow: int
    deny: tuple[str, ...]
    more_deny: int


@dataclass(frozen=True, slots=True)
class HopAccount:
    """One application or agent of the chain.

    Attributes:
        refuses: what of it stands in the way: action, purpose, expiry, source, compartments, label.
        ceilings: highest labels; None when they are not shown.
        expires: earliest end of grant and delegation; None when it is not shown.
    """

    principal: str
    refuses: tuple[str, ...]
    ceilings: tuple[str, ...] | None
    expires: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """All that decides about one document for one subject at one instant.

    Attributes:
        document: public identifier.
        name: `source/native id`.
        subject: who is asked about; None for a delegation that is not known.
        caller: who calls: the application, or the agent that is the last hop.
        instant: the instant of the decision.
        past: whether that is earlier than now.
        reason: of the decision; that of the first control that fails.
        failing: that control; None when it is allowed.
        rules: identifiers of the policy rows that decided.
        no_history: what was taken as it is now, since no earlier state is kept.
        not_shown: what the reader lacks the right to see.
    """

    document: str
    name: str
    subject: str | None
    caller: str
    delegation: str | None
    purpose: str
    instant: str
    past: bool
    allowed: bool
    reason: Reason
    failing: Control | None
    repairs: tuple[Repair, ...]
    steps: tuple[Step, ...]
    locks: tuple[LockAccount, ...]
    hops: tuple[HopAccount, ...]
    rules: tuple[str, ...]
    no_history: tuple[str, ...]
    not_shown: tuple[str, ...]


def iso(instant: Micros) -> str:
    """An instant for people and programs; what never ends says so."""
    if instant >= NEVER:
        return "never"
    bounded = min(max(instant, 0), 253_402_300_799_000_000)
    return datetime.fromtimestamp(bounded / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
