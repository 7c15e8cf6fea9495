"""Detectors: one per file, pure (packaged rules apart), each a frozen value with its thresholds.

Two protocols (`secure_rag.ports`): a `DocumentDetector` looks at one document on its way in, a `ChunkDetector` at the
candidates of one answer, all of which the caller may read. Deterministic rules ask for quarantine, statistical
ones only annotate or collapse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import is_dataclass

from secure_rag.detection import trust_mixing
from secure_rag.detection.contributor_burst import ContributorBurst
from secure_rag.detection.hidden_markup import HiddenMarkup
from secure_rag.detection.instruction_patterns import InstructionPatterns
from secure_rag.detection.near_duplicates import NearDuplicates
from secure_rag.detection.query_echo import QueryEcho
from secure_rag.detection.unicode_rules import UnicodeRules
from secure_rag.ports import ChunkDetector, DocumentDetector

__all__ = [
    "ContributorBurst",
    "HiddenMarkup",
    "InstructionPatterns",
    "NearDuplicates",
    "QueryEcho",
    "UnicodeRules",
    "default_chunk_detectors",
    "default_document_detectors",
    "detection_digest",
]


def default_document_detectors() -> tuple[DocumentDetector, ...]:
    """What every document passes on its way in."""
    return (UnicodeRules(), HiddenMarkup(), InstructionPatterns())


def default_chunk_detectors() -> tuple[ChunkDetector, ...]:
    """What every answer passes. Trust mixing is no detector: it needs the taxonomy and the context."""
    return (QueryEcho(), NearDuplicates())


def detection_digest(detectors: Sequence[object] | None = None) -> str:
    """SHA-256 over the revision and every parameter of the detectors, the rule pack included; for audit rows.

    Args:
        detectors: those in use, in order; without them the defaults, the burst rule among them.
    """
    used = detectors if detectors is not None else (*_defaults(), ContributorBurst())
    parts = [_description(detector) for detector in used]
    text = json.dumps([*parts, ["trust_mixing", trust_mixing.REVISION]])
    return hashlib.sha256(text.encode()).hexdigest()


def _defaults() -> tuple[object, ...]:
    return (*default_document_detectors(), *default_chunk_detectors())


def _description(detector: object) -> list[str]:
    """Where it comes from, its revision and, as ours are frozen dataclasses, all parameters."""
    kind = type(detector)
    parameters = repr(detector) if is_dataclass(detector) else str(getattr(detector, "name", ""))
    return [f"{kind.__module__}.{kind.__qualname__}", str(getattr(detector, "revision", "")), parameters]
