"""Why does she see this, and why not? `explain` is for auditors and owners, `explain_row` for the caller herself.

An auditor gets every lock with its entries and where they came from. A caller gets only what concerns her: through
which of her own principals each lock of a returned chunk opens. Never who else is on a list, and never a deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from secure_rag.database.document_facts import DocumentFacts, document_facts, principal_names
from secure_rag.database.tables import DocumentState
from secure_rag.model.decisions import ChunkRow, Decision, Reason
from secure_rag.model.ids import NEVER, Micros, PrincipalKey, TenantKey
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.permissions import Origin
from secure_rag.model.subject import Hop, Subject
from secure_rag.ports import PolicyEngine
from secure_rag.retrieval.authorize import READ, is_stale
from secure_rag_acl.reasons import LockState, lock_state

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView


@dataclass(frozen=True, slots=True)
class LockExplanation:
    """One lock: its state for this subject, its entries by name, and where they came from."""

    state: LockState
    allow: tuple[str, ...]
    """Principals; one whose entry ends carries ` until INSTANT` in microseconds."""
    deny: tuple[str, ...]
    unresolved_deny: bool
    through: tuple[str, ...]
    """The subject's own principals that open it."""
    origins: tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class HopExplanation:
    """One hop and what of it stands in the way: action, purpose, expiry, source, compartments, label or deny."""

    principal: str
    ceilings: tuple[str, ...]
    refuses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that decides about one document for one subject at one instant."""

    document: str
    reason: Reason
    policy: Decision | None
    """The engine's verdict on the class alone; None when the document has none."""
    subject: str | None
    clearance: str | None
    label: str | None
    compartments: tuple[str, ...]
    missing_compartments: tuple[str, ...]
    locks: tuple[LockExplanation, ...]
    hops: tuple[HopExplanation, ...]
    acl_as_of: Micros | None
    acl_age_us: int | None
    max_acl_age_us: int | None

    @property
    def allowed(self) -> bool:
        """Whether nothing of the policy stands in the way."""
        return self.reason is Reason.ALLOWED

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def explain(
    view: ReadView, engine: PolicyEngine, tenant: TenantKey, subject: Subject, document: str
) -> Explanation:
    """Why a subject may or may not read a document of a tenant.

    Args:
        view: the snapshot that `subject` was read in.
        engine: the authority.
        tenant: whose document.
        subject: who asks, with the whole chain.
        document: its public identifier, or `source/native id`.
    """
    facts = document_facts(view, tenant, document)
    cls = None
    if facts is not None and facts.class_key is not None:
        cls = view.classes(tenant, [facts.class_key]).get(facts.class_key)
    decision = None if cls is None else engine.decide(subject, READ, cls, view.now)
    return _explanation(view, subject, document, facts, cls, decision)


def explain_row(view: ReadView, subject: Subject, row: ChunkRow) -> Mapping[str, object]:
    """Why a returned chunk was allowed, in terms of the caller's own rights only."""
    cls = view.classes(subject.tenant, [row.class_key]).get(row.class_key)
    if cls is None:
        return {}
    opening = [_through(lock, subject, view.now) for lock in cls.locks]
    names = principal_names(
        view, subject.tenant, [*(p for keys in opening for p in keys), *_hop_keys(subject)]
    )
    taxonomy = subject.taxonomy
    return {
        "label": taxonomy.name(cls.label),
        "clearance": None if subject.clearance is None else taxonomy.name(subject.clearance),
        "compartments": sorted(cls.compartments),
        "locks": [{"state": LockState.OPEN.value, "through": _named(names, keys)} for keys in opening],
        "hops": [
            {"principal": names.get(hop.principal, "?"), "ceilings": [taxonomy.name(x) for x in hop.ceilings]}
            for hop in subject.hops
        ],
        "acl_as_of": row.acl_as_of,
        "acl_age_us": view.now - row.acl_as_of,
    }


