"""Runs the ingest-time detectors over a parsed document. Deterministic hits quarantine; statistics annotate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.labels import Trust
from secure_rag.ports import DocumentDetector, IncomingDocument
from secure_rag_ingestion.parsing.document import HiddenKind, HiddenText, ParsedDocument


@dataclass(frozen=True, slots=True)
class Scanner:
    """A fixed set of detectors."""

    detectors: tuple[DocumentDetector, ...]

    def scan(self, parsed: ParsedDocument, title: str, trust: Trust) -> list[Finding]:
        """Findings of every detector. A detector that fails fails the document: unscanned text is not let in."""
        document = IncomingDocument(
            text=parsed.text,
            title=title,
            mime=parsed.mime,
            trust=trust,
            hidden=[_report(x) for x in parsed.hidden],
        )
        return [finding for detector in self.detectors for finding in detector.inspect(document)]


def quarantines(findings: Sequence[Finding]) -> bool:
    """Whether any finding asks for quarantine."""
    return any(finding.verdict is Verdict.QUARANTINE for finding in findings)


def _report(hidden: HiddenText) -> Finding:
    # The text layer of a scanned page repeats what the picture shows: worth a note, not a quarantine.
    characters = 0 if hidden.kind is HiddenKind.OCR_LAYER else max(1, len(hidden.excerpt))
    return Finding(
        detector="parser",
        verdict=Verdict.ANNOTATE,
        score=float(characters),
        threshold=0.0,
        evidence=hidden.excerpt,
        rule=f"{hidden.kind.value} at {hidden.place}, sha256 {hidden.sha256}",
    )
