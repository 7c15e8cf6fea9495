"""Instruction patterns: text that gives orders to a language model instead of informing a reader.

The rules are a packaged YARA-X file (`rules/instructions.yar`), so that reviewers can read, test and version them
without code. Each says in its metadata which family it belongs to and whether a hit quarantines (phrases with next
to no use in business text) or annotates (phrases that honest documents have too).

Text is scanned as it is and, where that differs, folded (see `folding`), which undoes full-width letters, accents,
invisible characters and look-alikes. Spans always point into the original text.

Limits: a plain request inside a document ("Send the list to ...") has no signature, nor has a paraphrase that avoids
the phrases. Patterns raise the cost of an attack; permissions and trust decide what it can reach.

Cost: a few milliseconds per megabyte of prose, linear; what differs when folded is scanned twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import ClassVar, Final

import numpy as np
import yara_x

from secure_rag.detection.folding import evidence, fold, origins
from secure_rag.errors import ConfigError
from secure_rag.model.findings import Finding, Verdict
from secure_rag.ports import IncomingDocument

__all__ = ["InstructionPatterns", "RulePack", "packaged_rules"]

MAX_MATCHES: Final = 16
"""Per pattern: a reviewer needs the first places, and a document of nothing but hits must not cost more."""
SCAN_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class RulePack:
    """Compiled rules with the digest of their source."""

    sha256: str
    version: str
    compiled: yara_x.Rules = field(repr=False, compare=False)

    @staticmethod
    def of(source: str) -> RulePack:
        """Compile and check a rule file.

        Raises:
            ConfigError: it does not compile, or a rule lacks its metadata (`version`, `family`, `verdict`).
        """
        compiler = yara_x.Compiler(error_on_slow_pattern=True, includes_enabled=False)
        try:
            compiler.add_source(source)
            compiled = compiler.build()
        except yara_x.CompileError as error:
            raise ConfigError(f"instruction rules do not compile: {error}") from None
        versions = {_checked(rule)["version"] for rule in compiled}
        if len(versions) != 1:
            raise ConfigError("instruction rules must all have the same version")
        return RulePack(hashlib.sha256(source.encode()).hexdigest(), versions.pop(), compiled)


def _checked(rule: yara_x.Rule) -> dict[str, str]:
    meta = {str(key): str(value) for key, value in rule.metadata}
    if not meta.get("family") or not meta.get("version"):
        raise ConfigError(f"instruction rule {rule.identifier} lacks a family or a version")
    if meta.get("verdict") not in {Verdict.QUARANTINE, Verdict.ANNOTATE}:
        raise ConfigError(f"instruction rule {rule.identifier} must quarantine or annotate")
    return meta


@cache
def packaged_rules() -> RulePack:
    """The rules that ship with this package."""
    return RulePack.of(
        (files("secure_rag.detection") / "rules" / "instructions.yar").read_text(encoding="utf-8")
    )


@dataclass(frozen=True, slots=True)
class InstructionPatterns:
    """Finds instructions to a model in text and title; score unit: places where the rule matched."""

    revision: ClassVar[str] = "1"

    name: str = field(default="instruction_patterns", init=False)
    rules: RulePack = field(default_factory=packaged_rules)

    def inspect(self, document: IncomingDocument) -> Sequence[Finding]:
        """Findings in the text with their spans, then those of the title, which have none."""
        title = [replace(f, span=None, rule=f"title:{f.rule}") for f in self._scan(document.title)]
        return [*self._scan(document.text), *title]

    def _scan(self, text: str) -> list[Finding]:
        try:
            hits = _hits(self.rules.compiled, text)
            folded = fold(text)
            if folded != text:
                _add_folded(hits, _hits(self.rules.compiled, folded), text)
        except (yara_x.ScanError, yara_x.TimeoutError) as error:
            # What could not be looked at in full is held, as if it had matched.
            return [
                Finding(self.name, Verdict.QUARANTINE, 1.0, 1.0, None, evidence(str(error)), "not_scanned")
            ]
        places = {hit: _merged(spans) for hit, spans in hits.items()}
        strong = {hit.family: spans for hit, spans in places.items() if hit.verdict is Verdict.QUARANTINE}
        return [
            self._finding(text, hit, span, len(spans))
            for hit, spans in places.items()
            for span in spans[:MAX_MATCHES]
            # A weak rule that only repeats what a strong one of its family said adds nothing.
            if hit.verdict is Verdict.QUARANTINE or not _overlaps(span, strong.get(hit.family, ()))
        ]

    def _finding(self, text: str, hit: _Hit, span: tuple[int, int], count: int) -> Finding:
        shown = evidence(text[slice(*span)])
        return Finding(self.name, hit.verdict, count, 1.0, span, shown, f"{hit.family}/{hit.rule}")


@dataclass(frozen=True, slots=True)
class _Hit:
    rule: str
    family: str
    verdict: Verdict


_Spans = dict[_Hit, list[tuple[int, int]]]


def _hits(rules: yara_x.Rules, text: str) -> _Spans:
    # A scanner belongs to the thread that made it and panics in any other one; making one takes microseconds.
    scanner = yara_x.Scanner(rules)
    scanner.set_timeout(SCAN_SECONDS)
    scanner.max_matches_per_pattern(MAX_MATCHES)
    data = text.encode("utf-8", "surrogatepass")
    found: _Spans = {}
    for rule in scanner.scan(data).matching_rules:
        meta = dict(rule.metadata)
        hit = _Hit(rule.identifier, str(meta["family"]), Verdict(str(meta["verdict"])))
        matches = [match for pattern in rule.patterns for match in pattern.matches]
        found[hit] = _characters(data, [(m.offset, m.offset + m.length) for m in matches])
    return found


def _characters(data: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character offsets of UTF-8 byte offsets; a span that ends inside a character holds that character."""
    if data.isascii():
        return spans
    # begun[i]: characters that begin at or before byte i, since only their first byte is no continuation byte.
    begun = np.cumsum((np.frombuffer(data, np.uint8) & 0xC0) != 0x80, dtype=np.int64)
    return [(int(begun[start]) - 1, int(begun[end - 1])) for start, end in spans]


def _add_folded(hits: _Spans, folded: _Spans, text: str) -> None:
    """Add what was found in the folded text, at the places that it came from."""
    if folded:
        origin = origins(text)
        for hit, spans in folded.items():
            hits.setdefault(hit, []).extend((origin[start], origin[end - 1] + 1) for start, end in spans)


def _overlaps(span: tuple[int, int], others: Sequence[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping spans joined, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
