"""Conversations: bound to tenant, application and subject, decided by who was delivered first."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from secure_rag.database.contexts import ContextLedger
from secure_rag.detection.trust_mixing import ContextSide
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import LabelId, Micros, PrincipalKey, TenantKey
from secure_rag.model.labels import Label, Taxonomy
from secure_rag.model.subject import Hop, Subject
from secure_rag.retrieval.conversation import Conversations
from tests.controls import control
from tests.worlds import LABELS, NOW

TTL = 1_000


def hop(principal: int) -> Hop:
    nothing: frozenset[str] = frozenset()
    return Hop(
        PrincipalKey(principal), frozenset(), nothing, (), frozenset(), frozenset(), nothing, Micros(0)
    )


LABEL = LabelId(LABELS[0])
SUBJECT = Subject(
    tenant=TenantKey(1),
    principal=PrincipalKey(7),
    closure=frozenset(),
    clearance=None,
    compartments=frozenset(),
    purpose="qa",
    hops=(hop(3),),
    taxonomy=Taxonomy.of([Label(LABEL, "one", 0)], LABEL, LABEL, 1),
    everyone=PrincipalKey(2),
)


@pytest.fixture(name="conversations")
def _conversations(tmp_path: Path) -> Conversations:
    return Conversations(ContextLedger(tmp_path / "contexts.db"), b"k" * 32, TTL)


@control("retrieval:context-bound")
def test_a_context_keeps_its_side_for_this_subject_and_application_only(conversations: Conversations) -> None:
    now = Micros(NOW)
    fresh = conversations.enter(SUBJECT, "c1", now)
    assert fresh.side is None
    assert conversations.claim(fresh, ContextSide.EXTERNAL, now)
    assert conversations.enter(SUBJECT, "c1", now).side is ContextSide.EXTERNAL
    others = {
        "context": (SUBJECT, "c2"),
        "subject": (replace(SUBJECT, principal=PrincipalKey(8)), "c1"),
        "application": (replace(SUBJECT, hops=(hop(4),)), "c1"),
        "tenant": (replace(SUBJECT, tenant=TenantKey(2)), "c1"),
    }
    for name, (subject, context) in others.items():
        assert conversations.enter(subject, context, now).side is None, name
    through_an_agent = replace(SUBJECT, hops=(hop(3), hop(9)))
    assert conversations.enter(through_an_agent, "c1", now).side is ContextSide.EXTERNAL


def test_a_context_ends(conversations: Conversations) -> None:
    entered = conversations.enter(SUBJECT, "c1", Micros(NOW))
    assert conversations.claim(entered, ContextSide.CONFIDENTIAL, Micros(NOW))
    assert conversations.enter(SUBJECT, "c1", Micros(NOW + TTL - 1)).side is ContextSide.CONFIDENTIAL
    assert conversations.enter(SUBJECT, "c1", Micros(NOW + TTL)).side is None


def test_without_a_context_id_nothing_is_remembered(conversations: Conversations) -> None:
    entered = conversations.enter(SUBJECT, None, Micros(NOW))
    assert conversations.claim(entered, ContextSide.EXTERNAL, Micros(NOW))
    assert conversations.enter(SUBJECT, None, Micros(NOW)).side is None


@control("retrieval:context-bound")
def test_of_two_answers_at_once_only_one_takes_a_fresh_context(conversations: Conversations) -> None:
    taken = 0
    for n in range(30):
        entered = conversations.enter(SUBJECT, f"race{n}", Micros(NOW))
        sides = (ContextSide.EXTERNAL, ContextSide.CONFIDENTIAL) * 2
        with ThreadPoolExecutor(4) as pool:
            won = list(pool.map(lambda side, e=entered: conversations.claim(e, side, Micros(NOW)), sides))
        assert sum(won) == 1
        side = conversations.enter(SUBJECT, f"race{n}", Micros(NOW)).side
        assert side is sides[won.index(True)]
        taken += 1
    assert taken == 30


def test_a_ledger_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    ledger = ContextLedger(tmp_path / "contexts.db", busy_timeout_s=0.05)
    with closing(sqlite3.connect(tmp_path / "contexts.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError):
            ledger.claim(b"d", None, "external", Micros(NOW), Micros(NOW + 1))
        other.execute("ROLLBACK")
    assert ledger.claim(b"d", None, "external", Micros(NOW), Micros(NOW + 1))


def test_the_ledger_holds_no_identifier_of_a_caller(conversations: Conversations, tmp_path: Path) -> None:
    entered = conversations.enter(SUBJECT, "my-secret-conversation", Micros(NOW))
    assert conversations.claim(entered, ContextSide.EXTERNAL, Micros(NOW))
    for path in tmp_path.iterdir():
        assert b"my-secret-conversation" not in path.read_bytes()
