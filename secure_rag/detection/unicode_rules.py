"""Unicode rules on raw text: characters that carry or conceal text which readers do not see.

They run before any normalisation, which would remove the evidence. Four rules:

- `unicode_tags`: tag characters (U+E0000-E007F) spell invisible ASCII that language models read. Always
  quarantine, except in the three flags (England, Scotland, Wales) that Unicode recommends for interchange.
- `unicode_bidi`: overrides and embeddings that show text in another order than it has ("Trojan Source", Boucher
  and Anderson 2021). Marks (LRM, RLM, ALM) and directions that change nothing are normal text and never fire.
- `unicode_zero_width`: zero-width characters inside Latin words split words against filters; long runs of them
  encode bits. Emoji sequences and the joiners of Indic and Persian text have no Latin letter on both sides;
  a break offered before a capital (`camelCase`) and a suppressed ligature (`Auf|lage`) are typography.
- `unicode_variation_selectors`: runs of variation selectors, or one after each letter, encode bytes. One selector
  after an emoji, an ideograph or a symbol is normal.

Score unit: characters (tags, selectors, long runs), places (zero width in words), 1 (bidi).
Cost: one pass of a few regular expressions, none on ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import ClassVar, Final

from secure_rag.detection.folding import evidence
from secure_rag.model.findings import Finding, Verdict
from secure_rag.ports import IncomingDocument

__all__ = ["UnicodeRules"]

MAX_FINDINGS: Final = 16
"""Per rule and text: a reviewer needs the kind and some places, not ten thousand of them."""

_FLAG: Final = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(c)) for c in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_TAGS: Final = re.compile(f"(?:{_FLAG})|([\U000e0000-\U000e007f]+)")

_LATIN: Final = "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_ZERO_WIDTH: Final = "\u034f\u180e\u200b-\u200d\u2060-\u2064\ufeff"
_IN_WORD: Final = re.compile(f"(?<=([{_LATIN}]))([{_ZERO_WIDTH}]+)(?=([{_LATIN}]))")
_LIGATURE: Final = frozenset("fijltbhk")
_LONG_RUN: Final = re.compile(f"[{_ZERO_WIDTH}]{{8,}}")

_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]+")
# ASCII but digits, # and * (keycaps), and the letters of scripts without variants; © and ® have emoji forms.
_NO_VARIANT: Final = re.compile(r"[\x00-\"$-)+-/:-\x7f\u00c0-\u06ff\u1e00-\u1fff]")
_IDEOGRAPH: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_EMOJI_SELECTOR: Final = "\ufe0f"

_DIRECTION: Final = {
    "\u202a": "L", "\u202b": "R", "\u202d": "L", "\u202e": "R", "\u2066": "L", "\u2067": "R", "\u2068": "first strong",
}  # fmt: skip
_OVERRIDES: Final = "\u202d\u202e"
_ISOLATES: Final = "\u2066\u2067\u2068"
_POP_EMBEDDING: Final = "\u202c"
_POP_ISOLATE: Final = "\u2069"
_BIDI: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Only characters of bidirectional class B end a paragraph; str.splitlines ends lines at others too.
_PARAGRAPH: Final = re.compile("[^\n\r\x1c-\x1e\x85\u2029]+")
_RTL_SHARE: Final = 0.25
"""Share of right-to-left letters from which a text counts as written in such a script."""


@dataclass(frozen=True, slots=True)
class UnicodeRules:
    """Runs the four rules over text and title.

    Attributes:
        zero_width: places inside words up to which zero-width characters only annotate.
        selector_run: consecutive variation selectors from which a run quarantines.
        useless_selectors: selectors in places where they mean nothing, up to which they only annotate.
    """

    revision: ClassVar[str] = "1"

    name: str = field(default="unicode_rules", init=False)
    zero_width: int = 3
    selector_run: int = 4
    useless_selectors: int = 3

    def inspect(self, document: IncomingDocument) -> Sequence[Finding]:
        """Findings in the text with their spans, then those of the title, which have none."""
        title = [_in_title(finding) for finding in self._scan(document.title)]
        return [*self._scan(document.text), *title]

    def _scan(self, text: str) -> list[Finding]:
        if text.isascii():
            return []
        return [*_tags(text), *_bidi(text), *self._in_words(text), *_long_runs(text), *self._selectors(text)]

    def _in_words(self, text: str) -> list[Finding]:
        places = [m for m in _IN_WORD.finditer(text) if not _is_typography(m)]
        verdict = Verdict.QUARANTINE if len(places) > self.zero_width else Verdict.ANNOTATE
        return [
            _finding(
                "unicode_zero_width", verdict, len(places), self.zero_width + 1, text, m.span(2), "in_word"
            )
            for m in places[:MAX_FINDINGS]
        ]

    def _selectors(self, text: str) -> Iterator[Finding]:
        useless: list[re.Match[str]] = []
        runs: list[re.Match[str]] = []
        for match in _SELECTORS.finditer(text):
            if len(match[0]) >= self.selector_run:
                runs.append(match)
            elif _is_useless(text[match.start() - 1] if match.start() else "", match[0]):
                useless.append(match)
        for match in runs[:MAX_FINDINGS]:
            yield _selector_finding(
                Verdict.QUARANTINE, len(match[0]), self.selector_run, match.span(), match[0], "run"
            )
        if useless:
            hidden = "".join(m[0] for m in useless)
            verdict = Verdict.QUARANTINE if len(hidden) > self.useless_selectors else Verdict.ANNOTATE
            span = (useless[0].start(), useless[-1].end())
            yield _selector_finding(verdict, len(hidden), self.useless_selectors + 1, span, hidden, "useless")


def _finding(
    detector: str,
    verdict: Verdict,
    score: float,
    threshold: float,
    text: str,
    span: tuple[int, int],
    rule: str,
) -> Finding:
    around = text[max(0, span[0] - 20) : span[1] + 20]
    return Finding(detector, verdict, score, threshold, span, evidence(around), rule)


def _in_title(finding: Finding) -> Finding:
    return replace(finding, span=None, rule=f"title:{finding.rule}")


def _tags(text: str) -> Iterator[Finding]:
    runs = [m for m in _TAGS.finditer(text) if m[1]]
    for match in runs[:MAX_FINDINGS]:
        hidden = "".join(chr(ord(c) - 0xE0000) for c in match[1])
        yield Finding(
            "unicode_tags",
            Verdict.QUARANTINE,
            len(match[1]),
            1.0,
            match.span(1),
            evidence(hidden),
            "hidden_ascii",
        )


def _long_runs(text: str) -> list[Finding]:
    return [
        _finding(
            "unicode_zero_width", Verdict.QUARANTINE, m.end() - m.start(), 8, text, m.span(), "encoded_bits"
        )
        for m in list(_LONG_RUN.finditer(text))[:MAX_FINDINGS]
    ]


def _is_typography(match: re.Match[str]) -> bool:
    """A break offered inside an identifier, or a ligature that German and other typesetting suppresses."""
    before, hidden, after = match[1], match[2], match[3]
    if hidden == "\u200b":
        return before.islower() and after.isupper()
    return hidden == "\u200c" and before == "f" and after in _LIGATURE


def _is_useless(base: str, run: str) -> bool:
    """Whether these selectors choose no variant: only emoji, symbols and ideographs have some, one at a time."""
    if len(run) > 1:
        # A doubled emoji selector comes from sloppy software and carries nothing.
        return any(c != _EMOJI_SELECTOR for c in run) or bool(_NO_VARIANT.fullmatch(base))
    if run >= "\U000e0100":
        return not _IDEOGRAPH.fullmatch(base)
    return bool(_NO_VARIANT.fullmatch(base))


def _selector_finding(
    verdict: Verdict, score: float, threshold: float, span: tuple[int, int], run: str, rule: str
) -> Finding:
    """Evidence: the bytes that selectors 1-256 stand for, as text where they are printable ASCII."""
    values = [ord(c) - 0xFE00 if c < "\U000e0100" else ord(c) - 0xE0100 + 16 for c in run]
    shown = "".join(chr(v) if 32 <= v < 127 else f"\\x{v:02x}" for v in values)
    return Finding("unicode_variation_selectors", verdict, score, threshold, span, evidence(shown), rule)


def _bidi(text: str) -> list[Finding]:
    """Judge every directional run inside its own paragraph, where the bidirectional algorithm ends it too."""
    found: list[Finding] = []
    for paragraph in _PARAGRAPH.finditer(text) if _BIDI.search(text) else ():
        order = _Order.of(paragraph[0])
        for opener, first, last in _directional_runs(paragraph[0]):
            verdict = order.verdict(opener, first + 1, last)
            if verdict is not None:
                span = (paragraph.start() + first, paragraph.start() + last)
                rule = unicodedata.name(opener).lower().replace(" ", "_").replace("-", "_")
                found.append(_finding("unicode_bidi", verdict, 1.0, 1.0, text, span, rule))
            if len(found) >= MAX_FINDINGS:
                return found
    return found


def _directional_runs(paragraph: str) -> Iterator[tuple[str, int, int]]:
    """(opener, its index, end of what it governs); without its closer an opener governs the rest."""
    opened: list[tuple[str, int]] = []
    isolates = 0
    for match in _BIDI.finditer(paragraph):
        character, index = match[0], match.start()
        if character in _DIRECTION:
            opened.append((character, index))
            isolates += character in _ISOLATES
        elif character == _POP_EMBEDDING and opened and opened[-1][0] not in _ISOLATES:
            yield (*opened.pop(), index)
        elif character == _POP_ISOLATE and isolates:
            # A closed isolate ends whatever was left open inside it.
            isolates -= 1
            while opened[-1][0] not in _ISOLATES:
                yield (*opened.pop(), index)
            yield (*opened.pop(), index)
    for character, index in opened:
        yield character, index, len(paragraph)


@dataclass(frozen=True, slots=True)
class _Order:
    """How many right-to-left letters, and left-to-right letters and digits, a paragraph has up to each place.

    Running sums, so that ten thousand nested openers cost no more than one.
    """

    right: list[int]
    left: list[int]

    @staticmethod
    def of(paragraph: str) -> _Order:
        classes = [unicodedata.bidirectional(c) for c in paragraph]
        return _Order(
            list(accumulate((c in {"R", "AL"} for c in classes), initial=0)),
            list(accumulate((c in {"L", "EN"} for c in classes), initial=0)),
        )

    def verdict(self, opener: str, start: int, end: int) -> Verdict | None:
        """What a direction does to the text it governs; None when readers see it in its own order."""
        right = self.right[end] - self.right[start]
        left = self.left[end] - self.left[start]
        forward = _DIRECTION[opener] != "R"
        if opener in _OVERRIDES:
            return Verdict.QUARANTINE if (right if forward else left) else None
        if forward or not left or _is_right_to_left(right, left):
            return None
        legitimate = right > 0 or _is_right_to_left(self.right[-1], self.left[-1])
        return Verdict.ANNOTATE if legitimate else Verdict.QUARANTINE


def _is_right_to_left(right: int, left: int) -> bool:
    return right > 0 and right >= _RTL_SHARE * (right + left)
