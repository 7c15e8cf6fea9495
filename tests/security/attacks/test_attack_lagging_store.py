"""A store that lags offers documents from where they were; what the caller asked for holds all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.documents import next_seq
from secure_rag.database.engine import write
from secure_rag.model.decisions import Filter
from secure_rag.model.ids import ChunkKey, Micros
from secure_rag.ports import AccessScope, Hit
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.wiring import Installation
from tests.controls import control
from tests.support.small_home import ANN, small_home
from tests.support.small_world import REQUEST
from tests.worlds import NOW

if TYPE_CHECKING:
    from secure_rag.ports import Vector


@dataclass
class Lagging:
    """Offers every chunk, as a store does that has not heard of any change."""

    hits: Sequence[Hit]

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        return self.hits[:k]

    def ready(self) -> bool:
        return True


def everything(opened: Installation) -> Lagging:
    with opened.reader.connect() as connection:
        return Lagging(
            [Hit(ChunkKey(key), 0.5) for key in connection.execute(sa.select(t.chunk.c.id)).scalars()]
        )


@control("retrieval:filter-narrows", "store:hint-not-authority")
def test_a_document_relabelled_meanwhile_does_not_pass_the_callers_ceiling(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=30) as (_, opened):
        service = replace(opened.retrieval, store=everything(opened))
        request = RetrievalRequest(REQUEST, k=50, filter=Filter(label_max="label 0"))
        assert {x.label for x in service.retrieve(ANN, request).results} == {"label 0"}
        with write(opened.engine) as connection:
            low, high = connection.execute(
                sa.select(t.acl_class.c.id).order_by(t.acl_class.c.id).limit(2)
            ).scalars()
            d = t.document.c
            for key in list(connection.execute(sa.select(d.id).where(d.class_id == low)).scalars()):
                moved = sa.update(t.document).where(d.id == key)
                connection.execute(moved.values(class_id=high, seq=next_seq(connection)))
        assert not service.retrieve(ANN, request).results
        unfiltered = service.retrieve(ANN, RetrievalRequest(REQUEST, k=50)).results
        assert {x.label for x in unfiltered} == {"label 10"}


@control("retrieval:filter-narrows")
def test_a_document_that_is_older_than_the_store_thinks_is_not_returned(tmp_path: Path) -> None:
    with small_home(tmp_path / "home", documents=30) as (_, opened):
        service = replace(opened.retrieval, store=everything(opened))
        request = RetrievalRequest(REQUEST, k=50, filter=Filter(modified_after=Micros(NOW - 1)))
        assert service.retrieve(ANN, request).results
        with write(opened.engine) as connection:
            connection.execute(sa.update(t.document).values(modified_at=NOW - 1))
        assert not service.retrieve(ANN, request).results
