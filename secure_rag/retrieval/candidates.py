"""Detectors, collapse and trust mixing over candidates that the subject may read. Pure apart from reading vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_rag.detection.near_duplicates import NearDuplicates
from secure_rag.detection.trust_mixing import ContextSide, split
from secure_rag.model.decisions import ChunkRow, Notice
from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.ids import ChunkKey
from secure_rag.model.labels import Taxonomy, Trust
from secure_rag.ports import ChunkDetector

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView
    from secure_rag.model.ids import TenantKey


@dataclass(frozen=True, slots=True)
class Screened:
    """At most k rows that may stand together, with what was found on them."""

    rows: tuple[ChunkRow, ...]
    flags: Mapping[ChunkKey, tuple[str, ...]]
    notices: tuple[Notice, ...]
    side: ContextSide | None


@dataclass(frozen=True, slots=True)
class Screen:
    """The query-time checks, in order: annotate, collapse near-duplicates of low trust, keep trust apart."""

    detectors: tuple[ChunkDetector, ...]
    duplicates: NearDuplicates

    def apply(
        self,
        view: ReadView,
        tenant: TenantKey,
        query: str,
        rows: Sequence[ChunkRow],
        k: int,
        taxonomy: Taxonomy,
        side: ContextSide | None,
    ) -> Screened:
        """Choose the rows of an answer. Statistics come from these rows alone, all of which the subject may read."""
        flags = self._flags(query, rows)
        low_trust = [row.key for row in rows if row.trust.level <= Trust.PARTNER.level]
        # Only rows of low trust are ever collapsed.
        collapsed = self.duplicates.collapse(rows, view.chunk_vectors(tenant, low_trust)) if low_trust else {}
        remaining = [row for row in rows if row.key not in collapsed]
        notices = [Notice.NEAR_DUPLICATES_COLLAPSED] if len(remaining) < len(rows) else []
        while True:
            # Only what would be delivered together is judged together: a confidential row far below the
            # k-th must not push an external one out.
            mix = split(remaining[:k], taxonomy, side)
            notices.extend(x for x in mix.notices if x not in notices)
            if not mix.dropped:
                return Screened(mix.kept, flags, tuple(notices), mix.side)
            dropped = {row.key for row in mix.dropped}
            remaining = [row for row in remaining if row.key not in dropped]

    def _flags(self, query: str, rows: Sequence[ChunkRow]) -> dict[ChunkKey, tuple[str, ...]]:
        found: dict[ChunkKey, tuple[str, ...]] = {}
        for detector in self.detectors:
            for key, finding in detector.inspect(query, rows).items():
                if _annotates(finding):
                    found[key] = (*found.get(key, ()), finding.detector)
        return found


def _annotates(finding: Finding) -> bool:
    return finding.verdict is not Verdict.ALLOW
