"""A seeded world of 200 people and 2,000 documents, 300 queries over HTTP: every answer equals brute force.

The judge is `tests/oracle.py`, written from the design without the product's code. The second test ends and renews
memberships from another process all the while; each answer is checked against the history at the policy version of
its final view, which its audit event names.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from secure_rag.audit import reading
from secure_rag.config import load_settings
from secure_rag_api.auth.development_issuer import DevelopmentIssuer
from secure_rag_api.clock import SystemClock
from tests.controls import control
from tests.oracle import Call, Company
from tests.support.filled_home import FilledHome, fill_home, sentence
from tests.support.server import PYTHONPATH, ROOT, running
from tests.worlds import random_world

USERS, DOCUMENTS, QUERIES, K = 200, 2_000, 300, 10
ELSEWHERE = 50
"""As many of the queries are those of the other company, whose names are the same."""


@pytest.fixture(scope="module", name="filled")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> FilledHome:
    world = random_world(41, users=USERS, groups=40, guards=160, calls=QUERIES * 2)
    filled = fill_home(tmp_path_factory.mktemp("leaks") / "home", world, DOCUMENTS, seed=41)
    return filled


def presentable(filled: FilledHome, tenant: str) -> list[Call]:
    """Calls of a company whose identities can stand in a token; the others are tested where tokens are."""
    people = ("user:", "service:", "agent:")
    return [
        call
        for call in filled.world.calls
        if call.tenant == tenant
        and call.action == "read"
        and call.caller.startswith(("app:", "agent:"))
        and (call.delegation is not None or (call.subject or "").startswith(people))
    ]


class Caller:
    """Asks over HTTP with tokens of the development issuer."""

    def __init__(self, address: str, home: Path) -> None:
        self._client = httpx.Client(base_url=address, timeout=60)
        self._issuer = DevelopmentIssuer.open(home, load_settings(home), SystemClock())

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, call: Call, query: str) -> httpx.Response:
        tokens = self._issuer.issue(
            app=call.caller, tenant=call.tenant, subject=call.subject, delegation=call.delegation
        )
        headers = {"Authorization": f"Bearer {tokens.token}", "X-Subject-Token": tokens.subject_token}
        return self._client.post(
            "/v1/retrieve", json={"query": query, "k": K, "purpose": call.purpose}, headers=headers
        )


def difference(response: httpx.Response, expected: list[tuple[str, float]]) -> str | None:
    """What is wrong with an answer. A caller that may not speak for its subject gets 401 or nothing."""
    if response.status_code == 401:
        return None if not expected else "refused what the judge allows"
    if response.status_code != 200:
        return f"status {response.status_code}"
    got = [(x["chunk_id"], x["score"]) for x in response.json()["results"]]
    return None if got == expected else f"{got} instead of {expected}"


@control("retrieval:no-leak-over-http")
def test_every_answer_over_http_equals_brute_force(filled: FilledHome) -> None:
    random = np.random.default_rng(1)
    outcomes: Counter[str] = Counter()
    now = int(SystemClock().now())
    elsewhere = presentable(filled, "globex")[:ELSEWHERE]
    calls = [*elsewhere, *presentable(filled, "acme")[: QUERIES - ELSEWHERE]]
    assert (len(calls), len(elsewhere)) == (QUERIES, ELSEWHERE)
    with (
        running("tests.e2e.serve_world", str(filled.root)) as address,
        Caller(address, filled.root) as caller,
    ):
        for call in calls:
            query = sentence(random, 6)
            expected = filled.expected(filled.world.companies[call.tenant], call, query, K, now)
            response = caller.ask(call, query)
            wrong = difference(response, expected)
            assert wrong is None, f"{call}: {wrong}"
            outcomes["results" if expected else "empty"] += 1
            outcomes["elsewhere"] += bool(expected) and call.tenant == "globex"
            outcomes["agents"] += bool(expected) and call.delegation is not None
    assert outcomes["results"] >= 60, outcomes
    assert outcomes["empty"] >= 30, outcomes
    assert outcomes["elsewhere"] >= 10, outcomes
    assert outcomes["agents"] >= 10, outcomes


@control("retrieval:no-leak-under-churn")
def test_no_answer_differs_from_the_history_at_its_final_view(filled: FilledHome, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    shutil.copytree(filled.root, tmp_path / "home")
    filled = replace(filled, root=tmp_path / "home")
    log = tmp_path / "history.jsonl"
    churn = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.churn_world", str(filled.root), str(log)],
        cwd=ROOT,
        env={"PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        text=True,
    )
    asked: list[tuple[Call, str, httpx.Response]] = []
    calls = presentable(filled, "acme")[:QUERIES]
    assert len(calls) == QUERIES
    try:
        assert churn.stdout is not None
        assert churn.stdout.readline().strip() == "churning"
        with (
            running("tests.e2e.serve_world", str(filled.root)) as address,
            Caller(address, filled.root) as caller,
        ):
            for call in calls:
                query = sentence(random, 6)
                asked.append((call, query, caller.ask(call, query)))
    finally:
        churn.terminate()
        churn.wait(30)
        if churn.stdout is not None:
            churn.stdout.close()
    versions = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    outcomes = check_against_history(filled, asked, versions)
    assert outcomes["results"] >= 40, outcomes
    assert outcomes["versions"] >= 20, f"too little happened meanwhile: {outcomes}"


def check_against_history(
    filled: FilledHome, asked: list[tuple[Call, str, httpx.Response]], versions: list[dict[str, object]]
) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    seen: set[int] = set()
    for call, query, response in asked:
        if response.status_code in (401, 503):
            outcomes[str(response.status_code)] += 1
            continue
        assert response.status_code == 200
        body = response.json()
        event = reading.find(filled.root / "audit.db", body["decision_id"])
        assert event is not None
        policy, view = event.body["policy"], event.body["view"]
        assert isinstance(policy, list)
        assert isinstance(view, int)
        company = company_at(filled, versions, int(policy[1]))
        expected = filled.expected(company, call, query, K, view)
        wrong = difference(response, expected)
        assert wrong is None, f"{call} at version {policy}: {wrong}"
        seen.add(int(policy[1]))
        outcomes["results" if expected else "empty"] += 1
    outcomes["versions"] = len(seen)
    return outcomes


def company_at(filled: FilledHome, versions: list[dict[str, object]], n: int) -> Company:
    """The company as the last committed change up to policy version n left it."""
    company = filled.world.companies["acme"]
    removed: set[int] = set()
    for entry in versions:
        if int(str(entry["n"])) > n:
            break
        link = int(str(entry["link"]))
        removed = removed | {link} if entry["ended"] else removed - {link}
    links = [link for i, link in enumerate(company.links) if i not in removed]
    return Company(
        company.name, company.who, links, company.limits, company.handovers, company.labels, company.sources
    )
