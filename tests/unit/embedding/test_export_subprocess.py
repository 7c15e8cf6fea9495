from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secure_rag.embedding import export_process
from secure_rag.embedding.export_process import export_in_subprocess
from secure_rag.errors import ModelError
from tests.controls import control


@pytest.fixture(autouse=True)
def _no_staging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_process, "stage_model", lambda source, target: None)


def child(tmp_path: Path, body: str) -> str:
    """An interpreter that does something else."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    script.chmod(0o700)
    return str(script)


def test_failing_child_is_a_model_error_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = child(tmp_path, "echo first >&2; echo ModuleNotFoundError: no torch >&2; exit 3")
    monkeypatch.setattr(sys, "executable", failing)
    with pytest.raises(ModelError, match=r"exit 3.*ModuleNotFoundError: no torch.*secure-rag\[server\]"):
        export_in_subprocess(tmp_path / "out.onnx")


def test_child_that_writes_nothing_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", child(tmp_path, "exit 0"))
    with pytest.raises(ModelError, match="exit 0"):
        export_in_subprocess(tmp_path / "out.onnx")


def test_child_that_hangs_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", child(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(export_process, "_SECONDS", 0.05)
    with pytest.raises(ModelError, match="took longer"):
        export_in_subprocess(tmp_path / "out.onnx")


@control("model:export-isolated")
def test_child_gets_no_secret_no_network_and_no_module_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "sample")
    seen: dict[str, object] = {}

    def record(command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        seen.update(options, command=command)
        Path(command[-1]).write_bytes(b"graph")
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", record)
    export_in_subprocess(tmp_path / "out.onnx")
    environment, command = seen["env"], seen["command"]
    assert isinstance(environment, dict)
    assert isinstance(command, list)
    assert "DATABASE_PASSWORD" not in environment
    assert environment["HF_HUB_OFFLINE"] == environment["TRANSFORMERS_OFFLINE"] == "1"
    assert "" not in environment["PYTHONPATH"].split(":")
    assert command[:4] == [sys.executable, "-P", "-m", "secure_rag.embedding.export_onnx"]
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]
