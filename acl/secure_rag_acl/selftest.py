"""Start-up self-test: a decision that must allow and, for every control, one that must deny for its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from secure_rag.errors import PolicyError
from secure_rag.model.decisions import Decision, Reason
from secure_rag.model.ids import (
    NEVER,
    ClassKey,
    Compartment,
    LabelId,
    Micros,
    PrincipalKey,
    SourceKey,
    TenantKey,
)
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.subject import MAX_HOPS, Hop, Subject
from secure_rag_acl.compiler import CompiledClasses
from secure_rag_acl.policy import PolicyRow

_LOW: Final = LabelId("00000000-0000-0000-0000-000000000001")
_HIGH: Final = LabelId("00000000-0000-0000-0000-000000000002")
_ME, _GROUP, _APP, _OTHER, _EVERYONE, _DOUBT = (PrincipalKey(x) for x in range(1, 7))
_NOW: Final = Micros(1_000)
_ROOM: Final = Compartment("room")


class Decides(Protocol):
    """What is tested."""

    def decide(self, subject: Subject, action: str, cls: AclClass, now: Micros) -> Decision:
        """The verdict on one class."""
        ...


def self_test(engine: Decides, rows: Sequence[PolicyRow]) -> None:
    """Ask all sample questions, of the authority and of an index over the same rows.

    Raises:
        PolicyError: a verdict is not the one that the design demands; nothing may be served.
    """
    for what, subject, action, cls, expected in _questions():
        decision = engine.decide(subject, action, cls, _NOW)
        if decision.reason is not expected or decision.allowed is not (expected is Reason.ALLOWED):
            raise PolicyError(f"self-test of the policy failed: {what}")
        index = CompiledClasses(cls.tenant, rows)
        index.extend([replace(cls, key=ClassKey(1))])
        compiled = index.allowed(subject, action, _NOW, ClassKey(1)).classes
        if (len(compiled) == 1) is not decision.allowed:
            raise PolicyError(f"self-test of the compiled policy failed: {what}")


def _questions() -> Iterator[tuple[str, Subject, str, AclClass, Reason]]:
    subject, cls = _sample_subject(), _sample_class()
    yield "must allow", subject, "read", cls, Reason.ALLOWED
    yield "other action", _with_hop(subject, actions=frozenset({"write"})), "write", cls, Reason.NOT_ON_LIST
    for what, other, expected in _other_subjects(subject):
        yield what, other, "read", cls, expected
    for what, guarded, expected in _other_classes(cls):
        yield what, subject, "read", guarded, expected


def _other_subjects(subject: Subject) -> Iterator[tuple[str, Subject, Reason]]:
    yield "empty closure", replace(subject, closure=frozenset()), Reason.UNKNOWN_SUBJECT
    yield "tenant", replace(subject, tenant=TenantKey(2)), Reason.TENANT
    yield "revoked", replace(subject, revoked=True), Reason.REVOKED
    yield "revoked source", replace(subject, revoked_sources=frozenset({SourceKey(1)})), Reason.REVOKED
    yield "clearance", replace(subject, clearance=_LOW), Reason.LABEL
    yield "no clearance", replace(subject, clearance=None), Reason.LABEL
    yield "compartment", replace(subject, compartments=frozenset[Compartment]()), Reason.COMPARTMENT
    yield "no hop", replace(subject, hops=()), Reason.DELEGATION
    yield "too many hops", replace(subject, hops=subject.hops * (MAX_HOPS + 1)), Reason.DELEGATION
    yield "purpose", replace(subject, purpose="training"), Reason.DELEGATION
    yield "hop action", _with_hop(subject, actions=frozenset[str]()), Reason.DELEGATION
    yield "hop label", _with_hop(subject, ceilings=(_HIGH, _LOW)), Reason.DELEGATION
    yield "hop without label", _with_hop(subject, ceilings=()), Reason.DELEGATION
    yield "hop compartment", _with_hop(subject, compartments=frozenset[Compartment]()), Reason.DELEGATION
    yield "hop source", _with_hop(subject, sources=frozenset({SourceKey(2)})), Reason.DELEGATION
    yield "hop expiry", _with_hop(subject, expires=_NOW), Reason.DELEGATION
    yield "last hop", replace(subject, hops=(*subject.hops, _hop(expires=_NOW))), Reason.DELEGATION
    yield "not on the list", replace(subject, closure=frozenset({_ME})), Reason.NOT_ON_LIST
    yield "denied", replace(subject, closure=subject.closure | {_OTHER}), Reason.DENIED
    yield "hop denied", _with_hop(subject, closure=frozenset({_APP, _OTHER})), Reason.DENIED
    yield "uncertain deny", replace(subject, uncertain=frozenset({_OTHER})), Reason.UNRESOLVED_DENY


def _other_classes(cls: AclClass) -> Iterator[tuple[str, AclClass, Reason]]:
    lock = cls.locks[0]
    unknown = LabelId("00000000-0000-0000-0000-00000000000f")
    yield "unknown label", replace(cls, label=unknown), Reason.LABEL
    yield "empty allow", replace(cls, locks=(replace(lock, allow=frozenset()),)), Reason.NOT_ON_LIST
    yield (
        "expired allow",
        replace(cls, locks=(replace(lock, allow=frozenset({(_GROUP, _NOW)})),)),
        Reason.NOT_ON_LIST,
    )
    yield "second lock", replace(cls, locks=(lock, Lock(frozenset({(_OTHER, NEVER)})))), Reason.NOT_ON_LIST
    yield (
        "unresolved deny",
        replace(cls, locks=(lock, replace(lock, unresolved_deny=True))),
        Reason.UNRESOLVED_DENY,
    )
    yield "deny everyone", replace(cls, locks=(replace(lock, deny=frozenset({_EVERYONE})),)), Reason.DENIED
    yield (
        "deny uncertain",
        replace(cls, locks=(replace(lock, deny=frozenset({_DOUBT})),)),
        Reason.UNRESOLVED_DENY,
    )


def _hop(expires: Micros = NEVER) -> Hop:
    return Hop(
        principal=_APP,
        closure=frozenset({_APP}),
        actions=frozenset({"read"}),
        ceilings=(_HIGH,),
        compartments=frozenset({_ROOM}),
        sources=frozenset({SourceKey(1)}),
        purposes=frozenset({"qa"}),
        expires=expires,
    )


def _with_hop(subject: Subject, **changes: object) -> Subject:
    changed: Hop = replace(subject.hops[0], **changes)  # type: ignore[arg-type]  # replace() checks the names
    return replace(subject, hops=(changed,))


def _sample_subject() -> Subject:
    labels = (Label(_LOW, "low", 0), Label(_HIGH, "high", 1))
    return Subject(
        tenant=TenantKey(1),
        principal=_ME,
        closure=frozenset({_ME, _GROUP}),
        clearance=_HIGH,
        compartments=frozenset({_ROOM}),
        purpose="qa",
        hops=(_hop(),),
        taxonomy=Taxonomy.of(labels, default=_HIGH, mix_threshold=_HIGH, version=1),
        everyone=_EVERYONE,
        uncertain=frozenset({_DOUBT}),
    )


def _sample_class() -> AclClass:
    lock = Lock(frozenset({(_GROUP, NEVER)}), frozenset({_OTHER}))
    return AclClass(TenantKey(1), (lock,), _HIGH, frozenset({_ROOM}), Trust.INTERNAL, SourceKey(1))
