"""Controls of the product, each switched off alone, and the scenarios of the demo that must notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secure_rag.database.subjects import PrincipalRow
from secure_rag.detection import HiddenMarkup, InstructionPatterns, UnicodeRules
from secure_rag_acl import functions
from tests.security import demo_breaks as b
from tests.security.demo_breaks import Breaks

LEAKED: Final = "LEAKED: "


@dataclass(frozen=True)
class Mutant:
    """A control that is off, the scenarios that must fail for it, and how each of them must fail."""

    name: str
    breaks: Breaks
    scenarios: tuple[str, ...]
    failure: str = LEAKED


FULL: Final = ("wiki", "hr", "finance")
MUTANTS: Final = (
    # ---- who is on the list
    Mutant(
        "allow lists ignored",
        b.lock_function("lock_opens", lambda lock, subject, _: not functions.lock_denied(lock, subject)),
        (
            "same-question-engineering",
            "two-locks",
            "guest-is-not-everyone",
            "membership-that-ended",
            "revocation-seen-by-next-query",
            "last-rule-decides",
            "agent-alone",
        ),
    ),
    Mutant("groups ignored", b.closure(0), ("same-question-hr", "group-four-levels-deep"), "missing: "),
    Mutant("groups of groups ignored", b.closure(1), ("group-four-levels-deep",), "missing: "),
    Mutant("ended memberships count", b.closure(ended=True), ("revocation-seen-by-next-query",)),
    Mutant("ends of memberships not imported", b.ends_not_imported, ("membership-that-ended",)),
    Mutant("nothing is read anew", b.one_view_for_all, ("revocation-seen-by-next-query",)),
    Mutant(
        "expiry of allow entries ignored",
        b.lock_function("lock_opens", b.opens_without_end),
        ("allow-with-an-end",),
    ),
    Mutant(
        "any lock will do",
        b.named_function("on_locks", b.any_lock),
        ("two-locks", "sidecar-adds-a-lock", "sidecar-cannot-widen"),
    ),
    Mutant(
        "everybody is everyone",
        b.subjects(b.with_everyone),
        ("guest-is-not-everyone", "service-account", "agent-alone"),
    ),
    Mutant("who left is active", lambda patch, _: patch.setattr(PrincipalRow, "active", True), ("leaver",)),
    Mutant("who is unknown is some employee", b.default_account, ("unknown-user-equals-empty",)),
    Mutant("tenants are one", b.tenants_off, ("other-tenant",)),
    # ---- who is denied
    Mutant(
        "denies ignored",
        b.lock_function("lock_denied", functions.lock_unresolved),
        ("deny-beats-group-allow", "group-four-levels-deep", "agent-denied"),
    ),
    Mutant(
        "denies of agents ignored", b.lock_function("lock_denied", b.denied_without_hops), ("agent-denied",)
    ),
    Mutant(
        "doubt about a deny ignored",
        b.lock_function("lock_unresolved", lambda *_: False),
        ("unmapped-deny-closes", "half-known-group-in-deny-closes"),
    ),
    Mutant(
        "half-known groups trusted",
        b.reader("uncertain", lambda *_: frozenset()),
        ("half-known-group-in-deny-closes",),
    ),
    # ---- how sensitive it is
    Mutant(
        "clearance ignored",
        b.named_function("dominates", lambda *_: True),
        (
            "clearance",
            "no-clearance-sees-nothing",
            "missing-label",
            "sidecar-raises-the-label",
            "poison-does-not-fill-the-answer",
        ),
    ),
    Mutant(
        "no clearance is the highest",
        b.reader("_clearance", b.highest_clearance),
        ("no-clearance-sees-nothing",),
    ),
    Mutant("compartments ignored", b.named_function("need_to_know", lambda *_: True), ("compartment",)),
    # ---- applications and agents
    Mutant(
        "hops ignored",
        b.hops(lambda _, __: True),
        (
            "application-ceiling",
            "ceiling-behind-an-agent",
            "agent-outside-a-compartment",
            "agent-for-a-person",
            "chain-of-two-agents",
            "purpose",
            "expired-grant",
        ),
    ),
    Mutant(
        "only the last hop counts",
        b.hops(lambda chain, permits: permits(chain[-1])),
        ("ceiling-behind-an-agent",),
    ),
    Mutant(
        "only the application counts",
        b.hops(lambda chain, permits: permits(chain[0])),
        (
            "agent-outside-a-compartment",
            "agent-for-a-person",
            "chain-of-two-agents",
            "purpose",
            "expired-grant",
        ),
    ),
    Mutant(
        "the application has no ceiling",
        b.hops(lambda chain, permits: all(permits(x) for x in chain[1:])),
        ("application-ceiling", "ceiling-behind-an-agent"),
    ),
    Mutant(
        "labels of hops ignored", b.hop(without="label"), ("application-ceiling", "ceiling-behind-an-agent")
    ),
    Mutant("compartments of hops ignored", b.hop(without="compartments"), ("agent-outside-a-compartment",)),
    Mutant("sources of hops ignored", b.hop(without="source"), ("agent-for-a-person",)),
    Mutant("purposes ignored", b.hop(without="purpose"), ("purpose",)),
    Mutant("grants never end", b.never_ending_grants, ("expired-grant",)),
    # ---- what the data owner wrote, and forgot
    Mutant(
        "the first rule decides",
        b.at_ingest(b.mapped(b.first_rule), *FULL),
        ("last-rule-decides", "deny-beats-group-allow", "unmapped-deny-closes"),
    ),
    Mutant("no rule means everyone", b.at_ingest(b.open_without_rule, "finance"), ("no-rule-means-nobody",)),
    Mutant(
        "unmapped allows are all",
        b.at_ingest(b.everyone_if_unmapped, "finance"),
        ("unmapped-allow-grants-nothing",),
    ),
    Mutant(
        "unmapped denies are dropped", b.at_ingest(b.drop_unmapped_deny, "wiki"), ("unmapped-deny-closes",)
    ),
    Mutant("a missing label is the lowest", b.at_ingest(b.lowest_default, "deal-room"), ("missing-label",)),
    Mutant(
        "sidecars ignored",
        b.at_ingest(b.mapped(b.no_sidecar), "wiki"),
        ("sidecar-adds-a-lock", "sidecar-raises-the-label"),
    ),
    Mutant(
        "every sidecar is authoritative",
        b.at_ingest(b.sidecars(authoritative=True), "hr"),
        ("sidecar-cannot-widen",),
    ),
    Mutant(
        "no sidecar is authoritative",
        b.at_ingest(b.sidecars(authoritative=False), "deal-room"),
        ("authoritative-sidecar",),
        "missing: ",
    ),
    # ---- what was planted
    Mutant(
        "hidden text not seen",
        b.detector(HiddenMarkup, "hr/recruiting/cv-jonas-weller.docx"),
        ("hidden-text-quarantined",),
    ),
    Mutant(
        "invisible characters not seen",
        b.detector(UnicodeRules, "partner-inbox/tidewell/packing-notes.txt"),
        ("smuggled-characters-quarantined",),
    ),
    Mutant(
        "orders to models not seen",
        b.detector(InstructionPatterns, "partner-inbox/unsolicited/overdue-invoice-reminder.eml"),
        ("injection-quarantined",),
    ),
    Mutant("trust mixed in an answer", b.mixed, ("poison-kept-out-of-confidential-answer",)),
    Mutant("trust mixed across a context", b.contexts_forgotten, ("mail-then-plan", "plan-then-mail")),
    Mutant("copies not collapsed", b.none_collapsed, ("poison-does-not-fill-the-answer",), "missing: "),
    Mutant("echoes not flagged", b.no_echo, ("poisoned-page-is-flagged",), "not flagged"),
)
