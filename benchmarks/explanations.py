"""Explaining and listing on the world of `benchmarks.world`: 10,000 classes, 5,000 people, 10,000 documents.

Each figure is a whole call of an operator, with the snapshot, the rights, the page of 100 and the audit event. Cold:
the first call of an opened home, whose classes have to be compiled too. `lists_differ` counts people and documents
that a list has and brute force does not, or the other way round.
"""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import end_to_end
from benchmarks.end_to_end import APP, PreparedEmbedder, StandingClock
from benchmarks.world import BANDS, StoredWorld, World, store_world
from secure_rag.model.ids import PrincipalId, principal_id
from secure_rag_acl.access_lists import DocumentsPage, ReadersPage
from secure_rag_api.explaining import Asker, Explaining, ExplainRequest, ListRequest
from secure_rag_api.wiring import open_installation

ROUNDS: Final = 7
_ASKER: Final = Asker("acme", PrincipalId("user:officer"))


def measure(world: World, stored: StoredWorld) -> dict[str, float]:
    """Every figure; people are in the world already."""
    figures: dict[str, float] = {}
    with open_installation(
        stored.builder.home.root, clock=StandingClock(), embedder=PreparedEmbedder(world.dimensions)
    ) as opened:
        explaining = Explaining(opened)
        user = world.users_by_band(1)[BANDS[-1]][0]
        subject = principal_id(f"user:u{user}")
        figures["explain_cold_ms"] = _ms(lambda: explaining.explain(_ASKER, _explain(subject, 0)))
        figures["what_can_cold_ms"] = _ms(
            lambda: explaining.what_can(_ASKER, ListRequest(subject=subject, limit=100))
        )
        allowed = np.flatnonzero(_open(world, user)[world.document_class])
        broad, narrow = _documents(world)
        figures["explain_ms"] = _median(
            lambda: explaining.explain(_ASKER, _explain(subject, int(allowed[0])))
        )
        figures["what_can_ms"] = _median(
            lambda: explaining.what_can(_ASKER, ListRequest(subject=subject, limit=100))
        )
        for name, document in (("broad", broad), ("narrow", narrow)):
            for expanded in (False, True):
                asked = ListRequest(document=f"d_{document + 1}", expanded=expanded)
                key = f"who_can_{name}{'_expanded' if expanded else ''}_ms"
                figures[key] = _median(functools.partial(explaining.who_can, _ASKER, asked))
        figures["lists_differ"] = _differences(world, explaining, user, narrow)
    return figures


def _open(world: World, user: int) -> NDArray[np.bool_]:
    """Which classes a user may read. The whole company is stored as `everyone`, and there are guests only."""
    principals = frozenset(world.user_principals[user].tolist()) - {world.company}
    ranks = zip(world.class_label.tolist(), world.class_principals, strict=True)
    highest = int(world.clearance[user])
    return np.array([label <= highest and not principals.isdisjoint(x) for label, x in ranks], np.bool_)


def _explain(subject: PrincipalId, document: int) -> ExplainRequest:
    return ExplainRequest(f"d_{document + 1}", subject=subject, app=APP)


def _documents(world: World) -> tuple[int, int]:
    """A document that most people may read, and one that a team may."""
    readers = np.zeros(len(world.class_label), np.int64)
    for user in range(0, world.n_users, 25):
        readers += _open(world, user)
    by_document = readers[world.document_class]
    some = np.flatnonzero(by_document > 0)
    return int(np.argmax(by_document)), int(some[np.argmin(by_document[some])])


def _differences(world: World, explaining: Explaining, user: int, document: int) -> float:
    """Compare whole lists with brute force."""
    cls = int(world.document_class[document])
    expected = {f"user:u{n}" for n in range(world.n_users) if _open(world, n)[cls]}
    listed = {x.principal for page in _pages_of_readers(explaining, document) for x in page.readers}
    subject = principal_id(f"user:u{user}")
    documents = {x.document for page in _pages_of_documents(explaining, subject) for x in page.documents}
    readable = {f"d_{n + 1}" for n in np.flatnonzero(_open(world, user)[world.document_class]).tolist()}
    return float(len(expected ^ listed) + len(readable ^ documents))


def _pages_of_readers(explaining: Explaining, document: int) -> list[ReadersPage]:
    pages: list[ReadersPage] = []
    while not pages or pages[-1].next is not None:
        asked = ListRequest(
            document=f"d_{document + 1}", expanded=True, limit=500, cursor=pages[-1].next if pages else None
        )
        pages.append(explaining.who_can(_ASKER, asked))
    return pages


def _pages_of_documents(explaining: Explaining, subject: PrincipalId) -> list[DocumentsPage]:
    pages: list[DocumentsPage] = []
    while not pages or pages[-1].next is not None:
        asked = ListRequest(subject=subject, limit=500, cursor=pages[-1].next if pages else None)
        pages.append(explaining.what_can(_ASKER, asked))
    return pages


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def _median(work: Callable[[], object]) -> float:
    work()
    return statistics.median(_ms(work) for _ in range(ROUNDS))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        small = World(n_chunks=100_000, dimensions=8).build()
        kept = store_world(small, Path(scratch) / "world")
        end_to_end.prepare(small, kept)
        print(json.dumps({name: round(x, 3) for name, x in measure(small, kept).items()}))
