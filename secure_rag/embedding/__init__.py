"""Engines behind the `Embedder` port."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secure_rag.extras import require_server

require_server(__name__, "filelock", "numpy", "onnxruntime", "tokenizers")

from secure_rag.embedding.onnx_engine import OnnxEmbedder  # noqa: E402 - the message above comes first
from secure_rag.embedding.sentence_transformers_engine import SentenceTransformerEmbedder  # noqa: E402 - as above
from secure_rag.errors import ConfigError  # noqa: E402 - as above

if TYPE_CHECKING:
    from secure_rag.ports import Embedder

__all__ = ["OnnxEmbedder", "SentenceTransformerEmbedder", "open_embedder"]


def open_embedder(spec: str = "default", cache_dir: Path | None = None, *, threads: int = 1) -> Embedder:
    """Open the engine that a setting names.

    Args:
        spec: `default` (packaged MiniLM as int8 ONNX) or `st:NAME-OR-FOLDER` (sentence-transformers).
        cache_dir: where exports are kept; otherwise `SECURE_RAG_CACHE` or the XDG cache folder.
        threads: threads for one text of the default model.

    Raises:
        ConfigError: the setting names no engine.
        ModelError: the model or its library is missing, altered or unusable; says what to do.
    """
    if spec == "default":
        return OnnxEmbedder.open(cache_dir, threads=threads)
    kind, _, model = spec.partition(":")
    if kind != "st" or not model:
        raise ConfigError(f"embedding: {spec!r} is neither `default` nor `st:NAME-OR-FOLDER`")
    return SentenceTransformerEmbedder(model)
