"""A home filled with a random world: companies, classes and documents with text, for end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from secure_rag.database import documents as db
from secure_rag.database.documents import NewChunk, NewContent, Permission, PublicIds
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.wiring import create_installation
from tests.oracle import Company, Guard, ask, judge
from tests.worlds import NOW, Stored, World, store

DIMENSIONS = 64
_WORDS = [
    f"{a}{b}"
    for a in ("pump", "valve", "sensor", "budget", "leave", "audit", "torque", "north")
    for b in "abcdefgh"
]


@dataclass
class FilledHome:
    """Where a world lies and what it holds. `guard_of[i]` guards document i; `vectors[i]` is its only chunk's."""

    root: Path
    world: World
    stored: Stored
    chunk_ids: list[str]
    guard_of: list[Guard]
    vectors: NDArray[np.float32]

    def expected(
        self, company: Company, call: object, query: str, k: int, now: int
    ) -> list[tuple[str, float]]:
        """Brute force: chunk ids and scores of the best `k` that the judge allows, ties by position."""
        asking = ask(company, call, now)  # type: ignore[arg-type]  # Call; typed loosely for fixtures
        verdicts = {id(guard): judge(asking, guard, now) == "allowed" for guard in self.world.guards}
        allowed = [i for i, guard in enumerate(self.guard_of) if verdicts[id(guard)]]
        vector = HashingEmbedder(DIMENSIONS).embed_query(query).astype(np.float64)
        scores = np.round(np.einsum("ij,j->i", self.vectors[allowed].astype(np.float64), vector), 6)
        order = np.lexsort((np.array(allowed), -scores))[:k]
        return [(self.chunk_ids[allowed[i]], float(scores[i])) for i in order]


def fill_home(root: Path, world: World, documents: int, seed: int, operator: str = "user:u0") -> FilledHome:
    """Create a home and write the world into it. Every document has one chunk."""
    settings = {
        "profile": "development",
        "tenant": "acme",
        "operators": {"root": operator},
        "requests_per_minute": 10_000_000,
    }
    home = create_installation(root, yaml.safe_dump(settings))
    stored = store(world, home.control)
    random = np.random.default_rng(seed)
    embedder = HashingEmbedder(DIMENSIONS)
    ids = PublicIds(home.key("public-ids"))
    guards = [world.guards[int(i)] for i in random.integers(len(world.guards), size=documents)]
    position = {id(guard): n for n, guard in enumerate(world.guards)}
    texts = [sentence(random, 25) for _ in range(documents)]
    vectors = np.stack([embedder.embed_document(text) for text in texts])
    chunk_ids: list[str] = []
    with write(stored.engine) as connection:
        for tenant in stored.tenants.values():
            db.claim_embedding_space(connection, tenant, embedder.engine_id, DIMENSIONS)
        for n, guard in enumerate(guards):
            tenant, source = stored.tenants[guard.tenant], stored.sources[guard.tenant, guard.source]
            key = db.ensure_document(connection, ids, tenant, source, f"doc{n}.txt", Micros(NOW))
            permission = Permission(stored.classes[position[id(guard)]], b"", "[]", "[]", Micros(NOW))
            db.put_permission(connection, key, permission, Micros(NOW))
            content = NewContent(
                f"Document {n}", "text/plain", "unknown:x", f"{n:064x}", "test", Micros(NOW),
                [NewChunk(texts[n], 0, len(texts[n]), ())], vectors[n : n + 1], [],
            )  # fmt: skip
            version = db.put_content(connection, ids, key, content, DocumentState.LIVE)
            chunk_ids.append(ids.chunk(ids.document(tenant, source, f"doc{n}.txt"), version, 0))
    return FilledHome(home.root, world, stored, chunk_ids, guards, vectors)


def sentence(random: np.random.Generator, words: int) -> str:
    """Words of a small vocabulary, skewed so that documents share topics."""
    start = int(random.integers(len(_WORDS)))
    near = (start + random.geometric(0.12, size=words)) % len(_WORDS)
    return " ".join(_WORDS[int(i)] for i in near)
