"""A second connection changes permissions at every statement boundary of the query flow, in turn.

The torn test is the one that matters: of two worlds neither allows, and one transaction swaps them. Whoever reads
a little of each would say yes.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from secure_rag.audit import reading
from secure_rag.database.views import ReadView, Views
from secure_rag.errors import NotFoundError
from secure_rag.model.decisions import Answer
from secure_rag.model.ids import Micros, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.wiring import Installation, open_installation
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.filled_home import DIMENSIONS, fill_home
from tests.support.small_world import REQUEST, small_world
from tests.worlds import NOW

CALLER = CallerIdentity("acme", principal_id("app:a0"), principal_id("user:ann"))
# ruff: noqa: S608 -- statements of the test itself, from constants
REVOKE = (f"UPDATE membership SET valid_to = {NOW} WHERE valid_to > {NOW}",)
NTH_CLASS = "(SELECT id FROM acl_class ORDER BY id LIMIT 1 OFFSET {n})"
CLOSE_ALL = "UPDATE document SET class_id = " + NTH_CLASS.format(n=2)
SWAP = (*REVOKE, "UPDATE document SET class_id = " + NTH_CLASS.format(n=0))


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")


class Interruption:
    """Runs statements right before the n-th statement that the reading engine executes, and counts them all."""

    def __init__(
        self, opened: Installation, at: int, statements: tuple[str, ...], engine: sa.Engine | None = None
    ) -> None:
        self._engine = engine or opened.reader
        self._path = opened.home.control
        self._at, self._statements = at, statements
        self.count = 0

    def __enter__(self) -> Interruption:
        event.listen(self._engine, "before_cursor_execute", self._before)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._before)

    def _before(self, *_: object) -> None:
        self.count += 1
        if self.count == self._at:
            execute(self._path, *self._statements)


@pytest.fixture(name="template")
def _template(tmp_path: Path) -> Path:
    fill_home(tmp_path / "template", small_world(), documents=12, seed=3).stored.engine.dispose()
    return tmp_path / "template"


@contextmanager
def opened_copy(template: Path, name: str) -> Generator[Installation]:
    root = template.parent / name
    shutil.copytree(template, root)
    with open_installation(root, clock=FixedClock(), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        yield opened


def ask(opened: Installation) -> Answer:
    return opened.retrieval.retrieve(CALLER, RetrievalRequest(REQUEST, k=5))


def policy_number(opened: Installation, answer: Answer) -> int:
    """The policy version of the answer's final view, from its audit event."""
    found = reading.find(opened.home.audit, answer.decision_id)
    assert found is not None
    policy = found.body["policy"]
    assert isinstance(policy, list)
    return int(policy[1])


def policy_number_now(opened: Installation) -> int:
    with closing(sqlite3.connect(opened.home.control)) as connection:
        return int(connection.execute("SELECT n FROM policy_version").fetchone()[0])


@control("retrieval:one-final-view")
def test_a_revocation_at_any_statement_boundary_counts_for_every_younger_final_view(template: Path) -> None:
    with opened_copy(template, "probe") as opened, Interruption(opened, 0, ()) as watch:
        assert ask(opened).results
    boundaries = watch.count
    assert boundaries > 20
    younger = older = 0
    for at in range(1, boundaries + 1):
        with opened_copy(template, f"at{at}") as opened:
            with Interruption(opened, at, REVOKE):
                answer = ask(opened)
            after = policy_number_now(opened)
            assert not ask(opened).results
            if policy_number(opened, answer) >= after:
                younger += 1
                assert not answer.results, f"stale chunk after a revocation at statement {at} of {boundaries}"
            else:
                older += 1
    assert younger > 10, "the revocation must have come before the final view often enough"
    assert older > 0, "and after it at least once"


class TornViews(Views):
    """What a view must not be: every statement sees the newest state (autocommit)."""

    @contextmanager
    def open(self) -> Generator[ReadView]:
        with self.engine.connect() as connection:
            yield ReadView(connection, Micros(NOW))

    @property
    def engine(self) -> sa.Engine:
        return self._engine


def torn_allows(template: Path, name: str, make_views: Callable[[Installation], Views]) -> tuple[int, int]:
    """Swap the worlds at every boundary of a fetch by id; returns boundaries and allows."""
    with opened_copy(template, f"{name}-probe") as opened:
        chunk_id = ask(opened).results[0].chunk_id
        execute(opened.home.control, CLOSE_ALL)
    at, allows = 0, 0
    while True:
        at += 1
        with opened_copy(template, f"{name}{at}") as opened:
            views = make_views(opened)
            service = replace(opened.retrieval, views=views)
            execute(opened.home.control, CLOSE_ALL)
            with Interruption(
                opened, at, SWAP, views.engine if isinstance(views, TornViews) else None
            ) as watch:
                try:
                    service.chunk(CALLER, chunk_id)
                    allows += 1
                except NotFoundError:
                    pass
        if watch.count < at:
            return at - 1, allows


@control("retrieval:no-torn-read")
def test_two_worlds_that_both_deny_never_add_up_to_an_allow(template: Path) -> None:
    boundaries, allows = torn_allows(template, "snapshot", lambda opened: opened.views)
    assert boundaries > 10
    assert allows == 0


def test_without_a_snapshot_the_two_worlds_do_add_up(template: Path) -> None:
    def autocommit(opened: Installation) -> Views:
        engine = sa.create_engine(f"sqlite:///{opened.home.control}", isolation_level="AUTOCOMMIT")
        return TornViews(engine, opened.clock.now)

    _, allows = torn_allows(template, "torn", autocommit)
    assert allows > 0, "the test above would not notice a torn read"
