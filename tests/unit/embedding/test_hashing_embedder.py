from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_rag.ports import Embedder
from secure_rag.testing.static_embedder import HashingEmbedder

# Any characters, lone surrogates among them.
ANY_TEXT = st.text(st.characters())


def test_is_an_embedder() -> None:
    embedder: Embedder = HashingEmbedder()
    assert embedder.engine_id == "test-hashing-v1"
    assert embedder.dimensions == 384
    assert HashingEmbedder(8).engine_id != embedder.engine_id


@given(ANY_TEXT)
def test_every_text_has_a_unit_vector(text: str) -> None:
    vector = HashingEmbedder(16).embed_document(text)
    assert vector.dtype == np.float32
    assert vector.shape == (16,)
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-6
    assert np.array_equal(vector, HashingEmbedder(16).embed_query(text))


def test_texts_that_share_words_are_near() -> None:
    embed = HashingEmbedder().embed_document
    query = embed("how long is parental leave")
    near, far = embed("Parental leave: how long it is"), embed("budget of the turbine project")
    assert float(query @ near) > 0.8 > 0.3 > float(query @ far)


def test_order_and_case_do_not_matter() -> None:
    embed = HashingEmbedder().embed_document
    assert np.array_equal(embed("alpha Beta gamma"), embed("GAMMA alpha beta"))


def test_bits_are_the_same_in_another_process() -> None:
    code = (
        "from secure_rag.testing.static_embedder import HashingEmbedder as E;"
        "print(E().embed_document('alpha beta gamma beta').tobytes().hex())"
    )
    environment = {"PYTHONPATH": ":".join(x for x in sys.path if x), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert (
        bytes.fromhex(done.stdout.decode())
        == HashingEmbedder().embed_document("alpha beta gamma beta").tobytes()
    )


def test_dimensions_are_checked() -> None:
    with pytest.raises(ValueError, match="positive"):
        HashingEmbedder(0)
