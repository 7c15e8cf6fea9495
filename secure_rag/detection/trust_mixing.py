"""Trust mixing: external content never shares an answer or a context with content at or above a label.

A language model that reads an outsider's text beside confidential text can be talked into leaking the latter
(the EchoLeak class of attack). Whoever can write must therefore never be able to choose what stands next to it.

A row is *external* (trust external), *confidential* (label at or above the taxonomy's mix threshold, or
unknown), neither, or **both** (an outsider's document with a high label). Invariants:

1. Of two kept rows, never is one external and the other confidential, unless both are *both* and of one known
   contributor (or one document): his text can then only reveal his own.
2. In a fresh context the external side is dropped, never the confidential one: an outsider cannot erase the
   truth by writing next to it. A *both* row counts as external beside confidential rows, and as confidential
   beside plainly external ones. Of several contributors of *both* rows the best-ranked one stays.
3. In a context that already delivered one side, the other side is withheld. A *both* row needs a fresh context
   and closes it for either side, its own contributor included: the context remembers that it is tainted, not by
   whom.
4. A context's side never gets weaker, and what is kept keeps its order.

`rows` must be the whole answer so far, not only the last round of a refill, and hold only what the caller may
read: a notice must not tell of anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from secure_rag.model.decisions import ChunkRow, Notice
from secure_rag.model.ids import is_canonical
from secure_rag.model.labels import Taxonomy, Trust

__all__ = ["ContextSide", "MixResult", "join_sides", "split"]

REVISION: Final = "1"


class ContextSide(StrEnum):
    """What a context has been given so far, as far as mixing cares."""

    EXTERNAL = "external"
    CONFIDENTIAL = "confidential"
    BOTH = "both"
    """Content that is external and confidential at once: nothing more of either side may follow."""


@dataclass(frozen=True, slots=True)
class MixResult:
    """What may be delivered together.

    Attributes:
        kept: rows in their order.
        dropped: the others, in their order.
        notices: what the caller is told.
        side: side of the context once `kept` is delivered; None while it has none.
    """

    kept: tuple[ChunkRow, ...]
    dropped: tuple[ChunkRow, ...]
    notices: tuple[Notice, ...]
    side: ContextSide | None


def join_sides(*sides: ContextSide | None) -> ContextSide | None:
    """Side of a context that was given all of these, for answers that were decided at the same time."""
    held = {side for side in sides if side is not None}
    return next(iter(held)) if len(held) == 1 else ContextSide.BOTH if held else None


def side_of(row: ChunkRow, taxonomy: Taxonomy) -> ContextSide | None:
    """Which side a row is on."""
    external = row.trust.level <= Trust.EXTERNAL.level
    # An unknown threshold must not rank above every label, which would make nothing confidential.
    confidential = taxonomy.mix_threshold not in taxonomy.labels or (
        taxonomy.rank_of_content(row.label) >= taxonomy.rank_of_content(taxonomy.mix_threshold)
    )
    return join_sides(
        ContextSide.EXTERNAL if external else None,
        ContextSide.CONFIDENTIAL if confidential else None,
    )


def split(rows: Sequence[ChunkRow], taxonomy: Taxonomy, side: ContextSide | None) -> MixResult:
    """Decide which rows of one answer may be delivered into a context that is on `side` (None: fresh or none)."""
    sided = [(row, side_of(row, taxonomy)) for row in rows]
    admitted = _admitted(sided, side)
    author = next((_author(row) for row, its in sided if its is ContextSide.BOTH), None)
    kept: list[ChunkRow] = []
    dropped: list[ChunkRow] = []
    lost: set[ContextSide] = set()
    for row, its in sided:
        if its is None or (its is admitted and (its is not ContextSide.BOTH or _author(row) == author)):
            kept.append(row)
        else:
            dropped.append(row)
            lost.add(its)
    return MixResult(tuple(kept), tuple(dropped), _notices(lost, side), join_sides(side, admitted))


def _author(row: ChunkRow) -> str:
    """Whose text a *both* row is; two documents of unknown origin may be of two people, so each is its own."""
    return row.contributor if is_canonical(row.contributor) else f"document {row.document_id}"


def _admitted(
    sided: Iterable[tuple[ChunkRow, ContextSide | None]], context: ContextSide | None
) -> ContextSide | None:
    """The one side that may be delivered: the context's, else the most protected one present (so one row of it is)."""
    if context is ContextSide.BOTH:
        return None
    if context is not None:
        return context
    present = {its for _, its in sided}
    for its in (ContextSide.CONFIDENTIAL, ContextSide.BOTH, ContextSide.EXTERNAL):
        if its in present:
            return its
    return None


def _notices(lost: set[ContextSide], context: ContextSide | None) -> tuple[Notice, ...]:
    """External content was withheld, unless the context is external: then it is the label that was too high."""
    names: list[Notice] = []
    if ContextSide.EXTERNAL in lost or (ContextSide.BOTH in lost and context is not ContextSide.EXTERNAL):
        names.append(Notice.EXTERNAL_WITHHELD)
    if ContextSide.CONFIDENTIAL in lost or (ContextSide.BOTH in lost and context is ContextSide.EXTERNAL):
        names.append(Notice.CONFIDENTIAL_WITHHELD)
    return tuple(names)
