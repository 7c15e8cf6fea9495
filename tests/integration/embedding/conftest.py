from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from secure_rag.embedding.onnx_engine import OnnxEmbedder

RunPython = Callable[..., str]


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs code in a process of its own, so that torch never enters the one that tests, and returns its output."""

    def run(code: str, *arguments: str, **environment: str) -> str:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        path = {"PYTHONPATH": os.pathsep.join(x for x in sys.path if x), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=kept | path | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the default model exported into it, from nothing, once for all tests of a run."""
    base = tmp_path_factory.getbasetemp()
    # Workers of one run share the folder above their own.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "model-cache"
    with FileLock(f"{shared}.lock"):
        OnnxEmbedder.open(shared)
    return shared


@pytest.fixture(scope="session")
def embedder(model_cache: Path) -> OnnxEmbedder:
    return OnnxEmbedder.open(model_cache)
