from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secure_rag.embedding import open_embedder
from secure_rag.embedding.onnx_engine import OnnxEmbedder
from secure_rag.embedding.sentence_transformers_engine import SentenceTransformerEmbedder
from secure_rag.errors import ConfigError, ModelError
from tests.controls import control


@pytest.mark.parametrize("spec", ["", "Default", "st", "st:", "openai:ada", "default:x"])
def test_unknown_engine_is_a_config_error(spec: str) -> None:
    with pytest.raises(ConfigError, match="neither `default` nor `st:NAME-OR-FOLDER`"):
        open_embedder(spec)


def test_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"needs sentence_transformers: install secure-rag\[server\]"):
        open_embedder(f"st:{tmp_path}")


def test_importing_the_package_loads_no_engine() -> None:
    code = (
        "import sys, secure_rag.embedding; print({'onnxruntime', 'tokenizers', 'torch'} & set(sys.modules))"
    )
    path = ":".join(x for x in sys.path if x)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=True
    )
    assert done.stdout == b"set()\n"


@pytest.mark.parametrize("threads", [0, -1])
def test_number_of_threads_is_checked(threads: int) -> None:
    with pytest.raises(ModelError, match="threads"):
        OnnxEmbedder(b"", b"", threads=threads)


def test_bytes_that_are_no_model_are_a_model_error() -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxEmbedder(b"junk", b"junk")


@pytest.mark.parametrize("model", ["/nowhere/model", "./nowhere", "../nowhere", "a/b/c"])
def test_missing_folder_is_a_model_error_and_never_a_name_on_the_hub(model: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        SentenceTransformerEmbedder(model)


@control("model:no-pickle")
def test_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickled weights are not loaded"):
        SentenceTransformerEmbedder(tmp_path)