def _explanation(
    view: ReadView,
    subject: Subject,
    document: str,
    facts: DocumentFacts | None,
    cls: AclClass | None,
    decision: Decision | None,
) -> Explanation:
    keys = [subject.principal, *_hop_keys(subject)]
    if cls is not None:
        keys += [p for lock in cls.locks for p in (*lock.deny, *(who for who, _ in lock.allow))]
    names = principal_names(view, subject.tenant, keys)
    taxonomy = subject.taxonomy
    origins = () if facts is None else facts.origins
    return Explanation(
        document=document if facts is None else f"{facts.source}/{facts.native_id}",
        reason=_reason(facts, subject, decision, view.now),
        policy=decision,
        subject=names.get(subject.principal),
        clearance=None if subject.clearance is None else taxonomy.name(subject.clearance),
        label=None if cls is None else taxonomy.name(cls.label),
        compartments=() if cls is None else tuple(sorted(cls.compartments)),
        missing_compartments=() if cls is None else tuple(sorted(cls.compartments - subject.compartments)),
        locks=()
        if cls is None
        else tuple(
            _lock(lock, subject, view.now, names, [x for x in origins if x.lock == number])
            for number, lock in enumerate(cls.locks)
        ),
        hops=tuple(_hop(hop, subject, cls, view.now, names) for hop in subject.hops),
        acl_as_of=None if facts is None else facts.acl_as_of,
        acl_age_us=None if facts is None else view.now - facts.acl_as_of,
        max_acl_age_us=None if facts is None else facts.max_acl_age,
    )


def _reason(facts: DocumentFacts | None, subject: Subject, decision: Decision | None, now: Micros) -> Reason:
    if facts is None or decision is None:
        return Reason.NOT_INDEXED
    if facts.state is DocumentState.QUARANTINED:
        return Reason.QUARANTINED
    if facts.state is not DocumentState.LIVE:
        return Reason.NOT_INDEXED
    if not decision.allowed:
        return decision.reason
    if facts.document_id in subject.revoked_documents:
        return Reason.REVOKED
    return Reason.ACL_STALE if is_stale(facts.acl_as_of, facts.max_acl_age, now) else Reason.ALLOWED


def _lock(
    lock: Lock, subject: Subject, now: Micros, names: Mapping[PrincipalKey, str], origins: list[Origin]
) -> LockExplanation:
    allow = sorted(names.get(who, "?") + ("" if end >= NEVER else f" until {end}") for who, end in lock.allow)
    return LockExplanation(
        state=lock_state(lock, subject, now),
        allow=tuple(allow),
        deny=tuple(_named(names, lock.deny)),
        unresolved_deny=lock.unresolved_deny,
        through=tuple(_named(names, _through(lock, subject, now))),
        origins=tuple(origins),
    )


def _through(lock: Lock, subject: Subject, now: Micros) -> list[PrincipalKey]:
    return [who for who, end in lock.allow if who in subject.closure and now < end]


def _hop(
    hop: Hop, subject: Subject, cls: AclClass | None, now: Micros, names: Mapping[PrincipalKey, str]
) -> HopExplanation:
    taxonomy = subject.taxonomy
    checks = [
        ("action", READ in hop.actions),
        ("purpose", subject.purpose in hop.purposes),
        ("expiry", now < hop.expires),
    ]
    if cls is not None:
        demanded = taxonomy.rank_of_content(cls.label)
        checks += [
            ("source", cls.source in hop.sources),
            ("compartments", cls.compartments <= hop.compartments),
            (
                "label",
                bool(hop.ceilings) and all(taxonomy.rank_of_clearance(x) >= demanded for x in hop.ceilings),
            ),
            ("deny", all(lock.deny.isdisjoint(hop.closure) for lock in cls.locks)),
        ]
    return HopExplanation(
        principal=names.get(hop.principal, "?"),
        ceilings=tuple(taxonomy.name(x) for x in hop.ceilings),
        refuses=tuple(what for what, permitted in checks if not permitted),
    )


def _hop_keys(subject: Subject) -> list[PrincipalKey]:
    return [hop.principal for hop in subject.hops]


def _named(names: Mapping[PrincipalKey, str], keys: Iterable[PrincipalKey]) -> list[str]:
    return sorted(names.get(key, "?") for key in keys)
