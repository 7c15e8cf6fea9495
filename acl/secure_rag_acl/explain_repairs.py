"""What would have to change for a control that fails to pass: named so that somebody can go and do it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import PrincipalKey
from secure_rag.model.locks import AclClass, Lock
from secure_rag.model.permissions import ALLOW, DENY
from secure_rag.model.subject import Hop
from secure_rag.retrieval.authorize import READ
from secure_rag_acl.explain_account import Control, Fix, Repair
from secure_rag_acl.explain_case import TRIES, Case
from secure_rag_acl.explain_identity import identity_repairs
from secure_rag_acl.explain_locks import admitting, denying, doubtful
from secure_rag_acl.explain_sight import UNNAMED
from secure_rag_acl.explain_steps import refusals


def repairs(case: Case, failing: Control) -> tuple[Repair, ...]:
    """All that has to change; together they make this control pass, and then the next one decides."""
    return tuple(_REPAIRS[failing](case))


def _subject(case: Case) -> Iterator[Repair]:
    yield from identity_repairs(case.view, case.tenant, case.identity, case.names)


def _revocations(case: Case) -> Iterator[Repair]:
    source = None if case.cls is None else case.cls.source
    for held in case.revocations():
        if held.document is None and held.source in (None, source):
            yield _lifted(case, held.id, held.principal, own=held.source is not None)


def _document_revocations(case: Case) -> Iterator[Repair]:
    for held in case.revocations():
        if held.document == case.facts.document_id:
            yield _lifted(case, held.id, held.principal, own=True)


def _lifted(case: Case, public_id: str, who: PrincipalKey | None, *, own: bool) -> Repair:
    """One that is not about this source is for those who may be told what the subject is cut off."""
    if not own and not case.sight.act_as:
        return Repair(Fix.LIFT_REVOCATION, "a security officer has to lift a revocation of everything")
    name = None if who is None else case.names.of(who)
    whose = "everybody" if name is None else name
    says = f"lift revocation {public_id} of {whose} (`secure-rag acl lift`), not by who made it"
    return Repair(Fix.LIFT_REVOCATION, says, name, values=(public_id,))


def _label(case: Case) -> Iterator[Repair]:
    taxonomy, cls = case.subject.taxonomy, _guard(case)
    who = case.names.of(case.subject.principal)
    if cls.label not in taxonomy.labels:
        known = sorted(taxonomy.labels.values(), key=lambda x: x.priority)
        says = f"give the document a label of the taxonomy: it has {cls.label}, which demands more than anybody has"
        yield Repair(Fix.SET_LABEL, says, values=tuple(x.name for x in known))
        if taxonomy.rank_of_clearance(case.subject.clearance) < known[0].priority:
            yield Repair(Fix.SET_CLEARANCE, f"give {who} a clearance", who, values=(known[0].name,))
        return
    wanted = taxonomy.name(cls.label)
    says = f"give {who} clearance {wanted}, or the document a lower label"
    yield Repair(Fix.SET_CLEARANCE, says, who, values=(wanted,))


def _compartments(case: Case) -> Iterator[Repair]:
    missing = tuple(sorted(_guard(case).compartments - case.subject.compartments))
    who = case.names.of(case.subject.principal)
    yield Repair(Fix.ADD_TO_COMPARTMENTS, f"add {who} to {', '.join(missing)}", who, values=missing)


def _chain(case: Case) -> Iterator[Repair]:
    for hop in case.subject.hops:
        refuses = refusals(case, hop)
        if not refuses:
            continue
        name = case.names.of(hop.principal)
        row = case.principal(hop.principal)
        if row is not None and not row.active:
            yield Repair(Fix.ACTIVATE, f"import {name} as active", name)
        wanted = ", ".join(_wanted(case, hop, refuses))
        whose = "grant" if case.identity.delegation is None else "grant and delegation"
        yield Repair(Fix.WIDEN_GRANT, f"let the {whose} of {name} cover {wanted}", name, values=refuses)


def _wanted(case: Case, hop: Hop, refuses: tuple[str, ...]) -> Iterator[str]:
    """What a hop lacks, in the words of a grant. Of a source only the document's own is named."""
    cls = _guard(case)
    words = {
        "action": f"action {READ}",
        "purpose": f"purpose {case.subject.purpose}",
        "expiry": "this instant",
        "source": f"source {case.facts.source}",
        "compartments": f"compartments {', '.join(sorted(cls.compartments - hop.compartments))}",
        "label": f"label {case.subject.taxonomy.name(cls.label)}",
    }
    yield from (words[x] for x in refuses)


