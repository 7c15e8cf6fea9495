from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_rag_ingestion.parsing.sandbox import SandboxLimits
from tests.security.parsing.hostile import HostileParser

SMALL = SandboxLimits(wall_seconds=120.0, memory_bytes=1 << 30, output_bytes=1 << 20)
BUSY = SandboxLimits(cpu_seconds=1, wall_seconds=120.0)
WAITING = SandboxLimits(wall_seconds=1.5)


def _others_reach(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


@pytest.fixture(scope="session", params=["root", "plain user"])
def hostile(request: pytest.FixtureRequest) -> Iterator[HostileParser]:
    """Started by root, which gives up its identity, and by somebody who has none to give up."""
    is_root = os.geteuid() == 0
    if (request.param == "root") != is_root and not is_root:
        pytest.skip("needs root")
    if is_root and request.param == "plain user" and not _others_reach(Path(__file__)):
        pytest.skip("a plain user cannot reach this checkout: chmod o+x its folders")
    with HostileParser(SMALL, plain_user=is_root and request.param == "plain user") as running:
        yield running


@pytest.fixture(scope="module")
def patient() -> Iterator[HostileParser]:
    """Waits long and computes little, so that it is the processor limit that ends a child."""
    with HostileParser(BUSY) as running:
        yield running


@pytest.fixture(scope="module")
def impatient() -> Iterator[HostileParser]:
    """Waits for a moment only."""
    with HostileParser(WAITING) as running:
        yield running
