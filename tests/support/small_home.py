"""An opened small world with a clock that tests move."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from secure_rag.model.ids import principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.wiring import Installation, open_installation
from tests.support.clock import FixedClock
from tests.support.filled_home import DIMENSIONS, FilledHome, fill_home
from tests.support.small_world import small_world

ANN = CallerIdentity("acme", principal_id("app:a0"), principal_id("user:ann"))
BEN = CallerIdentity("acme", principal_id("app:a0"), principal_id("user:ben"))


@contextmanager
def small_home(
    root: Path, *, documents: int = 12, clock: FixedClock | None = None
) -> Generator[tuple[FilledHome, Installation]]:
    """A fresh home in `root`; documents are spread over the guards of the small world."""
    filled = fill_home(root, small_world(), documents=documents, seed=3)
    with open_installation(root, clock=clock or FixedClock(), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        yield filled, opened
    filled.stored.engine.dispose()
