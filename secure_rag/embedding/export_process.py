"""Runs the export of the default model in a process of its own, so that torch never enters the server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from secure_rag.embedding.packaged_model import packaged_model_directory, stage_model
from secure_rag.errors import ModelError

__all__ = ["RECIPE_VERSION", "export_in_subprocess"]

RECIPE_VERSION: Final = 1
"""Raised with every change of `export_onnx` that changes a vector."""

_SECONDS: Final = 600
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


def export_in_subprocess(output: Path) -> None:
    """Write the int8 ONNX twin of the packaged model to `output`.

    Raises:
        ModelError: a model file was altered, a library is missing, or the export failed its own check.
        OSError: the disk is full or not writable.
    """
    with tempfile.TemporaryDirectory(prefix="model-", dir=output.parent) as work:
        stage_model(packaged_model_directory(), Path(work))
        # -P: the current folder must not be able to supply a module.
        command = [sys.executable, "-P", "-m", "secure_rag.embedding.export_onnx", work, str(output)]
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module, no shell, no caller's input
                command,
                env=_environment(Path(work)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ModelError(f"exporting the embedding model took longer than {_SECONDS} s") from error
    if done.returncode != 0 or not output.is_file():
        tail = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise ModelError(
            f"exporting the embedding model failed (exit {done.returncode}): {' '.join(tail)[:500]}. "
            "It needs sentence-transformers, torch and onnx: install secure-rag[server]"
        )


def _environment(work: Path) -> dict[str, str]:
    """Only what Python needs to start: no secret of the server's environment reaches the child."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(work),
        "HF_HOME": str(work / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
