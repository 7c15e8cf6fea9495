"""The default engine: the packaged MiniLM as int8 ONNX, served by onnxruntime without torch."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from secure_rag.embedding.export_cache import cache_root, obtain_export, private_directory
from secure_rag.embedding.export_process import RECIPE_VERSION, export_in_subprocess
from secure_rag.embedding.packaged_model import (
    DIMENSIONS,
    MAX_TOKENS,
    MODEL_NAME,
    PINNED,
    WEIGHTS,
    packaged_model_directory,
    verified_bytes,
    verify_weights,
)
from secure_rag.embedding.vectors import unit_vector
from secure_rag.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["ENGINE_ID", "OnnxEmbedder"]

ENGINE_ID: Final = (
    f"onnx-int8:{MODEL_NAME}:{PINNED[WEIGHTS][:16]}:recipe{RECIPE_VERSION}:tokens{MAX_TOKENS}:d{DIMENSIONS}"
)


_FRAME: Final = 2  # [CLS] and [SEP]


class _Session(Protocol):
    """What is used of onnxruntime, which has no types."""

    def run(
        self, output_names: list[str], feed: dict[str, NDArray[np.int64]], /
    ) -> list[NDArray[np.float32]]: ...


class OnnxEmbedder:
    """MiniLM as int8 ONNX. Safe to share between threads.

    Every text is embedded alone: dynamic quantisation takes its scales from the whole batch, so company would
    change the bits, and a second ingest must reproduce the index.
    """

    def __init__(self, model: bytes, tokenizer: bytes, *, threads: int = 1) -> None:
        """Load a model whose bytes the caller has verified.

        Args:
            model: the int8 ONNX file.
            tokenizer: the model's tokenizer.json.
            threads: threads for one text; does not change the result.

        Raises:
            ModelError: these are no usable model.
        """
        if threads < 1:
            raise ModelError(f"threads must be at least 1, not {threads}")
        try:
            self._tokenizer = _load_tokenizer(tokenizer)
            self._session = _load_session(model, threads)
        except Exception as error:
            raise ModelError(f"the embedding model cannot be loaded: {error}") from error
        self.embed_query("ready")  # a model that does not fit fails here, not at the first query

    @classmethod
    def open(cls, cache_dir: Path | None = None, *, threads: int = 1) -> OnnxEmbedder:
        """The packaged default model; exports it on first use.

        Args:
            cache_dir: where exports are kept; `SECURE_RAG_CACHE` or the XDG cache folder by default.
            threads: see the constructor.

        Raises:
            ModelError: the model is missing or altered, or its export failed; says what to do.
        """
        source = packaged_model_directory()
        verify_weights(source)
        tokenizer = verified_bytes(source, "tokenizer.json")
        directory = private_directory(cache_root(cache_dir) / "models")
        # onnxruntime quantises, so its version decides the numbers; torch only writes down the graph.
        runtime = ".".join(str(import_module("onnxruntime").__version__).split(".")[:2])
        model = obtain_export(
            directory,
            f"{MODEL_NAME}-{PINNED[WEIGHTS][:16]}-r{RECIPE_VERSION}-ort{runtime}",
            {"weights": PINNED[WEIGHTS], "engine": ENGINE_ID, "onnxruntime": runtime},
            export_in_subprocess,
        )
        return cls(model, tokenizer, threads=threads)

    @property
    def engine_id(self) -> str:
        """Model, weights digest and recipe."""
        return ENGINE_ID

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return DIMENSIONS

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the model reads; what follows has no influence on the vector."""
        return MAX_TOKENS

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, the two that frame it included; above `max_tokens` its end is not read.

        Raises:
            ModelError: the text is not valid Unicode.
        """
        encoding = self._encode(text)
        return _FRAME + sum(len(part.ids) - _FRAME for part in (encoding, *encoding.overflowing))

    def embed_document(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one passage, shape `(384,)`; the same text always gives the same bits.

        Raises:
            ModelError: the text is not valid Unicode, or the model failed.
        """
        encoding = self._encode(text)
        feed = {
            "input_ids": np.array([encoding.ids], dtype=np.int64),
            "attention_mask": np.array([encoding.attention_mask], dtype=np.int64),
        }
        try:
            (batch,) = self._session.run(["embedding"], feed)
        except Exception as error:
            raise ModelError("the embedding model failed on a text") from error
        return unit_vector(batch[0], DIMENSIONS)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one query; this model has no prefix for queries.

        Raises:
            ModelError: the text is not valid Unicode, or the model failed.
        """
        return self.embed_document(text)

    def _encode(self, text: str) -> Encoding:
        try:
            return self._tokenizer.encode(text)
        except (TypeError, UnicodeError) as error:
            raise ModelError("a text with a lone surrogate cannot be embedded") from error


def _load_tokenizer(content: bytes) -> Tokenizer:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads warn after every fork
    tokenizer: Tokenizer = import_module("tokenizers").Tokenizer.from_buffer(content)
    # The packaged file truncates at 128 tokens and pads to 128: half of a passage would be cut silently.
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    return tokenizer


def _load_session(model: bytes, threads: int) -> _Session:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI the fast int8 kernel saturates and the vectors are wrong; this chooses the exact one there.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session: _Session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session
