"""Control by control: passed or not, and in words. Each asks the named function that the policy model calls."""

from __future__ import annotations

from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros
from secure_rag.model.labels import Trust
from secure_rag.model.subject import Hop
from secure_rag.retrieval.authorize import READ, is_stale
from secure_rag_acl import functions as f
from secure_rag_acl.explain_account import Control, HopAccount, Step, iso
from secure_rag_acl.explain_case import Case
from secure_rag_acl.explain_locks import admitting, denying

_DAY = 86_400_000_000


def steps(case: Case) -> tuple[Step, ...]:
    """Every control in the order of the decision; those that need a class are not reached without one."""
    before = [_tenant(case), _index(case), _quarantine(case)]
    if case.cls is None:
        rest = [x for x in Control if x not in {step.control for step in before}]
        return (*before, *(Step(x, None, "not reached: nothing guards the document") for x in rest))
    return (
        *before,
        _subject(case),
        _revocations(case),
        _label(case),
        _compartments(case),
        _chain(case),
        _denies_resolved(case),
        _denies(case),
        _allow_lists(case),
        _document_revocations(case),
        _trust(case),
        _freshness(case),
    )


def hop_accounts(case: Case) -> tuple[HopAccount, ...]:
    """Every hop, and what of it stands in the way."""
    return tuple(_hop(case, hop) for hop in case.subject.hops)


def refusals(case: Case, hop: Hop) -> tuple[str, ...]:
    """What of a hop stands in the way: action, purpose, expiry, source, compartments, label."""
    taxonomy, cls = case.subject.taxonomy, case.cls
    checks = [
        ("action", READ in hop.actions),
        ("purpose", case.subject.purpose in hop.purposes),
        ("expiry", case.now < hop.expires),
    ]
    if cls is not None:
        demanded = taxonomy.rank_of_content(cls.label)
        reached = [taxonomy.rank_of_clearance(x) >= demanded for x in hop.ceilings]
        checks += [
            ("source", cls.source in hop.sources),
            ("compartments", cls.compartments <= hop.compartments),
            ("label", bool(reached) and all(reached)),
        ]
    return tuple(what for what, permitted in checks if not permitted)


def _tenant(case: Case) -> Step:
    passed = case.cls is None or f.same_tenant(case.subject, case.cls)
    return Step(Control.TENANT, passed, f"the document is of tenant {case.identity.tenant}")


def _index(case: Case) -> Step:
    if case.past:
        held = case.cls is not None
        says = "a class guarded the document then" if held else "no class guarded the document then"
        return Step(Control.INDEX, None if held else False, says)
    found = {
        DocumentState.LIVE: "the document is in the index",
        DocumentState.QUARANTINED: "the document is in the index",
        DocumentState.WITHHELD: "the last run that met the document failed, so it is withheld",
        DocumentState.DELETED: "the document was deleted",
    }[case.facts.state]
    held = case.facts.state in (DocumentState.LIVE, DocumentState.QUARANTINED) and case.cls is not None
    return Step(Control.INDEX, held, found)


def _quarantine(case: Case) -> Step:
    if case.past:
        return Step(Control.QUARANTINE, None, "whether it was in quarantine then is not kept")
    held = case.facts.state is DocumentState.QUARANTINED
    says = "a detector hit, and nobody has released it" if held else "no detector holds it"
    return Step(Control.QUARANTINE, not held, says)


def _subject(case: Case) -> Step:
    subject = case.subject
    if not subject.closure:
        return Step(Control.SUBJECT, False, "the call has no subject that the directory knows as active")
    name = case.names.of(subject.principal)
    groups = len(subject.closure - {subject.principal, subject.everyone})
    held = f", in {groups} group{'' if groups == 1 else 's'}" if case.sight.act_as else ""
    return Step(Control.SUBJECT, True, f"{name} is active{held}")


def _revocations(case: Case) -> Step:
    cls = case.cls
    passed = cls is not None and f.not_revoked(case.subject, cls)
    says = "none holds" if passed else "the subject or a hop is cut off the source, or off everything"
    return Step(Control.REVOCATIONS, passed, says)


def _label(case: Case) -> Step:
    subject, cls = case.subject, case.cls
    passed = cls is not None and f.dominates(subject, cls)
    label = "" if cls is None else subject.taxonomy.name(cls.label)
    held = "the clearance"
    if case.sight.act_as:
        held = (
            "no clearance, which"
            if subject.clearance is None
            else f"clearance {subject.taxonomy.name(subject.clearance)}"
        )
    return Step(Control.LABEL, passed, f"{held} {'reaches' if passed else 'does not reach'} label {label}")


