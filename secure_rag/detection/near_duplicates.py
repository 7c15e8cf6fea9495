"""Near-duplicates: one low-trust text in many copies counts once.

Poisoning sets fill the top of an answer with several versions of one claim. Of each group of near-equal rows the
one with the highest trust stays, then the one with the best rank; the others are collapsed.

Whatever is dropped must not help an outsider to erase someone else's text (a suppression attack), so:

1. Only rows of low trust (partner, external) are ever dropped; trusted sources that agree are no attack.
2. A row is dropped only for a kept row of higher trust, or for one of equal trust that is of the same contributor
   or has the very same text. A changed figure or sign in a copy of another outsider's text removes nothing.
3. A kept row is never dropped later: every dropped row has its kept near-equal in the same answer.

A source without known contributors counts as one contributor. Documents of one outsider under several names are
not seen as one; the near-equality of wholly different accounts is for the burst rule to notice.

Two measures, each by its own threshold: Jaccard similarity of 5-word shingles (catches copies with small edits,
needs nothing but text) and the cosine of the vectors when the caller has them (catches rewordings). On five-document
sets the cosine at 0.85 takes majority-poisoned contexts from 1.00 to 0.00-0.02 (with query echo) and to
0.10-0.50 (without); shingles alone see next to nothing of reworded sets. Collapsing every contributor at 0.85 costs
2.3 % of the clean gold passages; low trust only, less.

Cost: quadratic in low-trust rows, at most 512 by the bound of the refill; under 1 ms for 25 rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from secure_rag.detection.folding import tokens
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.ids import ChunkKey
from secure_rag.model.labels import Trust

if TYPE_CHECKING:
    from secure_rag.ports import Vector

__all__ = ["NearDuplicates"]

SHINGLE_WORDS: Final = 5
_LOW_TRUST: Final = Trust.PARTNER.level


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: ChunkRow
    plain: str
    """The text with its blanks made equal."""
    words: tuple[str, ...]
    shingles: frozenset[tuple[str, ...]]
    vector: Vector | None

    @staticmethod
    def of(row: ChunkRow, vector: Vector | None) -> _Candidate:
        words = tuple(tokens(row.text))
        count = max(1, len(words) - SHINGLE_WORDS + 1)
        shingles = frozenset(words[i : i + SHINGLE_WORDS] for i in range(count))
        return _Candidate(row, " ".join(row.text.split()), words, shingles, vector)

    @property
    def contributor(self) -> tuple[str, str]:
        return ("", self.row.contributor) if self.row.contributor else (self.row.source, "")

    def may_stand_for(self, other: _Candidate) -> bool:
        """Whether dropping `other` for this one cannot serve the author of this one against another author."""
        if self.row.trust.level != other.row.trust.level:
            return self.row.trust.level > other.row.trust.level
        # Not by words: a sign, a currency or a comma is none, and changing one is enough to lie.
        return self.contributor == other.contributor or self.plain == other.plain

    def jaccard(self, other: _Candidate) -> float:
        """Shared share of the shingles; texts without words are alike only when they are the same text."""
        if not self.words or not other.words:
            return float(self.row.text == other.row.text)
        shared = len(self.shingles & other.shingles)
        return shared / (len(self.shingles) + len(other.shingles) - shared)

    def cosine(self, other: _Candidate) -> float:
        """Cosine of the unit vectors; -1 when one is missing."""
        return (
            float(self.vector @ other.vector)
            if self.vector is not None and other.vector is not None
            else -1.0
        )


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """Collapses near-equal rows of low trust.

    Attributes:
        tau: cosine above which two vectors count as near-equal.
        shingle: Jaccard similarity of shingles from which two texts count as near-equal.
    """

    revision: ClassVar[str] = "2"

    name: str = field(default="near_duplicates", init=False)
    tau: float = 0.85
    shingle: float = 0.6

    def inspect(self, query: str, rows: Sequence[ChunkRow]) -> Mapping[ChunkKey, Finding]:  # noqa: ARG002 - the port's signature
        """`collapse` by text alone."""
        return self.collapse(rows)

    def collapse(
        self, rows: Sequence[ChunkRow], vectors: Mapping[ChunkKey, Vector] | None = None
    ) -> Mapping[ChunkKey, Finding]:
        """Findings with verdict `collapse` for the rows to drop.

        Args:
            rows: in rank order, best first.
            vectors: unit vectors of rows, as far as the caller has them.
        """
        known = vectors or {}
        ranked = sorted(rows, key=lambda row: -row.trust.level)
        kept: list[_Candidate] = []
        found: dict[ChunkKey, Finding] = {}
        for row in ranked:
            candidate = _Candidate.of(row, known.get(row.key))
            finding = self._duplicate(candidate, kept) if row.trust.level <= _LOW_TRUST else None
            if finding is None:
                kept.append(candidate)
            else:
                found[row.key] = finding
        return found

    def _duplicate(self, candidate: _Candidate, kept: Sequence[_Candidate]) -> Finding | None:
        for other in kept:
            if not other.may_stand_for(candidate):
                continue
            overlap = other.jaccard(candidate)
            if overlap >= self.shingle:
                return self._finding(overlap, self.shingle, "shingles")
            closeness = other.cosine(candidate)
            if closeness > self.tau:
                return self._finding(closeness, self.tau, "vectors")
        return None

    def _finding(self, score: float, threshold: float, rule: str) -> Finding:
        return Finding(self.name, Verdict.COLLAPSE, score, threshold, rule=rule)
