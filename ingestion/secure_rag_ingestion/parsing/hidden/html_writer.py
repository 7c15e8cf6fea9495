"""Laying out the visible text of a page: white space collapsed, blocks on lines of their own."""

from __future__ import annotations

_BLOCKS = frozenset(
    [
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "table",
        "blockquote",
        "ul",
        "ol",
        "dl",
        "pre",
        "figure",
        "hr",
        "section",
        "article",
        "header",
        "footer",
        "nav",
        "aside",
        "main",
        "form",
        "fieldset",
        "details",
        "address",
    ]
)
_LINES = frozenset(
    [
        "div",
        "li",
        "tr",
        "dt",
        "dd",
        "br",
        "option",
        "caption",
        "figcaption",
        "legend",
        "summary",
        "thead",
        "tbody",
        "tfoot",
        "body",
        "html",
    ]
)
_CELLS = frozenset({"td", "th"})
_GAPS = ("", " ", "\t", "\n", "\n\n")


class TextWriter:
    """Collects text with the gaps that elements put between its pieces."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._gap = ""
        self._verbatim = 0

    def enter(self, tag: str) -> None:
        """An element opens."""
        self._widen(_gap_of(tag))
        self._verbatim += tag in ("pre", "textarea")

    def leave(self, tag: str) -> None:
        """An element closes."""
        self._widen(_gap_of(tag))
        self._verbatim -= tag in ("pre", "textarea")

    def write(self, text: str) -> None:
        """Add text; only inside `pre` does its white space count."""
        if self._verbatim:
            self._emit(text)
            return
        words = " ".join(text.split())
        if text[:1].isspace():
            self._widen(" ")
        if words:
            self._emit(words)
            if text[-1].isspace():
                self._widen(" ")

    def mark(self) -> int:
        """A place in the pieces, for `since`."""
        return len(self._parts)

    def since(self, mark: int) -> tuple[int, str]:
        """Offset and text of what was written after a mark, without the gaps around it."""
        raw = "".join(self._parts[mark:])
        start = self._length - len(raw) + len(raw) - len(raw.lstrip())
        return start, raw.strip()

    def text(self) -> str:
        """Everything written."""
        return "".join(self._parts)

    def _emit(self, text: str) -> None:
        if self._parts and self._gap:
            self._parts.append(self._gap)
            self._length += len(self._gap)
        self._gap = ""
        self._parts.append(text)
        self._length += len(text)

    def _widen(self, gap: str) -> None:
        if _GAPS.index(gap) > _GAPS.index(self._gap):
            self._gap = gap


def _gap_of(tag: str) -> str:
    if tag in _BLOCKS:
        return "\n\n"
    if tag in _LINES:
        return "\n"
    return "\t" if tag in _CELLS else ""
