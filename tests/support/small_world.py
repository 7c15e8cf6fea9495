"""A tiny company for tests that change one thing at a time."""

from __future__ import annotations

from tests.oracle import Bolt, Company, Guard, Limits, Link, Who
from tests.worlds import LABELS, World

REQUEST = "pumpa pumpb valvec"


def small_world() -> World:
    """Ann is in group:g. Guards: the first two open to group:g, the third to group:other, the last to everyone."""
    company = Company("acme", labels={label: 10 * n for n, label in enumerate(LABELS)}, sources=("wiki",))
    company.who = {
        "everyone": Who("everyone", "everyone"),
        "user:ann": Who("user:ann", "member", clearance=LABELS[4]),
        "user:ben": Who("user:ben", "member", clearance=LABELS[4]),
        "group:g": Who("group:g", "group"),
        "group:other": Who("group:other", "group"),
        "app:a0": Who("app:a0", "app"),
    }
    company.links = [Link("user:ann", "group:g")]
    read = frozenset({"read"})
    company.limits["app:a0"] = [
        Limits(read, LABELS[4], frozenset(), frozenset({"*"}), frozenset({"qa"})),
    ]
    locks = ("group:g", "group:g", "group:other")
    guards = [
        Guard("acme", (Bolt(((name, None),)),), LABELS[n], frozenset(), "wiki")
        for n, name in enumerate(locks)
    ]
    return World({"acme": company}, guards, [])