def _denies_resolved(case: Case) -> Iterator[Repair]:
    for number, lock in enumerate(_guard(case).locks):
        if lock.unresolved_deny:
            entries = case.origins(number, DENY, "")
            what = ", ".join(f"{x.entry} at {x.place}" for x in entries) or "the deny that names nobody"
            says = f"lock {number + 1}: map {what} to a principal, or remove it"
            yield Repair(Fix.RESOLVE_DENY, says, None, number + 1, tuple(x.entry for x in entries) or ("",))
        found = doubtful(case, lock)
        case.names.load(found)
        for who in found:
            name = case.names.of(who)
            says = (
                f"lock {number + 1}: import {name} completely with the directory, or remove its deny"
                + _at(case, number, DENY, name)
            )
            yield Repair(Fix.REMOVE_DENY, says, name, number + 1)


def _denies(case: Case) -> Iterator[Repair]:
    for number, lock in enumerate(_guard(case).locks):
        found = denying(case, lock)
        case.names.load(found)
        for who in found:
            name = case.names.of(who)
            says = f"lock {number + 1}: remove the deny of {name}{_at(case, number, DENY, name)}"
            denied = [case.subject.principal] if who in case.subject.closure else []
            denied += [hop.principal for hop in case.subject.hops if who in hop.closure]
            if denied and who not in denied and who != case.subject.everyone:
                says += f", or take {case.names.of(denied[0])} out of it"
            yield Repair(Fix.REMOVE_DENY, says, name, number + 1)


def _allow_lists(case: Case) -> Iterator[Repair]:
    who = case.names.of(case.subject.principal)
    for number, lock in enumerate(_guard(case).locks):
        if admitting(case, lock):
            continue
        places = case.lists(number, ALLOW) or case.lists(number, DENY)
        where = f"the allow list at {places[0]}" if places else "its allow list"
        joined = _joinable(case, lock)
        group = f", or to {joined}" if joined is not None else ""
        yield Repair(
            Fix.ALLOW,
            f"lock {number + 1}: add {who} to {where}{group}",
            who,
            number + 1,
            groups=() if joined is None else (joined,),
        )


def _joinable(case: Case, lock: Lock) -> str | None:
    """A group of the list that the subject could join without being denied for it."""
    denied = frozenset[PrincipalKey]().union(*(x.deny for x in _guard(case).locks))
    groups = sorted(key for key, end in lock.allow if case.now < end)
    for group in groups[:TRIES]:
        if not case.is_group(group) or case.names.of(group) == UNNAMED:
            continue
        if denied.isdisjoint(case.view.closure(case.tenant, group)):
            return case.names.of(group)
    return None


def _index(case: Case) -> Iterator[Repair]:
    deleted = case.facts.state is DocumentState.DELETED
    says = (
        f"put it back at its source and run `secure-rag ingest run` for {case.facts.source}"
        if deleted
        else f"run `secure-rag ingest run` for {case.facts.source}; `secure-rag runs show` says why it failed"
    )
    if not case.past:
        yield Repair(Fix.RUN_INGEST, says)


def _quarantine(case: Case) -> Iterator[Repair]:
    says = f"let a reviewer release it: `secure-rag quarantine release {case.facts.document_id}`"
    yield Repair(Fix.RELEASE, says)


def _freshness(case: Case) -> Iterator[Repair]:
    says = f"confirm the permissions of {case.facts.source} with a complete `secure-rag ingest run`"
    yield Repair(Fix.CONFIRM_PERMISSIONS, says)


def _nothing(_: Case) -> Iterator[Repair]:
    yield from ()


def _at(case: Case, lock: int, effect: str, name: str) -> str:
    places = [x.place for x in case.origins(lock, effect, name)]
    return f" at {', '.join(places)}" if places else ""


def _guard(case: Case) -> AclClass:
    """Controls that come before the class have no repairs that look at it."""
    if case.cls is None:
        raise LookupError("no class")
    return case.cls


_REPAIRS: Final[Mapping[Control, Callable[[Case], Iterator[Repair]]]] = {
    Control.TENANT: _nothing,
    Control.INDEX: _index,
    Control.QUARANTINE: _quarantine,
    Control.SUBJECT: _subject,
    Control.REVOCATIONS: _revocations,
    Control.LABEL: _label,
    Control.COMPARTMENTS: _compartments,
    Control.CHAIN: _chain,
    Control.DENIES_RESOLVED: _denies_resolved,
    Control.DENIES: _denies,
    Control.ALLOW_LISTS: _allow_lists,
    Control.DOCUMENT_REVOCATIONS: _document_revocations,
    Control.TRUST: _nothing,
    Control.FRESHNESS: _freshness,
}
