"""Query echo: a passage that repeats the question to be retrieved for it.

Poisoned passages that are written without access to the embedding model mostly put the expected question into
the text (PoisonedRAG's black-box attack and most of its successors). Signal: the longest run of consecutive
query tokens that also stands in the body, divided by the number of query tokens. Title and headings do not
count: documents titled by a question are normal.

Measured on 2,500 clean (query, passage) pairs of several public sets: at 0.8 the rule finds every attack that
holds the query and flags 0.32 % of clean pairs (0.6: 0.98 %, 0.7: 0.48 %, 0.9: 0.16 %), most of them quiz or
definition pages. Where questions were written with the passage in view (SQuAD with its gold paragraphs) it is 1.7 %.
That is why it only annotates. Of the same attacks without the query it sees 3 %.

Cost: linear in query plus passage, whatever they repeat (a suffix automaton of the query); below 0.1 ms a passage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from secure_rag.detection.folding import tokens, words
from secure_rag.model.decisions import ChunkRow
from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.ids import ChunkKey

__all__ = ["QueryEcho", "SharedRun"]


class SharedRun:
    """Longest run of tokens that one fixed sequence shares with others.

    A suffix automaton (Blumer et al. 1985): state = set of end positions, `_longest` = longest run of the
    state, `_link` = the state of its longest suffix that ends elsewhere too.
    """

    __slots__ = ("_last", "_link", "_longest", "_next")

    def __init__(self, sequence: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._link = [-1]
        self._longest = [0]
        self._last = 0
        for token in sequence:
            self._extend(token)

    def _state(self, longest: int, link: int, following: dict[str, int]) -> int:
        self._longest.append(longest)
        self._link.append(link)
        self._next.append(following)
        return len(self._next) - 1

    def _extend(self, token: str) -> None:
        new = self._state(self._longest[self._last] + 1, 0, {})
        state = self._last
        while state >= 0 and token not in self._next[state]:
            self._next[state][token] = new
            state = self._link[state]
        if state >= 0:
            target = self._next[state][token]
            self._link[new] = (
                target if self._longest[target] == self._longest[state] + 1 else self._clone(state, token)
            )
        self._last = new

    def _clone(self, state: int, token: str) -> int:
        target = self._next[state][token]
        copy = self._state(self._longest[state] + 1, self._link[target], dict(self._next[target]))
        while state >= 0 and self._next[state].get(token) == target:
            self._next[state][token] = copy
            state = self._link[state]
        self._link[target] = copy
        return copy

    def longest_in(self, other: Sequence[str]) -> int:
        """Length of the longest run that stands in both."""
        state = length = best = 0
        for token in other:
            while state and token not in self._next[state]:
                state = self._link[state]
                length = self._longest[state]
            if token in self._next[state]:
                state = self._next[state][token]
                length += 1
            best = max(best, length)
        return best


@dataclass(frozen=True, slots=True)
class QueryEcho:
    """Annotates passages whose body repeats the query.

    Attributes:
        threshold: share of the query's tokens that must stand in the body in one run (score unit: that share).
        minimum_words: shorter queries never fire, since good answers repeat them.
    """

    revision: ClassVar[str] = "1"

    name: str = field(default="query_echo", init=False)
    threshold: float = 0.8
    minimum_words: int = 4

    def inspect(self, query: str, rows: Sequence[ChunkRow]) -> Mapping[ChunkKey, Finding]:
        """Findings for the rows that echo the query. Evidence holds counts only, never words of the query."""
        asked = tokens(query)
        if not asked or words(asked) < self.minimum_words:
            return {}
        shared = SharedRun(asked)
        found: dict[ChunkKey, Finding] = {}
        for row in rows:
            run = shared.longest_in(tokens(row.text))
            score = run / len(asked)
            if score >= self.threshold:
                found[row.key] = Finding(
                    detector=self.name,
                    verdict=Verdict.ANNOTATE,
                    score=score,
                    threshold=self.threshold,
                    evidence=f"{run} of {len(asked)} query tokens in one run",
                    rule="body",
                )
        return found
