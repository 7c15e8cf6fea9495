"""What every vector store must do, as checks that run on any of them.

A test parametrises over `CHECKS` and its stores:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_conformance(check, tmp_path, open_store):
        check(tmp_path, open_store)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.errors import StoreError
from secure_rag.ports import AccessScope
from secure_rag.testing.index_builder import START, unit_vectors
from secure_rag.testing.store_world import (
    DIMENSIONS,
    ConformanceError,
    OpenedStore,
    OpenStore,
    World,
    expect,
    expect_refused,
)

if TYPE_CHECKING:
    from secure_rag.ports import Vector

__all__ = ["CHECKS", "Check", "ConformanceError", "OpenStore", "OpenedStore"]

Check = Callable[[Path, OpenStore], None]


def random_scopes(directory: Path, open_store: OpenStore) -> None:
    """Every answer equals a brute force over the allowed classes."""
    world = World(directory, open_store)
    filled = 0
    for _ in range(120):
        tenant = int(world.random.integers(2))
        classes = [x for x in world.classes[tenant] if world.random.random() < 0.5]
        k = int(world.random.integers(1, 30))
        filled += len(world.expect_truth(world.scope(classes, tenant), world.query(), k))
    expect(filled > 500, "the check met enough hits")
    world.close()


def empty_scope(directory: Path, open_store: OpenStore) -> None:
    """No classes, no answer, before anything else is looked at."""
    world = World(directory, open_store, documents=6)
    broken = np.full(DIMENSIONS, np.nan, np.float32)
    expect(world.search(world.scope([]), broken, 10) == [], "an empty scope answers []")
    world.opened.close()
    expect(world.search(world.scope([]), broken, 10) == [], "an empty scope does not touch the store")
    world.builder.close()


def other_tenants_classes(directory: Path, open_store: OpenStore) -> None:
    """Classes of another tenant open nothing, alone or among one's own."""
    world = World(directory, open_store)
    own, other = world.classes
    query = world.query()
    expect(world.search(world.scope(other), query) == [], "another tenant's classes open nothing")
    expect(world.search(world.scope([10**9, 10**12]), query) == [], "unknown classes open nothing")
    alone = world.expect_truth(world.scope(own[:3]), query, 1_000)
    mixed = world.search(world.scope([*own[:3], *other, 10**9]), query, 1_000)
    expect(mixed == alone, "another tenant's classes add nothing")
    expect(len(alone) > 20, "the check met enough hits")
    world.close()


def gone_documents(directory: Path, open_store: OpenStore) -> None:
    """Deleted, quarantined and withheld documents are not found; released ones are."""
    world = World(directory, open_store)
    scope, query, mine = world.scope(world.classes[0]), world.query(), world.documents[0]
    before = world.expect_truth(scope, query, 1_000)
    world.builder.delete(mine[:10])
    world.builder.set_state(mine[10:20], DocumentState.QUARANTINED)
    world.builder.set_state(mine[20:30], DocumentState.WITHHELD)
    world.opened.settle()
    during = world.expect_truth(scope, query, 1_000)
    gone = {chunk for key in mine[10:30] for chunk in world.builder.chunks(key)}
    expect(not gone & {hit.chunk for hit in during}, "quarantined and withheld documents are not found")
    world.builder.set_state(mine[10:30], DocumentState.LIVE)
    world.opened.settle()
    after = world.expect_truth(scope, query, 1_000)
    expect(gone <= {hit.chunk for hit in after}, "released documents are found")
    expect(len(during) < len(after) < len(before), "each change had an effect")
    world.close()


