"""Faults in the middle of a step: what follows is decided as if they had not happened."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from secure_rag.database.contexts import ContextLedger
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_acl import compiler
from secure_rag_acl.casbin_engine import CasbinEngine
from secure_rag_api.wiring import Installation
from tests.controls import control
from tests.support.filled_home import FilledHome
from tests.support.planted import plant
from tests.support.small_home import ANN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS, NOW

ASK = RetrievalRequest(REQUEST, k=20)
APPENDS = 24
"""Four classes of one lock each, six columns. The third is closed to Ann, the others open."""


class Once:
    """A method that fails at one call and works at all others."""

    def __init__(self, inner: object, at: int) -> None:
        self._inner, self._left = inner, at

    def __call__(self, *arguments: object) -> object:
        self._left -= 1
        if self._left == 0:
            raise MemoryError
        return self._inner(*arguments)  # type: ignore[operator]  # a method


@control("acl:paths-agree", "acl:error-denies")
def test_a_class_that_was_indexed_in_part_does_not_shift_those_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_home(tmp_path / "home") as (filled, opened):
        plant(filled, ["open"], name="open", label=LABELS[1])
        honest = compiled(opened, filled, opened.policy)
        assert honest
        for at in range(1, APPENDS + 1):
            engine = CasbinEngine()
            append = compiler._Column.append
            failing = Once(append, at)
            with monkeypatch.context() as patch:
                patch.setattr(compiler._Column, "append", lambda self, value, f=failing: f(self, value))
                with pytest.raises(MemoryError):
                    compiled(opened, filled, engine)
            assert compiled(opened, filled, engine) == honest, at


def compiled(opened: Installation, filled: FilledHome, engine: CasbinEngine) -> list[int]:
    with opened.views.open() as view:
        subject = view.subject(filled.stored.tenants["acme"], ANN, "qa")
        return [int(x) for x in engine.compile(view, subject, "read").classes]


@control("acl:error-denies", "api:errors-say-nothing")
def test_a_damaged_database_is_an_error_of_ours_without_statements(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=20) as (_, opened):
        assert opened.retrieval.retrieve(ANN, ASK).results
        opened.reader.dispose()
        opened.engine.dispose()
        with closing(sqlite3.connect(opened.home.control)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            page = connection.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = 'acl_lock'"
            ).fetchone()[0]
            size = connection.execute("PRAGMA page_size").fetchone()[0]
        with opened.home.control.open("r+b") as file:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)
        with pytest.raises(UnavailableError) as caught:
            opened.retrieval.retrieve(ANN, ASK)
        assert "SELECT" not in str(caught.value)


def test_many_open_contexts_do_not_slow_a_claim(tmp_path: Path) -> None:
    """Callers choose how many there are, so removing the ended ones must not look at all of them."""
    path = tmp_path / "contexts.db"
    ledger = ContextLedger(path)
    assert ledger.claim(b"c", None, "external", Micros(NOW), Micros(NOW + 1))
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute("EXPLAIN QUERY PLAN DELETE FROM context WHERE expires <= 5").fetchall()
    assert "SEARCH" in plan[0][3]
    assert "expires<?" in plan[0][3]
