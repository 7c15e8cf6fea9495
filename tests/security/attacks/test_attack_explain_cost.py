"""What one question may cost: work that grows with a long list, never with its square."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from secure_rag.database import tables as t
from secure_rag.database.document_facts import document_facts
from secure_rag.database.engine import write
from secure_rag.database.views import ReadView
from secure_rag.model import permissions
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain_account import Account
from secure_rag_acl.explain_document import Question, explain_document
from secure_rag_acl.explain_sight import FULL
from tests.controls import control
from tests.oracle import Bolt, Company, Guard, Limits, Link, Who
from tests.support.explained_world import stored_papers
from tests.worlds import LABELS, NOW, World

ENTRIES = 600
ASKED = Question(CallerIdentity("acme", PrincipalId("app:h"), PrincipalId("user:a"), None))


def long_list(effect: str) -> World:
    """A document with hundreds of groups on one list, all of which concern the one who asks."""
    groups = tuple(f"group:g{n}" for n in range(ENTRIES))
    made = Company("acme", labels={x: 10 * n for n, x in enumerate(LABELS)}, sources=("hr",))
    made.who = {
        "everyone": Who("everyone", "everyone"),
        "user:a": Who("user:a", "member", clearance=LABELS[2]),
        "app:h": Who("app:h", "app"),
        **{x: Who(x, "group") for x in groups},
    }
    made.links = [Link("user:a", x) for x in groups]
    made.limits["app:h"] = [
        Limits(frozenset({"read"}), LABELS[4], frozenset(), frozenset({"*"}), frozenset({"qa"}))
    ]
    allow = tuple((x, None) for x in groups) if effect == "allow" else (("everyone", None),)
    deny = () if effect == "allow" else groups
    return World({"acme": made}, [Guard("acme", (Bolt(allow, deny),), LABELS[1], frozenset(), "hr")], [])


@control("acl:explain-agrees")
@pytest.mark.parametrize("effect", ["allow", "deny", "uncertain deny"])
def test_an_explanation_looks_at_a_long_list_once(tmp_path: Path, effect: str) -> None:
    """A list of 50,000, which a data owner may write, must not hold a thread of the retrieval for minutes."""
    papers = stored_papers(long_list(effect), tmp_path / "control.db", 3, troubled=0.0)
    engine = papers.stored.engine
    if effect == "uncertain deny":
        with write(engine) as connection:
            connection.execute(sa.update(t.principal).where(t.principal.c.kind == "group").values(complete=0))
    walks, statements = [0], [0]

    class Walked(tuple[permissions.Origin, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[permissions.Origin]:
            walks[0] += 1
            return super().__iter__()

    with engine.connect() as connection:
        view, tenant = ReadView(connection, Micros(NOW)), papers.stored.tenants["acme"]
        facts = document_facts(view, tenant, "hr/d0")
        assert facts is not None
        assert len(facts.origins) >= ENTRIES
        facts = replace(facts, origins=Walked(facts.origins))
        event.listen(engine, "before_cursor_execute", lambda *_: statements.__setitem__(0, statements[0] + 1))
        account: Account = explain_document(view, CasbinEngine(), tenant, facts, ASKED, FULL)
    entries = account.locks[0].opens_through if effect == "allow" else account.locks[0].closed_by
    assert len(entries) == ENTRIES
    assert all(x.principal.startswith("group:g") and x.origins for x in entries)
    assert statements[0] < 100
    assert walks[0] < 10
