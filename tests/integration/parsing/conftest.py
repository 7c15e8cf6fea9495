from __future__ import annotations

from collections.abc import Iterator

import pytest

from secure_rag_ingestion.parsing.sandbox import SandboxedParser


@pytest.fixture(scope="session")
def parser() -> Iterator[SandboxedParser]:
    with SandboxedParser() as running:
        yield running