def repointed_documents(directory: Path, open_store: OpenStore) -> None:
    """A document follows its class; content and class may change in any order."""
    world = World(directory, open_store)
    own, mine, query = world.classes[0], world.documents[0], world.query()
    target = world.builder.acl_class(world.sources[0])
    expect(world.search(world.scope([target]), query) == [], "a new class opens nothing")
    world.builder.repoint(mine[:25], target)
    world.opened.settle()
    expect(len(world.expect_truth(world.scope([target]), query, 1_000)) > 20, "moved documents are found")
    world.expect_truth(world.scope(own), query, 1_000)
    world.builder.repoint(mine[:25], own[0])
    world.opened.settle()
    expect(world.search(world.scope([target]), query) == [], "documents that moved away are not found")
    world.expect_truth(world.scope(own), query, 1_000)
    world.close()


def replaced_content(directory: Path, open_store: OpenStore) -> None:
    """New content has new chunk keys; the old ones are gone."""
    world = World(directory, open_store, documents=12)
    source, cls, query = world.sources[0], world.classes[0][0], world.query()
    key = world.builder.document(source, cls, unit_vectors(world.random, 5, DIMENSIONS), native_id="a.txt")
    world.opened.settle()
    old = set(world.builder.chunks(key))
    world.builder.document(source, cls, unit_vectors(world.random, 2, DIMENSIONS), native_id="a.txt")
    world.opened.settle()
    found = {hit.chunk for hit in world.expect_truth(world.scope([cls]), query, 1_000)}
    expect(not old & found, "chunks of an earlier version are not found")
    expect(set(world.builder.chunks(key)) <= found, "chunks of the new version are found")
    world.close()


def stale_class(directory: Path, open_store: OpenStore) -> None:
    """A store that has not heard of a change yet answers from its old state, whole."""
    world = World(directory, open_store)
    own, mine, query = world.classes[0], world.documents[0], world.query()
    target = world.builder.acl_class(world.sources[0])
    everything = world.scope([*own, target])
    before = world.search(everything, query, 1_000)
    world.builder.repoint(mine[:20], target)
    world.builder.delete(mine[20:30])
    stale = world.search(everything, query, 1_000)
    world.opened.settle()
    after = world.expect_truth(everything, query, 1_000)
    expect(
        {x.chunk for x in after} <= {x.chunk for x in stale} <= {x.chunk for x in before}, "no chunk is lost"
    )
    world.close()


def modified_after(directory: Path, open_store: OpenStore) -> None:
    """Only what was modified strictly after the instant is found."""
    world = World(directory, open_store)
    own, query = world.classes[0], world.query()
    instants = (START - 1, START, START + 20, START + 58, START + 59, 2**62)
    scopes = [world.scope(own, modified_after=after) for after in instants]
    sizes = [len(world.expect_truth(scope, query, 1_000)) for scope in scopes]
    expect(sizes[0] > sizes[1] > sizes[2] > sizes[3] > sizes[4] == sizes[5] == 0, "the instant is exclusive")
    world.expect_truth(world.scope(own[:2], modified_after=START + 30), query, 5)
    world.close()


def more_than_there_is(directory: Path, open_store: OpenStore) -> None:
    """A `k` beyond the scope returns all of it, once, and nothing else."""
    world = World(directory, open_store, documents=12)
    for classes in (world.classes[0][:1], world.classes[0]):
        scope, query = world.scope(classes), world.query()
        everything = world.truth(scope, query)
        for k in (len(everything) - 1, len(everything), len(everything) + 1, 5_000):
            expect(len(world.expect_truth(scope, query, k)) == min(k, len(everything)), "all of it")
    world.close()


def ties_and_duplicates(directory: Path, open_store: OpenStore) -> None:
    """Equal scores are ordered by chunk key, however many there are and wherever they lie."""
    world = World(directory, open_store, documents=12)
    source, own = world.sources[0], world.classes[0]
    query = world.query()
    # Random length on the axis of the query, so that every copy has one exact and clearly best score.
    copies = np.tile(query, (7, 1))
    with world.builder.transaction():
        for i in range(60):
            world.builder.document(source, own[5 - i % 6], copies)
    world.opened.settle()
    for classes in (own, own[:2], own[3:]):
        scope = world.scope(classes)
        lowest = sorted(hit.chunk for hit in world.truth(scope, query) if hit.score > 0.999)
        for k in (1, 10, 100):
            got = [hit.chunk for hit in world.search(scope, query, k)]
            expect(got == lowest[:k], "the lowest chunk keys of a tie")
    world.close()


