"""Any sentence-transformers model, by name or folder, in the process that embeds; it loads torch."""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secure_rag.embedding.vectors import unit_vector
from secure_rag.errors import ModelError

__all__ = ["SentenceTransformerEmbedder"]

# What decides a vector. Pickled weights (*.bin) are neither fetched nor loaded: unpickling runs code.
_SUFFIXES: Final = (".safetensors", ".json", ".txt", ".model")
_OTHER_ENGINES: Final = ("onnx", "openvino")
_BLOCK: Final = 1 << 20


class SentenceTransformerEmbedder:
    """A sentence-transformers model, normalised, one text at a time."""

    def __init__(self, model: str | Path, *, device: str = "cpu") -> None:
        """Load a model from a folder, or by its name on the hub.

        `HF_HUB_OFFLINE=1` keeps it to what has been downloaded before. Code that a model brings is never run.

        Args:
            model: folder, or name as on the hub.
            device: torch device.

        Raises:
            ModelError: the model is missing, has no safetensors weights or cannot be loaded; says what to do.
        """
        directory, name = _resolve(str(model))
        digest = _digest(directory)
        try:
            transformer = import_module("sentence_transformers").SentenceTransformer(
                str(directory),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
            self._transformer: Any = transformer
            self._dimensions = int(np.asarray(self._encode("ready", query=True)).shape[0])
        except ModuleNotFoundError as error:
            raise ModelError(f"model {name}: needs {error.name}: install secure-rag[server]") from error
        except Exception as error:
            raise ModelError(f"model {name}: cannot be loaded: {error}") from error
        self._engine_id = (
            f"st:{name}:{digest}:normalised:tokens{transformer.max_seq_length}:d{self._dimensions}"
        )

    @property
    def engine_id(self) -> str:
        """Name, digest of the model's files, normalisation, token limit and dimensions."""
        return self._engine_id

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return self._dimensions

    def embed_document(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one passage, with the model's own document prompt if it has one.

        Raises:
            ModelError: the model failed.
        """
        return self._embed(text, query=False)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        """Unit vector of one query, with the model's own query prompt if it has one.

        Raises:
            ModelError: the model failed.
        """
        return self._embed(text, query=True)

    def _embed(self, text: str, *, query: bool) -> NDArray[np.float32]:
        try:
            raw = self._encode(text, query=query)
        except Exception as error:
            raise ModelError("the embedding model failed on a text") from error
        return unit_vector(raw, self._dimensions)

    def _encode(self, text: str, *, query: bool) -> NDArray[np.float32]:
        encode = self._transformer.encode_query if query else self._transformer.encode_document
        vector: NDArray[np.float32] = encode(
            text, batch_size=1, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return vector


def _resolve(model: str) -> tuple[Path, str]:
    """Folder of a model and its name without the place where it happens to lie."""
    folder = Path(model)
    if folder.is_dir():
        return folder, folder.resolve().name
    if folder.is_absolute() or model.startswith(".") or model.count("/") > 1:
        raise ModelError(f"model {model}: there is no such folder")
    name = model if "/" in model else f"sentence-transformers/{model}"
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    try:
        found = import_module("huggingface_hub").snapshot_download(
            name,
            local_files_only=offline,
            allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES],
            ignore_patterns=[f"{engine}/*" for engine in _OTHER_ENGINES],
        )
    except Exception as error:
        hint = (
            "HF_HUB_OFFLINE is set: give the model's folder instead"
            if offline
            else "check the name and the network"
        )
        raise ModelError(f"model {name}: not found; {hint}") from error
    return Path(found), name


def _digest(directory: Path) -> str:
    """SHA-256 over names and contents of all files that decide a vector."""
    digest, weights = hashlib.sha256(), 0
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.suffix not in _SUFFIXES or relative.parts[0] in _OTHER_ENGINES or not path.is_file():
            continue
        weights += path.suffix == ".safetensors"
        part = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                part.update(block)
        digest.update(f"{relative.as_posix()}\0{part.hexdigest()}\n".encode())
    if not weights:
        raise ModelError(f"model {directory}: holds no *.safetensors weights; pickled weights are not loaded")
    return digest.hexdigest()
