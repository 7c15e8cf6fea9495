from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_rag.embedding.onnx_engine import OnnxEmbedder
from secure_rag.embedding.packaged_model import packaged_model_directory
from tests.controls import control
from tests.integration.embedding.conftest import RunPython
from tests.integration.embedding.sentences import PASSAGES, QUESTIONS, SENTENCES

# One process for everything, because importing torch takes seconds.
PROBE = """
import json, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("network")
socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse
from pathlib import Path
from secure_rag.embedding import open_embedder
from secure_rag.errors import ModelError
model, changed, coded, named, texts = json.loads(sys.argv[1])
out = {"lazy": "torch" in sys.modules}
embedder = open_embedder(f"st:{model}")
out["torch"] = "torch" in sys.modules
out["id"], out["dimensions"] = embedder.engine_id, embedder.dimensions
out["vectors"] = [embedder.embed_document(text).tolist() for text in texts]
out["query"] = embedder.embed_query(texts[0]).tolist()
out["named_id"] = open_embedder(f"st:{named}").engine_id
out["changed_id"] = open_embedder(f"st:{changed}").engine_id
def failure(spec):
    try:
        open_embedder(spec)
    except ModelError as error:
        return str(error)
    return ""
out["missing"] = failure("st:acme/not-there")
out["coded"] = failure(f"st:{coded}")
print(json.dumps(out))
"""


def link_model(target: Path) -> Path:
    source = packaged_model_directory()
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".txt"}:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(path)
    return target


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory, run_python: RunPython) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("models")
    changed = link_model(home / "changed" / "mini")
    (changed / "sentence_bert_config.json").unlink()
    (changed / "sentence_bert_config.json").write_text('{"max_seq_length": 64}', encoding="utf-8")

    coded = link_model(home / "coded")
    (coded / "modules.json").unlink()
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil_module.Evil"}]
    (coded / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    marker = home / "code-ran"
    evil = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nclass Evil: ...\n"
    (coded / "evil_module.py").write_text(evil, encoding="utf-8")

    repository = home / "hub" / "models--acme--mini"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    link_model(repository / "snapshots" / ("0" * 40))

    arguments = [str(packaged_model_directory()), str(changed), str(coded), "acme/mini", SENTENCES]
    output = run_python(PROBE, json.dumps(arguments), HF_HUB_CACHE=str(home / "hub"), HF_HOME=str(home))
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result | {"code_ran": marker.exists()}


def test_torch_is_loaded_only_when_the_engine_opens(probe: dict[str, Any]) -> None:
    assert (probe["lazy"], probe["torch"]) == (False, True)


def test_engine_id_depends_on_content_and_settings_not_on_the_place(probe: dict[str, Any]) -> None:
    prefix, digest, *settings = probe["id"].rsplit(":", 4)
    assert prefix == "st:model"
    assert len(digest) == 64
    assert settings == ["normalised", "tokens256", "d384"]
    assert probe["named_id"] == f"st:acme/mini:{digest}:normalised:tokens256:d384"
    assert probe["changed_id"].startswith("st:mini:")
    assert probe["changed_id"].endswith(":normalised:tokens64:d384")
    assert digest not in probe["changed_id"]


def test_offline_a_missing_model_says_what_to_do(probe: dict[str, Any]) -> None:
    assert "acme/not-there" in probe["missing"]
    assert "HF_HUB_OFFLINE is set: give the model's folder instead" in probe["missing"]


@control("model:no-pickle")
def test_code_beside_a_model_is_never_run(probe: dict[str, Any]) -> None:
    assert probe["coded"]
    assert not probe["code_ran"]


def test_default_engine_agrees_with_the_original(probe: dict[str, Any], embedder: OnnxEmbedder) -> None:
    original = np.array(probe["vectors"], dtype=np.float32)
    assert np.allclose(np.linalg.norm(original, axis=1), 1, atol=1e-5)
    assert np.allclose(probe["query"], original[0], atol=1e-6)
    twin = np.stack([embedder.embed_document(text) for text in SENTENCES])
    agreement = (original * twin).sum(axis=1)
    assert float(agreement.min()) >= 0.97
    half = len(PASSAGES)
    answers = np.arange(len(QUESTIONS))
    rates = [
        float(((vectors[half:] @ vectors[:half].T).argmax(axis=1) == answers).mean())
        for vectors in (original, twin)
    ]
    assert min(rates) >= 0.8
    assert abs(rates[0] - rates[1]) <= 0.04
