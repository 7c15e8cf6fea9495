"""Splits a document's text into passages.

What always holds, whatever the text:
- `chunk.text == text[chunk.start:chunk.end]`, chunks are in order and do not overlap;
- every character that is no white space is in exactly one chunk, and no chunk is only white space;
- no chunk is longer than the maximum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Protocol, runtime_checkable

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from secure_rag.errors import IngestionError
from secure_rag_ingestion.chunking.headings import heading_paths, markdown_headings
from secure_rag_ingestion.chunking.windows import windows
from secure_rag_ingestion.parsing.model import Heading

__all__ = ["Chunker", "TextChunk", "TokenCounter"]

_FORMAT: Final = 1
"""Raised with every change here that changes chunks."""

_MARKDOWN: Final = frozenset({"text/markdown", "text/x-markdown"})
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SMALLEST: Final = 16
_SHORT: Final = 120
"""Characters. What is shorter is mostly a heading; alone it would be found for its words and tell nothing."""


@runtime_checkable
class TokenCounter(Protocol):
    """What the chunker asks of an embedding engine that reads only so much of a text."""

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that the engine reads."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        ...


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A passage of a document.

    Attributes:
        text: exactly `document[start:end]`.
        start: offset of the first character.
        end: offset behind the last character.
        headings: headings that its first words stand under, outermost first; kept apart from the text.
    """

    text: str
    start: int
    end: int
    headings: tuple[str, ...]


class Chunker:
    """Splits at the largest units that fit: sections and blocks of Markdown, paragraphs, sentences, words."""

    def __init__(
        self,
        target: int = 900,
        maximum: int = 1_100,
        *,
        tokens: TokenCounter | None = None,
        reserved_tokens: int = 0,
    ) -> None:
        """Set up the splitters.

        Args:
            target: characters from which on a chunk is long enough.
            maximum: characters that a chunk never exceeds.
            tokens: with it, no chunk has more tokens than the engine reads, so none is embedded only in part.
            reserved_tokens: tokens left free for what is embedded together with a chunk, such as its title.

        Raises:
            ValueError: the limits contradict each other.
        """
        if not 0 < target <= maximum:
            raise ValueError("0 < target <= maximum is required")
        if tokens is not None and not 0 <= reserved_tokens < tokens.max_tokens:
            raise ValueError("0 <= reserved_tokens < max_tokens is required")
        self._maximum = maximum
        self._markdown = MarkdownSplitter((target, maximum))
        self._plain = TextSplitter((target, maximum))
        self._tokens = tokens
        self._most_tokens = tokens.max_tokens - reserved_tokens if tokens else 0
        limit = f"tokens{self._most_tokens}" if tokens else "anytokens"
        library = f"semantic-text-splitter-{version('semantic-text-splitter')}"
        self._chunker_id = f"{library}:v{_FORMAT}:{target}-{maximum}:{limit}"

    @property
    def chunker_id(self) -> str:
        """Library version and settings: the same id and text give the same chunks."""
        return self._chunker_id

    def split(self, text: str, headings: Sequence[Heading] | None, mime: str) -> list[TextChunk]:
        """Split a text.

        Args:
            text: the document's text, any Unicode.
            headings: headings that the parser found; not used for Markdown, which says itself what they are.
            mime: media type; Markdown is split along its structure.

        Raises:
            IngestionError: the splitter lost text; nothing of the document may be indexed.
        """
        # The splitter takes no lone surrogate. Each is replaced by one character, so offsets stay.
        clean = _LONE_SURROGATE.sub("\ufffd", text)
        is_markdown = mime.partition(";")[0].strip().lower() in _MARKDOWN
        found = markdown_headings(clean) if is_markdown else sorted(headings or (), key=lambda x: x.offset)
        splitter = self._markdown if is_markdown else self._plain
        spans: list[tuple[int, int]] = []
        for start, end in windows(clean, [heading.offset for heading in found]):
            spans.extend(self._spans(clean, start, end, splitter))
        joined = self._join_short(clean, spans)
        _require_complete(clean, joined)
        paths = heading_paths(found, clean, joined)
        return [TextChunk(text[a:b], a, b, path) for (a, b), path in zip(joined, paths, strict=True)]

    def _spans(
        self, text: str, start: int, end: int, splitter: MarkdownSplitter | TextSplitter
    ) -> Iterator[tuple[int, int]]:
        """Spans of one stretch, none only white space, none with too many tokens."""
        for offset, piece in splitter.chunk_indices(text[start:end]):
            if piece.isspace() or not piece:
                continue
            first = start + offset
            count = self._count(piece)
            if count <= self._most_tokens or len(piece) <= _SMALLEST:
                yield first, first + len(piece)
                continue
            # Parts of about equal length; at least halves, so that this ends.
            parts = max(2, -(-count // self._most_tokens))
            capacity = max(_SMALLEST, len(piece) // parts + len(piece) // 10)
            capacity = min(capacity, -(-3 * len(piece) // 4))
            yield from self._spans(text, first, first + len(piece), TextSplitter(capacity))

    def _join_short(self, text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Put short pieces in front of what follows if that fits."""
        joined: list[tuple[int, int]] = []
        for start, end in spans:
            if joined:
                first, last = joined[-1]
                together = last - first < _SHORT and end - first <= self._maximum
                if together and self._count(text[first:end]) <= self._most_tokens:
                    joined[-1] = (first, end)
                    continue
            joined.append((start, end))
        return joined

    def _count(self, text: str) -> int:
        return self._tokens.count_tokens(text) if self._tokens else 0


def _require_complete(text: str, spans: Sequence[tuple[int, int]]) -> None:
    """A character outside of every chunk could neither be found nor scanned."""
    position = 0
    for start, end in [*spans, (len(text), len(text))]:
        if start < position or not (text[position:start].isspace() or position == start):
            raise IngestionError(f"chunking lost or repeated text near offset {position}")
        position = end