def bad_queries(directory: Path, open_store: OpenStore) -> None:
    """A query that is no finite unit vector of the right length, or a `k` below one, is refused."""
    world = World(directory, open_store, documents=6)
    scope, good = world.scope(world.classes[0]), world.query()
    broken, infinite = good.copy(), good.copy()
    broken[3], infinite[3] = np.nan, np.inf
    double: Any = good.astype(np.float64)
    queries: tuple[tuple[Vector, str], ...] = (
        (broken, "NaN"),
        (infinite, "infinite"),
        (np.zeros(DIMENSIONS, np.float32), "zero"),
        (good * 2, "not of unit length"),
        (good[:-1], "too short"),
        (np.append(good, good[:1]), "too long"),
        (good.reshape(1, -1), "two dimensions"),
        (double, "another number type"),
    )
    for query, what in queries:
        expect_refused(world, scope, query, 10, what)
    for k in (0, -1, True):
        expect_refused(world, scope, good, k, f"k = {k!r}")
    world.expect_truth(scope, good)
    world.close()


def bad_scopes(directory: Path, open_store: OpenStore) -> None:
    """Classes that are not sorted, unique 64-bit integers are refused: a wrong compiler must not go unnoticed."""
    world = World(directory, open_store, documents=6)
    own, query, tenant = world.classes[0], world.query(), world.tenants[0]
    for classes, what in (
        (np.array([own[1], own[0]], np.int64), "unsorted"),
        (np.array([own[0], own[0]], np.int64), "twice"),
        (np.array([True, False]), "booleans"),
        (np.array([float(own[0])]), "floats"),
        (np.array([own[:2]], np.int64), "two dimensions"),
    ):
        expect_refused(world, AccessScope(tenant, classes), query, 10, what)
    world.close()


def other_engine(directory: Path, open_store: OpenStore) -> None:
    """Vectors of another embedding engine are never ranked; a new tenant of this engine is."""
    world = World(directory, open_store, documents=6)
    query = world.query()
    with world.builder.transaction() as connection:
        late = world.builder.tenant("initech")
        foreign = world.builder.tenant("umbrella")
        connection.execute(
            sa.update(t.embedding_space)
            .where(t.embedding_space.c.tenant_id == foreign)
            .values(engine_id="another engine")
        )
    world.tenants += [late, foreign]
    for tenant in (2, 3):
        source = world.builder.source(world.tenants[tenant])
        world.classes.append([world.builder.acl_class(source)])
        world.add(source, world.classes[tenant][0])
    world.opened.settle()
    expect(len(world.expect_truth(world.scope(world.classes[2], 2), query)) > 0, "a new tenant is found")
    try:
        found = world.search(world.scope(world.classes[3], 3), query)
    except StoreError:
        found = []
    expect(found == [], "vectors of another engine are not ranked")
    world.close()


