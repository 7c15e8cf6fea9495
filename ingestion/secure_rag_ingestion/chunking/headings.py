"""Headings of Markdown text, and the path of headings that a place stands under."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

from secure_rag_ingestion.parsing.model import Heading

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["heading_paths", "markdown_headings"]

# A heading is context for a passage, not a place for a whole page; the body keeps it in full.
_MAX_HEADING: Final = 300
_LINE_END: Final = re.compile(r"\r\n|\n|\r")
_FRONT_MATTER: Final = re.compile(
    r"\A---[ \t]*(?:\r\n|\n|\r)(?:[^\r\n]*(?:\r\n|\n|\r)){0,200}?(?:---|\.\.\.)[ \t]*(?:\r\n|\n|\r|\Z)"
)
_BETWEEN_HEADINGS: Final = " \t\r\n=-"  # blanks, and lines that underline a heading
_INDENT: Final = re.compile(r"[ \t]*")
_TEXT_TOKENS: Final = frozenset({"text", "code_inline"})


def _block_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark")
    # Only headings need their inline content parsed. Link definitions are no headings, and looking for them is slow.
    parser.core.ruler.disable(["inline"])
    parser.block.ruler.disable(["reference"])
    return parser


_BLOCKS: Final = _block_parser()
_INLINE: Final = MarkdownIt("commonmark")


def markdown_headings(text: str) -> list[Heading]:
    """Headings that structure a Markdown text: not those in quotes, lists, code or front matter.

    Returns:
        In the order of the text; offsets are those of each heading's first character that is no blank.
    """
    front = _FRONT_MATTER.match(text)
    skipped = front.end() if front else 0
    body = text[skipped:]
    lines = [0, *(match.end() for match in _LINE_END.finditer(body))]
    found: list[Heading] = []
    tokens = _BLOCKS.parse(body)
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open" or opening.level or opening.map is None:
            continue
        title = _plain(inline.content)
        if title:
            indent = _INDENT.match(body, lines[opening.map[0]])
            offset = skipped + (indent.end() if indent else 0)
            found.append(Heading(level=int(opening.tag[1:]), text=title, offset=offset))
    return found


def heading_paths(
    headings: Iterable[Heading], text: str, spans: Iterable[tuple[int, int]]
) -> Iterator[tuple[str, ...]]:
    """For each span the headings that its first words stand under, outermost first.

    Headings that a span begins with count: what follows them in the span stands under all of them.

    Args:
        headings: in any order.
        text: the document text.
        spans: ascending.
    """
    pending = deque(sorted(headings, key=lambda heading: heading.offset))
    path: list[Heading] = []
    for start, end in spans:
        body = start
        while pending and (
            pending[0].offset <= start
            or (pending[0].offset < end and not text[body : pending[0].offset].strip(_BETWEEN_HEADINGS))
        ):
            heading = pending.popleft()
            path = [*(outer for outer in path if outer.level < heading.level), heading]
            if heading.offset >= start:
                line = _LINE_END.search(text, heading.offset, end)
                body = line.end() if line else end
        yield tuple(heading.text for heading in path)


def _plain(source: str) -> str:
    """Words of a heading without its markup, on one line."""
    inline = _INLINE.parseInline(source[: 4 * _MAX_HEADING])
    words = "".join(_words(child) for token in inline for child in token.children or ())
    return " ".join(words.split())[:_MAX_HEADING]


def _words(token: Token) -> str:
    if token.type in _TEXT_TOKENS:
        return token.content
    if token.type == "image":
        return "".join(_words(child) for child in token.children or ())
    return " " if token.type.endswith("break") else ""
