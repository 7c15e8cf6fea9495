"""Hidden markup: text that a parser extracts and no reader of the document sees.

White runs, vanished runs, hidden sheets and slides, zero-size and off-page text, hidden HTML. The parser of the
format reports each place (it alone sees fonts, colours and styles); this detector turns reports into verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from secure_rag.detection.folding import evidence
from secure_rag.model.findings import Finding, Verdict
from secure_rag.ports import IncomingDocument

__all__ = ["HiddenMarkup"]

_STRENGTH: Final = list(Verdict)


@dataclass(frozen=True, slots=True)
class HiddenMarkup:
    """Quarantines documents with hidden text.

    Attributes:
        threshold: hidden characters (the score of a report) from which a report quarantines; fewer annotate.
    """

    revision: ClassVar[str] = "1"

    name: str = field(default="hidden_markup", init=False)
    threshold: float = 1.0

    def inspect(self, document: IncomingDocument) -> Sequence[Finding]:
        """One finding per report. A verdict that the parser asked for is never weakened."""
        return [self._judge(report) for report in document.hidden]

    def _judge(self, report: Finding) -> Finding:
        # Written so that a score that is no number quarantines.
        mine = Verdict.ANNOTATE if report.score < self.threshold else Verdict.QUARANTINE
        return replace(
            report,
            detector=self.name,
            verdict=max(mine, report.verdict, key=_STRENGTH.index),
            threshold=self.threshold,
            evidence=evidence(report.evidence),
            rule=report.rule or report.detector,
        )
