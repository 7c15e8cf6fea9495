"""Lists of who may read what equal brute force, caller by caller, and explanations of the past equal the past."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from secure_rag.database.document_facts import document_facts
from secure_rag.database.views import ReadView, Views
from secure_rag.model.ids import Micros, PrincipalId
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_acl.explain_document import explain_document
from secure_rag_acl.explain_sight import FULL
from secure_rag_acl.what_can import Wanted, confirm, readable
from secure_rag_acl.who_can import Readers
from tests.controls import control
from tests.oracle import Asking, Call, Company, ask, judge
from tests.support.explained_world import FAILED, HELD, REVOKED, STALE, Papers, question, stored_papers
from tests.worlds import MINUTE, NOW, random_world

WORLDS = 6
LATER = NOW + 12 * MINUTE
ACTING = ("member", "guest", "service", "agent")
Listed = tuple[str, str | None, str, str | None]
"""(who reads, for whom, caller, delegation)"""


@control("acl:access-lists-exact")
def test_who_can_is_brute_force(tmp_path: Path) -> None:
    engine, seen = CasbinEngine(), Counter[str]()
    for seed in range(100, 100 + WORLDS):
        _list_readers(engine, seed, tmp_path / f"{seed}.db", seen)
    assert seen["documents"] >= 70 * WORLDS
    assert seen["readers"] >= 500
    assert seen["with readers"] >= 0.2 * seen["documents"]
    assert seen["delegated"] >= 20
    assert seen["agents themselves"] >= 20
    assert seen["in trouble"] >= 20


def _list_readers(engine: CasbinEngine, seed: int, path: Path, seen: Counter[str]) -> None:
    papers = stored_papers(random_world(seed, users=30), path, seed)
    with Views(papers.stored.engine, lambda: Micros(NOW)).open() as view:
        for number, guard in enumerate(papers.world.guards):
            tenant = papers.stored.tenants[guard.tenant]
            facts = document_facts(view, tenant, papers.name(number))
            assert facts is not None
            readers = Readers(view, engine, tenant, guard.tenant, facts, "qa")
            listed = readers.all()
            found = {
                (x.principal, x.on_behalf_of, str(y.caller), y.delegation) for x in listed for y in x.calls
            }
            expected = set(_readers(papers, number))
            assert found == expected, (seed, number)
            assert [x.key for x in listed] == sorted({x.key for x in listed})
            for reads in listed:
                readers.confirm(reads)
            seen["documents"] += 1
            seen["with readers"] += bool(found)
            seen["delegated"] += any(x.on_behalf_of for x in listed)
            seen["agents themselves"] += any(
                x.principal.startswith("agent:") and x.on_behalf_of is None for x in listed
            )
            seen["in trouble"] += bool(papers.states[number])
            seen["readers"] += len(listed)
    papers.stored.engine.dispose()


@control("acl:access-lists-exact")
def test_what_can_is_brute_force(tmp_path: Path) -> None:
    engine, seen = CasbinEngine(), Counter[str]()
    for seed in range(200, 200 + WORLDS):
        _list_documents(engine, seed, tmp_path / f"{seed}.db", seen)
    assert seen["asked"] >= 50 * WORLDS
    assert seen["some"] >= 10 * WORLDS
    assert seen["narrowed by label"] >= 5 * WORLDS
    assert seen["narrowed by source"] >= 5 * WORLDS


def _list_documents(engine: CasbinEngine, seed: int, path: Path, seen: Counter[str]) -> None:
    papers = stored_papers(random_world(seed), path, seed)
    with Views(papers.stored.engine, lambda: Micros(NOW)).open() as view:
        for company in papers.world.companies.values():
            for who in company.who.values():
                if who.kind in ACTING:
                    _compare(engine, view, papers, company, who.name, seen)
    papers.stored.engine.dispose()


def _compare(
    engine: CasbinEngine, view: ReadView, papers: Papers, company: Company, who: str, seen: Counter[str]
) -> None:
    tenant = papers.stored.tenants[company.name]
    sources = {name: papers.stored.sources[company.name, name] for name in company.sources}
    callers = [*(x.name for x in company.who.values() if x.kind == "app")]
    callers += [who] if who.startswith("agent:") else []
    calls = [CallerIdentity(company.name, PrincipalId(x), PrincipalId(who)) for x in callers]
    wanted = Wanted(list(sources.values()))
    listed = readable(view, engine, tenant, calls, "qa", wanted)
    expected = {
        (papers.name(n), caller)
        for caller in callers
        for n in _mine(papers, company.name)
        if _may(papers, Call(company.name, caller, who), n)
    }
    assert {(x.name, caller) for x in listed for caller in x.callers} == expected, who
    assert [x.name for x in listed] == sorted(x.name for x in listed)
    confirm(view, engine, tenant, calls, "qa", listed)
    labelled = readable(view, engine, tenant, calls, "qa", replace(wanted, label=">=label 20"))
    assert labelled == [x for x in listed if int(x.label.removeprefix("label ")) >= 20]
    in_hr = readable(view, engine, tenant, calls, "qa", Wanted([sources["hr"]]))
    assert in_hr == [x for x in listed if x.name.startswith("hr/")]
    seen["asked"] += 1
    seen["some"] += bool(listed)
    seen["narrowed by label"] += 0 < len(labelled) < len(listed)
    seen["narrowed by source"] += 0 < len(in_hr) < len(listed)


@control("acl:explain-past")
def test_an_explanation_of_the_past_is_what_was_decided_then(tmp_path: Path) -> None:
    engine, seen = CasbinEngine(), Counter[str]()
    for seed in (300, 301, 302):
        papers = stored_papers(random_world(seed), tmp_path / f"{seed}.db", seed, troubled=0.0)
        with Views(papers.stored.engine, lambda: Micros(LATER)).open() as view:
            for made in papers.world.calls:
                call = replace(made, action="read")
                for number in _mine(papers, call.tenant)[:12]:
                    _compare_past(engine, view, papers, call, number, seen)
        papers.stored.engine.dispose()
    assert seen["asked"] >= 3_000
    assert seen["another verdict then"] >= 20


def _compare_past(
    engine: CasbinEngine, view: ReadView, papers: Papers, call: Call, number: int, seen: Counter[str]
) -> None:
    tenant, guard = papers.stored.tenants[call.tenant], papers.world.guards[number]
    company = papers.world.companies[call.tenant]
    facts = document_facts(view, tenant, papers.name(number))
    assert facts is not None
    verdicts: set[str] = set()
    for at in (NOW - 3 * MINUTE, NOW, NOW + 2 * MINUTE, NOW + 5 * MINUTE):
        account = explain_document(view, engine, tenant, facts, question(call, at), FULL)
        expected = judge(ask(company, call, at), guard, at)
        assert account.reason.value == expected.value, (call, number, at, account)
        assert account.past
        assert account.no_history
        verdicts.add(expected.value)
        seen["asked"] += 1
    seen["another verdict then"] += len(verdicts) > 1


def _mine(papers: Papers, tenant: str) -> list[int]:
    return [n for n, guard in enumerate(papers.world.guards) if guard.tenant == tenant]


def _readers(papers: Papers, number: int) -> Iterator[Listed]:
    """Every call of the company, tried one by one."""
    company = papers.world.companies[papers.world.guards[number].tenant]
    apps = [x.name for x in company.who.values() if x.kind == "app"]
    for who in company.who.values():
        if who.kind in ACTING:
            for caller in [*apps, *([who.name] if who.kind == "agent" else [])]:
                if _may(papers, Call(company.name, caller, who.name), number):
                    yield who.name, None, caller, None
    for handover in company.handovers.values():
        root = handover
        while root.parent is not None:
            root = company.handovers[root.parent]
        if _may(papers, Call(company.name, handover.agent, None, handover.id), number):
            yield handover.agent, root.subject, handover.agent, handover.id


def _may(papers: Papers, call: Call, number: int) -> bool:
    trouble = papers.states[number]
    if trouble in (HELD, FAILED, STALE):
        return False
    company = papers.world.companies[call.tenant]
    asking = _asking(papers.stored.engine.url.database or "", call, _Company(company))
    if judge(asking, papers.world.guards[number], NOW) != "allowed":
        return False
    if trouble != REVOKED:
        return True
    named = _revoked(papers, number)
    involved = set(asking.groups).union(*(hop.groups for hop in asking.hops)) | set(asking.doubtful)
    return named is not None and named not in {papers.stored.principals[call.tenant, x] for x in involved}


class _Company:
    """A company as an argument that is remembered: two are equal only if they are the same one."""

    def __init__(self, company: Company) -> None:
        self.company = company

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Company) and other.company is self.company

    def __hash__(self) -> int:
        return id(self.company)


@cache
def _asking(_: str, call: Call, company: _Company) -> Asking:
    return ask(company.company, call, NOW)


def _revoked(papers: Papers, number: int) -> int | None:
    with papers.stored.engine.connect() as connection:
        return connection.exec_driver_sql(
            "SELECT principal_id FROM revocation WHERE public_id = ?", (f"r_{number}",)
        ).scalar()
