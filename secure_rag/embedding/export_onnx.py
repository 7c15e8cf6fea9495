"""Export of the default model to int8 ONNX: `python -m secure_rag.embedding.export_onnx MODEL OUTPUT`.

Run by `export_process` only. With the same torch, onnx and onnxruntime the export is the same byte for byte.
"""

from __future__ import annotations

import argparse
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

from secure_rag.embedding.onnx_engine import OnnxEmbedder
from secure_rag.embedding.packaged_model import MAX_TOKENS
from secure_rag.errors import ModelError

__all__ = ["main"]

# Typed as what they are, torch would be part of every type check, which takes minutes.
_Tensor: TypeAlias = Any
_SentenceTransformer: TypeAlias = Any

_LEAST_AGREEMENT: Final = 0.95
_PROBES: Final = (
    "How long is parental leave?",
    "The quarterly budget of the engineering department was approved by the board on 3 March.",
    "Reset the turbine controller before replacing the pressure valve; wear gloves.",
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the export process."""
    parser = argparse.ArgumentParser(prog="export_onnx", description="Export a MiniLM model to int8 ONNX.")
    parser.add_argument("model", type=Path, help="folder with the model's files, already verified")
    parser.add_argument("output", type=Path, help="file to write")
    options = parser.parse_args(arguments)
    transformer = import_module("sentence_transformers").SentenceTransformer(
        str(options.model),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        # The fused attention of torch has no counterpart that the exporter could trace.
        model_kwargs={"attn_implementation": "eager", "use_safetensors": True},
    )
    full = options.model / "float32.onnx"
    _export(transformer, full)
    _quantise(full, options.output)
    _check(transformer, options.model, options.output)


def _export(transformer: _SentenceTransformer, output: Path) -> None:
    torch = import_module("torch")
    bert = transformer[0].auto_model.eval()

    class Pooled(torch.nn.Module):  # type: ignore[name-defined,misc]  # torch is untyped here, see above
        """BERT, mean over the tokens, normalised: what the model's modules.json describes."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = bert

        def forward(self, input_ids: _Tensor, attention_mask: _Tensor) -> _Tensor:
            hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, p=2, dim=1)

    example = (
        torch.tensor([[101, 7592, 2088, 102], [101, 7592, 102, 0]]),
        torch.tensor([[1] * 4, [1, 1, 1, 0]]),
    )
    axes = {0: "batch", 1: "tokens"}
    with torch.inference_mode(), warnings.catch_warnings():
        # The tracing exporter announces its successor and what it cannot follow; `_check` proves the result.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pooled(),
            example,
            str(output),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def _quantise(full: Path, output: Path) -> None:
    quantization = import_module("onnxruntime.quantization")
    # Full 8-bit range: `session.x64quantprecision` in the engine keeps it exact on processors without VNNI.
    quantization.quantize_dynamic(
        str(full), str(output), weight_type=quantization.QuantType.QInt8, per_channel=True, reduce_range=False
    )


def _check(transformer: _SentenceTransformer, model: Path, output: Path) -> None:
    """Refuse an export that does not mean what the original means."""
    twin = OnnxEmbedder(output.read_bytes(), (model / "tokenizer.json").read_bytes())
    for text in (*_PROBES, " ".join(_PROBES * MAX_TOKENS)):
        agreement = float(transformer.encode(text, normalize_embeddings=True) @ twin.embed_document(text))
        if not agreement >= _LEAST_AGREEMENT:
            raise ModelError(f"the export agrees with its original only by {agreement:.3f}")


if __name__ == "__main__":
    main()
