"""The mixing rule is judged by the taxonomy of the final view, not by an older one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import UnavailableError
from secure_rag.model.decisions import Notice
from secure_rag.model.labels import Trust
from secure_rag.retrieval.candidates import Screened
from secure_rag.retrieval.request import RetrievalRequest
from tests.controls import control
from tests.support.planted import plant
from tests.support.small_home import ANN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import LABELS

ASK = RetrievalRequest(REQUEST, k=20)


@dataclass
class ThenLowered:
    """The real screen, after which somebody lowers the threshold."""

    inner: Any
    engine: sa.Engine
    always: bool = False
    times: int = 0

    def apply(self, *arguments: Any) -> Screened:
        screened: Screened = self.inner.apply(*arguments)
        if self.always or not self.times:
            self.times += 1
            with write(self.engine) as connection:
                lowered = {"mix_threshold": LABELS[1], "version": 1 + self.times}
                connection.execute(sa.update(t.taxonomy).values(lowered))
        return screened


@control("detection:trust-mixing", "retrieval:one-final-view")
def test_a_threshold_lowered_before_the_final_view_holds_for_that_answer(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=30) as (filled, opened):
        plant(filled, [f"{REQUEST} offer {n} of{n} us{n}" for n in range(3)])
        opened.retrieval.store.refresh()  # type: ignore[attr-defined]  # the embedded store of a small home
        assert {x.trust for x in opened.retrieval.retrieve(ANN, ASK).results} == {
            Trust.INTERNAL,
            Trust.EXTERNAL,
        }
        screen: Any = ThenLowered(opened.retrieval.screen, opened.engine)
        answer = replace(opened.retrieval, screen=screen).retrieve(ANN, ASK)
        assert {x.trust for x in answer.results} == {Trust.INTERNAL}
        assert Notice.EXTERNAL_WITHHELD in answer.notices


def test_a_taxonomy_that_never_rests_ends_in_no_answer(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=30) as (_, opened):
        screen: Any = ThenLowered(opened.retrieval.screen, opened.engine, always=True)
        with pytest.raises(UnavailableError):
            replace(opened.retrieval, screen=screen).retrieve(ANN, ASK)
