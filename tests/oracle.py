"""A brute-force judge, written from the text of the design and from nothing else.

It shares no code with the product: its own worlds (plain names, no database keys), its own closure, its own chain
of delegation, its own evaluator. Slow and obvious on purpose. Tests compare the product with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

MOST_AGENTS = 3


@dataclass(frozen=True)
class Who:
    """A principal as the directory has it. `kind`: member guest service agent app group everyone."""

    name: str
    kind: str
    state: str = "active"
    complete: bool = True
    clearance: str | None = None
    compartments: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Link:
    """Membership from `start` up to, not including, `end`; no end is None."""

    member: str
    group: str
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Limits:
    """What an application or agent may do at most. `sources` may hold "*"."""

    actions: frozenset[str]
    label: str
    compartments: frozenset[str]
    sources: frozenset[str]
    purposes: frozenset[str]
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Handover:
    """One delegation: `created_by` lets `agent` act for `subject`. None means no further limit."""

    id: str
    parent: str | None
    subject: str
    created_by: str
    agent: str
    actions: frozenset[str]
    label: str | None = None
    compartments: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    purposes: frozenset[str] | None = None
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Cut:
    """A revocation: `name`, or everybody (None), is cut off a source, or everything (None)."""

    name: str | None
    source: str | None
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Bolt:
    """A lock: allow entries (name, end or None), deny entries, and whether a deny could not be resolved."""

    allow: tuple[tuple[str, int | None], ...]
    deny: tuple[str, ...] = ()
    unresolved: bool = False


@dataclass(frozen=True)
class Guard:
    """A class: what guards documents."""

    tenant: str
    locks: tuple[Bolt, ...]
    label: str
    compartments: frozenset[str]
    source: str


@dataclass(frozen=True)
class Call:
    """Who calls, for whom or on which delegation, and what for."""

    tenant: str
    caller: str
    subject: str | None
    delegation: str | None = None
    purpose: str = "qa"
    action: str = "read"


@dataclass
class Company:
    """One tenant. `labels` maps a label's GUID to its priority."""

    name: str
    who: dict[str, Who] = field(default_factory=dict[str, Who])
    links: list[Link] = field(default_factory=list[Link])
    limits: dict[str, list[Limits]] = field(default_factory=dict[str, list[Limits]])
    handovers: dict[str, Handover] = field(default_factory=dict[str, Handover])
    labels: dict[str, int] = field(default_factory=dict[str, int])
    sources: tuple[str, ...] = ()
    cuts: list[Cut] = field(default_factory=list[Cut])