def _compartments(case: Case) -> Step:
    cls = case.cls
    needed = frozenset() if cls is None else cls.compartments
    if not needed:
        return Step(Control.COMPARTMENTS, True, "the document is in no compartment")
    missing = sorted(needed - case.subject.compartments)
    says = f"not in {', '.join(missing)}" if missing else f"in {', '.join(sorted(needed))}"
    return Step(Control.COMPARTMENTS, not missing, says)


def _chain(case: Case) -> Step:
    cls, hops = case.cls, case.subject.hops
    passed = cls is not None and f.hops_allow(case.subject, READ, cls, case.now)
    if passed:
        return Step(Control.CHAIN, True, "every hop permits it")
    if not hops:
        return Step(Control.CHAIN, False, "nobody calls")
    blocked = [f"{x.principal} ({', '.join(x.refuses)})" for x in hop_accounts(case) if x.refuses]
    return Step(Control.CHAIN, False, f"not permitted by {', '.join(blocked)}")


def _hop(case: Case, hop: Hop) -> HopAccount:
    taxonomy = case.subject.taxonomy
    shown = case.sight.act_as
    return HopAccount(
        principal=case.names.of(hop.principal),
        refuses=refusals(case, hop),
        ceilings=tuple(taxonomy.name(x) for x in hop.ceilings) if shown else None,
        expires=iso(hop.expires) if shown and hop.ceilings else None,
    )


def _denies_resolved(case: Case) -> Step:
    locks = () if case.cls is None else case.cls.locks
    closed = [n for n, lock in enumerate(locks, 1) if f.lock_unresolved(lock, case.subject)]
    says = (
        f"{_locks(closed)}: a deny names somebody who is not mapped or not known for certain"
        if closed
        else "every deny names somebody who is known"
    )
    return Step(Control.DENIES_RESOLVED, not closed, says)


def _denies(case: Case) -> Step:
    locks = () if case.cls is None else case.cls.locks
    considered = sum(len(lock.deny) for lock in locks)
    closed = [n for n, lock in enumerate(locks, 1) if denying(case, lock)]
    if closed:
        return Step(Control.DENIES, False, f"{_locks(closed)}: a deny applies")
    entries = f"{considered} deny entr{'y' if considered == 1 else 'ies'}"
    return Step(Control.DENIES, True, f"none of {entries} applies" if considered else "there is no deny")


def _allow_lists(case: Case) -> Step:
    locks = () if case.cls is None else case.cls.locks
    closed = [n for n, lock in enumerate(locks, 1) if not admitting(case, lock)]
    if closed:
        return Step(Control.ALLOW_LISTS, False, f"{_locks(closed)}: not on the allow list")
    return Step(Control.ALLOW_LISTS, bool(locks), f"on the allow list of {_locks(range(1, len(locks) + 1))}")


def _document_revocations(case: Case) -> Step:
    revoked = case.facts.document_id in case.subject.revoked_documents
    says = "the subject or a hop is cut off this document" if revoked else "none holds"
    return Step(Control.DOCUMENT_REVOCATIONS, not revoked, says)


def _trust(case: Case) -> Step:
    taxonomy, cls = case.subject.taxonomy, case.cls
    trust = Trust.EXTERNAL if cls is None else cls.trust
    if trust is not Trust.EXTERNAL:
        return Step(Control.TRUST, True, f"trust {trust}")
    threshold = taxonomy.name(taxonomy.mix_threshold)
    says = f"trust external: never in one answer with content at or above {threshold}"
    return Step(Control.TRUST, True, says)


def _freshness(case: Case) -> Step:
    if case.past:
        return Step(
            Control.FRESHNESS, None, "when permissions were confirmed before that instant is not kept"
        )
    facts = case.facts
    stale = is_stale(facts.acl_as_of, facts.max_acl_age, case.now)
    confirmed = "never confirmed" if facts.acl_as_of <= 0 else f"confirmed {iso(facts.acl_as_of)}"
    return Step(
        Control.FRESHNESS, not stale, f"permissions {confirmed}; they hold for {_age(facts.max_acl_age)}"
    )


def _age(length: Micros) -> str:
    return f"{length / _DAY:g} days" if length < 36_500 * _DAY else "ever"


def _locks(numbers: range | list[int]) -> str:
    found = [str(n) for n in numbers]
    return f"lock{'' if len(found) == 1 else 's'} {', '.join(found)}"
