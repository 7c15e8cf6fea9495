"""What detectors report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a finding asks for, weakest first."""

    ALLOW = "allow"
    ANNOTATE = "annotate"
    COLLAPSE = "collapse"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation of one detector.

    Attributes:
        detector: stable name, also used as the flag that callers see (`query_echo`, `unicode_tags`, …).
        verdict: what it asks for.
        score: in the detector's own unit, documented there.
        threshold: the value that the score was compared with.
        span: character offsets into the document text, end exclusive; None when it has no place there.
        evidence: at most 200 characters for a reviewer; never shown to callers.
        rule: the exact rule or place inside the detector.
    """

    detector: str
    verdict: Verdict
    score: float
    threshold: float
    span: tuple[int, int] | None = None
    evidence: str = ""
    rule: str = ""