def malformed_vectors(directory: Path, open_store: OpenStore) -> None:
    """A document whose stored vectors are damaged is not found, and hinders no other document."""
    world = World(directory, open_store)
    scope, mine, query = world.scope(world.classes[0]), world.documents[0], world.query()
    nan = np.full(DIMENSIONS, np.nan, np.float32)
    damages = (b"", b"\0" * 7, b"\0" * 4 * DIMENSIONS, nan.tobytes(), (nan * 0 + 9).tobytes(), None)
    with world.builder.transaction() as connection:
        for key, damage in zip(mine, damages, strict=False):
            v = t.document_vectors.c
            connection.execute(sa.delete(t.document_vectors).where(v.document_id == key))
            if damage is not None:
                rows = len(damage) // (4 * DIMENSIONS)
                connection.execute(sa.insert(t.document_vectors).values(document_id=key, vectors=damage))
                if rows:
                    connection.execute(
                        sa.update(t.document).where(t.document.c.id == key).values(n_chunks=rows)
                    )
        damaged = mine[: len(damages)]
    world.builder.set_state(damaged, DocumentState.QUARANTINED)
    world.opened.settle()
    world.builder.set_state(damaged, DocumentState.LIVE)
    world.builder.repoint(mine[20:30], world.classes[0][0])
    world.opened.settle()
    lost = {chunk for key in damaged for chunk in world.builder.chunks(key)}
    found = [hit.chunk for hit in world.search(scope, query, 1_000)]
    expect(not lost & set(found), "damaged vectors are not ranked")
    rest = {chunk for key in mine[len(damages) :] for chunk in world.builder.chunks(key)}
    expect(rest == set(found), "all others are")
    world.close()


def reopened(directory: Path, open_store: OpenStore) -> None:
    """A store opened now answers like one that followed every change."""
    world = World(directory, open_store)
    mine, own = world.documents[0], world.classes[0]
    world.builder.repoint(mine[:10], own[4])
    world.builder.delete(mine[10:15])
    for _ in range(10):
        world.add(world.sources[0], own[1])
    world.opened.settle()
    queries = [world.query() for _ in range(10)]
    followed = [world.expect_truth(world.scope(own[:3]), query) for query in queries]
    world.opened.close()
    world.opened = open_store(world.builder)
    world.opened.settle()
    expect([world.search(world.scope(own[:3]), x) for x in queries] == followed, "the same answers")
    world.close()


def foreign_points(directory: Path, open_store: OpenStore) -> None:
    """Points that somebody else wrote, or that lack a field, match no scope: nothing is guarded by absence."""
    world = World(directory, open_store, documents=12)
    own, query = world.classes[0], world.query()
    if world.opened.plant is None:
        world.close()
        return
    cls, tenant = own[0], str(world.tenants[0])
    whole: dict[str, object] = {
        "tenant": tenant,
        "acl_class": cls,
        "live": 1,
        "document": 1,
        "version": 1,
        "modified_at": START,
    }
    payloads: list[dict[str, object]] = [{}]
    payloads += [{k: v for k, v in whole.items() if k != missing} for missing in whole]
    payloads += [{**whole, field: None} for field in whole]
    payloads += [
        {**whole, "acl_class": [cls, own[1]]},
        {**whole, "acl_class": str(cls)},
        {**whole, "acl_class": True},
        {**whole, "acl_class": float(cls) + 0.5},
        {**whole, "tenant": world.tenants[0]},
        {**whole, "tenant": [tenant, str(world.tenants[1])]},
        {**whole, "tenant": f"{tenant} "},
        {**whole, "live": True},
        {**whole, "live": [0, 1]},
        {**whole, "live": 0},
        {**whole, "version": "1"},
        {**whole, "text": "words"},
    ]
    first = 10**6
    for i, payload in enumerate(payloads):
        world.opened.plant(first + i, query, payload)
    control = first + len(payloads)
    world.opened.plant(control, query, whole)
    found = [hit.chunk for hit in world.search(world.scope([1, *own]), query, 1_000)]
    expect(found[0] == control, "a whole point is found")
    expect([x for x in found if x >= first] == [control], "no other planted point is")
    world.close()


CHECKS: tuple[Check, ...] = (
    random_scopes,
    empty_scope,
    other_tenants_classes,
    gone_documents,
    repointed_documents,
    replaced_content,
    stale_class,
    modified_after,
    more_than_there_is,
    ties_and_duplicates,
    bad_queries,
    bad_scopes,
    other_engine,
    malformed_vectors,
    reopened,
    foreign_points,
)
