"""What an explanation says is what is decided, and what it says would help does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from secure_rag.database.document_facts import document_facts
from secure_rag.database.views import ReadView
from secure_rag.model.decisions import Reason
from secure_rag.model.ids import Micros
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain_account import Account
from secure_rag_acl.explain_document import explain_document
from secure_rag_acl.explain_sight import FULL
from tests.controls import control
from tests.oracle import Call, Outcome, ask, judge
from tests.support.explained_world import (
    FAILED,
    HELD,
    REVOKED,
    STALE,
    CachedView,
    Papers,
    Workshop,
    question,
    stored_papers,
)
from tests.worlds import NOW, random_world

WORLDS = 7
BATCHES = 2
"""2 batches of 7 worlds of 1,476 explanations: 20,664."""


@control("acl:explain-agrees", "acl:explain-repairs")
@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_explanation_is_the_decision_and_its_repairs_work(batch: int, tmp_path: Path) -> None:
    engine, seen = CasbinEngine(), Counter[str]()
    for seed in range(batch * WORLDS, (batch + 1) * WORLDS):
        papers = stored_papers(random_world(seed), tmp_path / f"{seed}.db", seed)
        _explain_world(engine, papers, seen)
        papers.stored.engine.dispose()
    assert seen["all"] >= 20_000 / BATCHES
    assert seen["allowed"] >= 0.03 * seen["all"]
    assert seen["repaired"] == seen["all"] - seen["allowed"]
    assert seen["repaired by joining a group"] >= 100
    assert seen["allowed after one repair"] >= 300
    for reason in set(Reason) - {Reason.TENANT, Reason.MIXED_TRUST, Reason.EVALUATION_ERROR}:
        assert seen[reason] > 0, reason


def _explain_world(engine: CasbinEngine, papers: Papers, seen: Counter[str]) -> None:
    for made in papers.world.calls:
        call = replace(made, action="read")
        mine = [n for n, guard in enumerate(papers.world.guards) if guard.tenant == call.tenant]
        with papers.stored.engine.connect() as connection, connection.begin():
            view = CachedView(connection, Micros(NOW))
            found = {number: _explain(engine, view, papers, call, number) for number in mine}
        for number, account in found.items():
            expected = _expected(papers, call, number)
            assert account.reason.value == expected, (call, number, account)
            assert account.allowed is (expected == "allowed")
            assert (account.failing is None) is account.allowed
            seen["all"] += 1
            seen[account.reason] += 1
        _repair_all(engine, papers, call, found, seen)


def _repair_all(
    engine: CasbinEngine, papers: Papers, call: Call, found: dict[int, Account], seen: Counter[str]
) -> None:
    with papers.stored.engine.connect().execution_options(writes=True) as connection:
        for number, account in found.items():
            if account.failing is None:
                continue
            join = number % 2 == 0
            transaction = connection.begin()
            workshop = Workshop(connection, papers, call, number)
            workshop.repair(account, join=join)
            after = _explain(engine, ReadView(connection, Micros(NOW)), papers, workshop.call, number)
            transaction.rollback()
            now = {x.control: x.passed for x in after.steps}
            assert now[account.failing] is True, (call, number, account, after)
            seen["repaired"] += 1
            seen["repaired by joining a group"] += join and any(x.groups for x in account.repairs)
            seen["allowed after one repair"] += after.allowed


def _explain(engine: CasbinEngine, view: ReadView, papers: Papers, call: Call, number: int) -> Account:
    tenant = papers.stored.tenants[call.tenant]
    facts = document_facts(view, tenant, papers.name(number))
    assert facts is not None
    return explain_document(view, engine, tenant, facts, question(call), FULL)


def _expected(papers: Papers, call: Call, number: int) -> str:
    """The brute-force judge, and what befell the document."""
    trouble, guard = papers.states[number], papers.world.guards[number]
    if trouble == HELD:
        return "quarantined"
    if trouble == FAILED:
        return "not_indexed"
    company = papers.world.companies[call.tenant]
    asking = ask(company, call, NOW)
    verdict = judge(asking, guard, NOW)
    if verdict is not Outcome.ALLOWED or not trouble:
        return verdict.value
    if trouble == REVOKED:
        who = papers.stored.principals
        involved = set(asking.groups).union(*(hop.groups for hop in asking.hops)) | set(asking.doubtful)
        with papers.stored.engine.connect() as connection:
            named = connection.exec_driver_sql(
                "SELECT principal_id FROM revocation WHERE public_id = ?", (f"r_{number}",)
            ).scalar()
        hit = named is None or any(who[call.tenant, x] == named for x in involved)
        return "revoked" if hit else "allowed"
    assert trouble == STALE
    return "acl_stale"
