"""Whom a delegation can be for, whatever its row says."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.database.views import Views
from secure_rag.model.ids import Micros
from tests.controls import control
from tests.oracle import Call, Company, Handover, Limits, Link, Who
from tests.support.decided import read_subject
from tests.worlds import LABELS, NOW, World, store

READ, QA, ALL = frozenset({"read"}), frozenset({"qa"}), frozenset({"*"})


def company(subject: str) -> Company:
    made = Company("acme", labels={label: n for n, label in enumerate(LABELS)}, sources=("wiki",))
    people = {
        "everyone": "everyone",
        "user:ann": "member",
        "group:g": "group",
        "app:a": "app",
        "agent:b": "agent",
        "agent:c": "agent",
    }
    made.who = {name: Who(name, kind, clearance=LABELS[4]) for name, kind in people.items()}
    made.links = [Link("user:ann", "group:g")]
    for name in ("app:a", "agent:b", "agent:c"):
        made.limits[name] = [Limits(READ, LABELS[4], frozenset(), ALL, QA)]
    made.handovers["d"] = Handover("d", None, subject, "app:a", "agent:b", READ)
    return made


@control("acl:delegation-narrows")
@pytest.mark.parametrize(
    ("subject", "reads"),
    [("user:ann", True), ("group:g", False), ("app:a", False), ("agent:c", False), ("everyone", False)],
)
def test_a_delegation_is_for_a_person_or_service_only(tmp_path: Path, subject: str, reads: bool) -> None:
    world = World({"acme": company(subject)}, [], [])
    stored = store(world, tmp_path / "w.db")
    with Views(stored.engine, lambda: Micros(NOW)).open() as view:
        found = read_subject(view, stored, Call("acme", "agent:b", None, "d"))
    stored.engine.dispose()
    assert bool(found.closure) is reads
