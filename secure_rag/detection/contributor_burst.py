"""Contributor burst: one contributor suddenly adds several documents that say nearly the same.

A poisoning set holds several versions of one claim, so that the top of an answer is full of it. Signal: the mean
pairwise cosine of the densest group of recent documents of one contributor. Groups are looked for around the
newest document only: a contributor's old group must not mark his later, unrelated documents.

It only annotates. Templated mail and generated pages of one honest contributor look just the same (in one public
mail set every second message does), and an attacker who rewords well stays below any usable threshold.

Where the default threshold 0.75 comes from: MiniLM vectors of Wikipedia paragraphs, each article taken as one
contributor (the hardest honest case in prose, all documents about one subject), windows of 20: 0.2 % of 1,049 windows
fire with groups of five, 1.3 % with groups of three; windows of mixed articles never. PoisonedRAG's
sets of five without the query fire in 91 %, just as much when hidden among 15 clean documents. At 0.70: 2.2 % and
99 %; at 0.80: 0 % and 72 %. The grid was read on the same windows that it is quoted for, and the level is a property of
model and collection: calibrate it on clean documents of one's own before acting on it.

Cost: about 0.2 ms per document for a window of 20.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from secure_rag.errors import ConfigError
from secure_rag.model.findings import Finding, Verdict

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BurstGroup", "ContributorBurst", "densest_group"]


@dataclass(frozen=True, slots=True)
class BurstGroup:
    """A group of documents around the newest one.

    Attributes:
        members: row indices into the vectors given, ascending; the newest document is among them.
        cohesion: mean pairwise cosine.
    """

    members: tuple[int, ...]
    cohesion: float


def densest_group(vectors: NDArray[np.float32], size: int) -> BurstGroup:
    """Grow the densest group of `size` documents that holds the last row.

    Greedy: from each pair with the newest document, add whoever is closest to the group so far. That is a lower
    bound of the true optimum, which would need every subset.

    Args:
        vectors: shape (n, d), unit length, oldest first; n >= size >= 2.
        size: documents in the group.
    """
    count = len(vectors)
    unit = vectors.astype(np.float64)
    cosines = unit @ unit.T
    best = BurstGroup((), -np.inf)
    for second in range(count - 1):
        members = [count - 1, second]
        nearness = cosines[count - 1] + cosines[second]
        total = cosines[count - 1, second]
        while len(members) < size:
            candidates = nearness.copy()
            candidates[members] = -np.inf
            chosen = int(np.argmax(candidates))
            total += candidates[chosen]
            nearness = nearness + cosines[chosen]
            members.append(chosen)
        cohesion = float(total) / (size * (size - 1) / 2)
        if cohesion > best.cohesion:
            best = BurstGroup(tuple(sorted(members)), cohesion)
    return best


@dataclass(frozen=True, slots=True)
class ContributorBurst:
    """Annotates the newest document of a contributor when it completes a dense group.

    Attributes:
        threshold: mean pairwise cosine from which a group counts as a burst.
        window: recent documents that are looked at.
        group: documents that a group has, once there are as many.
        minimum: smallest group.
    """

    revision: ClassVar[str] = "1"

    name: str = field(default="contributor_burst", init=False)
    threshold: float = 0.75
    window: int = 20
    group: int = 5
    minimum: int = 3

    def __post_init__(self) -> None:
        if not 2 <= self.minimum <= self.group <= self.window:
            raise ConfigError("contributor_burst needs 2 <= minimum <= group <= window")

    def inspect_vectors(self, vectors: NDArray[np.float32]) -> Finding | None:
        """Look at the vectors of one contributor's recent documents, shape (n, d), newest last."""
        recent = vectors[-self.window :]
        if len(recent) < self.minimum:
            return None
        found = densest_group(recent, min(self.group, len(recent)))
        if found.cohesion < self.threshold:
            return None
        back = ", ".join(str(len(recent) - 1 - m) for m in reversed(found.members))
        return Finding(
            detector=self.name,
            verdict=Verdict.ANNOTATE,
            score=found.cohesion,
            threshold=self.threshold,
            evidence=f"{len(found.members)} of {len(recent)} recent documents, counted back from the newest: {back}",
            rule="densest_group",
        )
