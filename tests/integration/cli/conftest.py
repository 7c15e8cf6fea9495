from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api import wiring
from tests.integration.cli.company import Company, found
from tests.integration.cli.hashing_cli import DIMENSIONS


@contextmanager
def _as_commands() -> Generator[None]:
    """The test embedder, and logs that stay out of what commands print, as `main` sees to."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(wiring, "open_embedder", lambda *_, **__: HashingEmbedder(DIMENSIONS))
        patched.delenv("SECURE_RAG_HOME", raising=False)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        try:
            yield
        finally:
            structlog.reset_defaults()


# For each test: workers mix the tests of several folders, and nothing of this may reach the others.
@pytest.fixture(autouse=True)
def _commands() -> Generator[None]:
    with _as_commands():
        yield


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Company:
    """Made once; only read from."""
    with _as_commands():
        return found(Company(tmp_path_factory.mktemp("company") / "acme"))


@pytest.fixture
def company(founded: Company, tmp_path: Path) -> Company:
    """A copy that a test may change."""
    return founded.copy(tmp_path / "acme")
