from __future__ import annotations

import math

from secure_rag.detection.hidden_markup import HiddenMarkup
from secure_rag.model.findings import Finding, Verdict
from tests.controls import control
from tests.unit.detection.rows import document


def report(score: float, verdict: Verdict = Verdict.ANNOTATE, rule: str = "docx_white_run") -> Finding:
    return Finding("parser", verdict, score, 0.0, (4, 9), "hid\u200bden", rule)


@control("detection:hidden-markup")
def test_a_report_quarantines_and_keeps_its_place() -> None:
    (finding,) = HiddenMarkup().inspect(document("text hidden", hidden=(report(6),)))
    assert finding.verdict is Verdict.QUARANTINE
    assert (finding.detector, finding.rule, finding.span) == ("hidden_markup", "docx_white_run", (4, 9))
    assert (finding.score, finding.threshold, finding.evidence) == (6, 1.0, "hid⟨U+200B⟩den")


def test_below_the_threshold_it_annotates() -> None:
    (finding,) = HiddenMarkup(threshold=10).inspect(document("t", hidden=(report(6),)))
    assert finding.verdict is Verdict.ANNOTATE


def test_the_parsers_own_verdict_is_never_weakened() -> None:
    (finding,) = HiddenMarkup(threshold=10).inspect(document("t", hidden=(report(6, Verdict.QUARANTINE),)))
    assert finding.verdict is Verdict.QUARANTINE


def test_a_score_that_is_no_number_quarantines() -> None:
    (finding,) = HiddenMarkup().inspect(document("t", hidden=(report(math.nan),)))
    assert finding.verdict is Verdict.QUARANTINE


def test_without_a_rule_the_reporter_is_the_rule() -> None:
    (finding,) = HiddenMarkup().inspect(document("t", hidden=(report(1, rule=""),)))
    assert finding.rule == "parser"


def test_nothing_hidden_nothing_found() -> None:
    assert HiddenMarkup().inspect(document("visible only")) == []