class Outcome(StrEnum):
    """What decided; the names are those of the design's reason codes."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown_subject"
    TENANT = "tenant"
    REVOKED = "revoked"
    LABEL = "label"
    COMPARTMENT = "compartment"
    DELEGATION = "delegation"
    UNRESOLVED = "unresolved_deny"
    DENIED = "denied"
    NOT_ON_LIST = "not_on_list"


@dataclass(frozen=True)
class Hop:
    """One application or agent of a chain with all its limits, own and handed over; without any it permits nothing."""

    name: str
    groups: frozenset[str]
    limits: tuple[Limits, ...]


@dataclass(frozen=True)
class Asking:
    """Everything about the asking side at one instant."""

    company: Company
    subject: Who | None
    groups: frozenset[str]
    hops: tuple[Hop, ...]
    purpose: str
    action: str
    doubtful: frozenset[str]


def ask(company: Company, call: Call, now: int) -> Asking:
    """Find out who asks through whom."""
    who, hops = _chain(company, call, now)
    groups: frozenset[str] = frozenset()
    if who is not None and who.state == "active":
        groups = groups_of(company, who.name, now)
        if who.kind == "member":
            groups |= {"everyone"}
    return Asking(company, who, groups, hops, call.purpose, call.action, doubtful(company, now))


def judge(asking: Asking, guard: Guard, now: int) -> Outcome:
    """May this be read? The first control that says no, from the outside inwards."""
    if not asking.groups:
        return Outcome.UNKNOWN
    if guard.tenant != asking.company.name:
        return Outcome.TENANT
    if any(_cut_off(asking, cut, guard, now) for cut in asking.company.cuts):
        return Outcome.REVOKED
    if not _reaches(asking.company, asking.subject.clearance if asking.subject else None, guard.label):
        return Outcome.LABEL
    if asking.subject is None or not guard.compartments <= asking.subject.compartments:
        return Outcome.COMPARTMENT
    if not 1 <= len(asking.hops) <= 1 + MOST_AGENTS:
        return Outcome.DELEGATION
    for hop in asking.hops:
        if not hop.limits or not all(_within(asking, limits, guard, now) for limits in hop.limits):
            return Outcome.DELEGATION
    if any(bolt.unresolved or set(bolt.deny) & asking.doubtful for bolt in guard.locks):
        return Outcome.UNRESOLVED
    if any(_denied(asking, bolt) for bolt in guard.locks):
        return Outcome.DENIED
    if not guard.locks or not all(_listed(asking, bolt, now) for bolt in guard.locks):
        return Outcome.NOT_ON_LIST
    return Outcome.ALLOWED if asking.action == "read" else Outcome.NOT_ON_LIST


def without_denies(guard: Guard) -> Guard:
    """The same guard, had nobody written a deny: tells whether a deny was what decided."""
    return replace(guard, locks=tuple(Bolt(bolt.allow) for bolt in guard.locks))


def half_open(asking: Asking, guard: Guard, now: int) -> bool:
    """Whether one lock would open and another would not: what a union over principals gets wrong."""
    listed = [_listed(asking, bolt, now) for bolt in guard.locks]
    return any(listed) and not all(listed)


def groups_of(company: Company, name: str, now: int) -> frozenset[str]:
    """The principal and all groups it is in, however deep. Nothing is reached through a group that is not active."""
    found = {name}
    grew = True
    while grew:
        grew = False
        for link in company.links:
            new = link.member in found and link.group not in found and _live(link.start, link.end, now)
            if new and company.who[link.group].state == "active":
                found.add(link.group)
                grew = True
    return frozenset(found)


def doubtful(company: Company, now: int) -> frozenset[str]:
    """Whom nobody knows for certain: unknown, deleted, incomplete, and groups that contain such a group."""
    found = {w.name for w in company.who.values() if w.state in ("deleted", "unknown") or not w.complete}
    grew = True
    while grew:
        grew = False
        for link in company.links:
            if (
                link.member in found
                and company.who[link.member].kind == "group"
                and link.group not in found
                and _live(link.start, link.end, now)
            ):
                found.add(link.group)
                grew = True
    return frozenset(found)


def _chain(company: Company, call: Call, now: int) -> tuple[Who | None, tuple[Hop, ...]]:
    """The subject and the hops in order; (None, ()) when the chain does not hold."""
    caller = company.who.get(call.caller)
    if caller is None or caller.state != "active" or caller.kind not in ("app", "agent"):
        return None, ()
    if call.delegation is not None:
        return _delegated(company, caller, call.delegation, now)
    who = company.who.get(call.subject or "")
    if who is None or who.kind in ("app", "group", "everyone"):
        return None, ()
    if caller.kind == "agent" and caller.name != who.name:
        return None, ()  # an agent has no user's rights without a delegation
    names = [caller.name] if caller.name == who.name or who.kind != "agent" else [caller.name, who.name]
    return who, tuple(_hop(company, name, now) for name in names)


def _delegated(company: Company, caller: Who, id_: str, now: int) -> tuple[Who | None, tuple[Hop, ...]]:
    chain: list[Handover] = []
    at: str | None = id_
    while at is not None:
        if at not in company.handovers or len(chain) > MOST_AGENTS:
            return None, ()
        chain.insert(0, company.handovers[at])
        at = chain[0].parent
    if len(chain) > MOST_AGENTS or chain[-1].agent != caller.name:
        return None, ()
    first = company.who[chain[0].created_by]
    if first.kind != "app":
        return None, ()
    hops = [_hop(company, first.name, now)]
    giver = first.name
    for handover in chain:
        hop = _hop(company, handover.agent, now)
        if (
            company.who[handover.agent].kind != "agent"
            or handover.created_by != giver
            or handover.subject != chain[0].subject
            or not _live(handover.start, handover.end, now)
        ):
            return None, ()
        hops.append(replace(hop, limits=hop.limits + tuple(_handed(own, handover) for own in hop.limits)))
        giver = handover.agent
    return company.who[chain[0].subject], tuple(hops)


def _hop(company: Company, name: str, now: int) -> Hop:
    """A hop with its own grant, which counts only when it is the one that is live and its owner is active."""
    live = tuple(x for x in company.limits.get(name, []) if _live(x.start, x.end, now))
    counts = len(live) == 1 and company.who[name].state == "active"
    return Hop(name, groups_of(company, name, now), live if counts else ())


def _handed(own: Limits, handover: Handover) -> Limits:
    """Limits of a handover; where it says nothing, the agent's own ones stand."""
    return Limits(
        handover.actions,
        handover.label if handover.label is not None else own.label,
        handover.compartments if handover.compartments is not None else own.compartments,
        handover.sources if handover.sources is not None else own.sources,
        handover.purposes if handover.purposes is not None else own.purposes,
        handover.start,
        handover.end,
    )


def _within(asking: Asking, limits: Limits, guard: Guard, now: int) -> bool:
    return (
        asking.action in limits.actions
        and asking.purpose in limits.purposes
        and _live(limits.start, limits.end, now)
        and _reaches(asking.company, limits.label, guard.label)
        and guard.compartments <= limits.compartments
        and guard.source in asking.company.sources
        and ("*" in limits.sources or guard.source in limits.sources)
    )


def _reaches(company: Company, clearance: str | None, label: str) -> bool:
    """Whether a clearance reaches a label. What is unknown grants nothing, and is more than anybody has."""
    if clearance is None or clearance not in company.labels or label not in company.labels:
        return False
    return company.labels[clearance] >= company.labels[label]


def _cut_off(asking: Asking, cut: Cut, guard: Guard, now: int) -> bool:
    if not _live(cut.start, cut.end, now) or cut.source not in (None, guard.source):
        return False
    involved = set(asking.groups).union(*(hop.groups for hop in asking.hops))
    return cut.name is None or cut.name == "everyone" or cut.name in involved | asking.doubtful


def _denied(asking: Asking, bolt: Bolt) -> bool:
    involved = set(asking.groups).union(*(hop.groups for hop in asking.hops))
    return "everyone" in bolt.deny or any(name in involved for name in bolt.deny)


def _listed(asking: Asking, bolt: Bolt, now: int) -> bool:
    return any(name in asking.groups and (end is None or now < end) for name, end in bolt.allow)


def _live(start: int, end: int | None, now: int) -> bool:
    return start <= now and (end is None or now < end)
