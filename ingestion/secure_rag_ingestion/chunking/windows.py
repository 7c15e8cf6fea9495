"""Windows that keep chunking linear.

The splitter's time grows with the square of a stretch that has no break (two million characters without a blank took
over a minute), so a long text is handed to it in windows. A window ends where a chunk would end anyway if it can.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

__all__ = ["WINDOW", "windows"]

WINDOW: Final = 65_536
"""Characters. Most documents are one window, and then nothing here has any effect."""

_BLANK_LINE: Final = re.compile(r"\n[ \t\r]*\n")
_BLANK: Final = re.compile(r"\s")


def windows(text: str, sections: Sequence[int], size: int = WINDOW) -> Iterator[tuple[int, int]]:
    """Spans that follow each other and together are the text; none is longer than `size`.

    Args:
        text: the document text.
        sections: offsets where sections begin, ascending: the best places for a cut.
        size: longest span.
    """
    start = 0
    while len(text) - start > size:
        end = _cut(text, start + size // 2, start + size, sections)
        yield start, end
        start = end
    yield start, len(text)


def _cut(text: str, lowest: int, highest: int, sections: Sequence[int]) -> int:
    """The best place for a cut in `(lowest, highest]`."""
    position = bisect_right(sections, highest)
    if position and sections[position - 1] > lowest:
        return sections[position - 1]
    for pattern in (_BLANK_LINE, _BLANK):
        if ends := [match.end() for match in pattern.finditer(text, lowest, highest)]:
            return ends[-1]
    return highest
