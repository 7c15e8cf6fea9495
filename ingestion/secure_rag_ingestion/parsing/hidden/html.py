"""Text of an HTML page as a person sees it, and what the page conceals.

One walk over one document tree does both, so the extracted text and the finding can never be about different
readings of the page. Concealed text is reported and left out of the text. Text that a browser shows only after a
script or a click (templates, closed dialogs) is neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from secure_rag_ingestion.parsing.document import Heading
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.css import Declaration, inline_declarations, media_applies, rules_of
from secure_rag_ingestion.parsing.hidden.html_look import Look
from secure_rag_ingestion.parsing.hidden.html_writer import TextWriter

_SKIPPED = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "head",
        "title",
        "iframe",
        "object",
        "audio",
        "video",
        "canvas",
        "noembed",
        "noframes",
        "datalist",
        "rp",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_VARIABLE = re.compile(r"(--[\w-]+)\s*:\s*([^;{}]+)")
_USE = re.compile(r"var\(\s*(--[\w-]+)\s*(?:,([^()]*))?\)")
_PSEUDO = re.compile(r":[\w-]+(?:\([^()]*\))?")
_NOSCRIPT = re.compile(r"(</?)noscript\b", re.IGNORECASE)
_WEAKEST = (False, False, (-1, 0, 0), -1)

Winners = dict[str, Declaration]


class HtmlScan:
    """Walks an HTML document once.

    Attributes:
        text: what a person sees.
        title: of the page, if it has one.
        headings: visible ones, with offsets into the text.
    """

    def __init__(self, source: str, place: str, concealed: Concealed) -> None:
        # The engine parses `noscript` as a browser without scripts would; a template stays inert in either.
        self._tree = LexborHTMLParser(_NOSCRIPT.sub(r"\1template", source))
        self._concealed = concealed
        self._place = place
        self._writer = TextWriter()
        self._variables: dict[str, str] = dict(_VARIABLE.findall(source))
        self._cascade = self._match_rules()
        self.headings: list[Heading] = []
        self._walk()
        self.text = self._writer.text()
        named = self._tree.css_first("head > title")
        self.title = " ".join(named.text().split()) or None if named is not None else None

    def _match_rules(self) -> dict[int, Winners]:
        """Winning declarations of the style sheets, by node."""
        cascade: dict[int, Winners] = {}
        sheets = [
            node.text()
            for node in self._tree.css("style")
            if media_applies((node.attributes.get("media") or "").lower())
        ]
        for rule in rules_of(self._resolved("\n".join(sheets))):
            for node in self._select(rule.selector):
                _win(cascade.setdefault(node.mem_id, {}), rule.declarations)
        return cascade

    def _select(self, selector: str) -> list[LexborNode]:
        """Matching nodes; a selector that the engine cannot read is tried without its pseudo-classes."""
        for attempt in (selector, _PSEUDO.sub("", selector)):
            try:
                return self._tree.css(attempt) if attempt.strip() else []
            except SelectolaxError:
                continue
        return []

    def _resolved(self, css: str) -> str:
        for _ in range(4):
            css, uses = _USE.subn(self._value_of, css)
            if not uses:
                break
        return css

    def _value_of(self, use: re.Match[str]) -> str:
        fallback: str = use[2] or ""
        return self._variables.get(use[1], fallback)

    def _walk(self) -> None:
        root = self._tree.root
        stack: list[tuple[LexborNode, Look, bool]] = [(root, Look(), False)] if root is not None else []
        open_headings: list[tuple[int, int]] = []
        while stack:
            node, look, leaving = stack.pop()
            tag = node.tag or ""
            if leaving:
                if tag in _HEADINGS and open_headings:
                    self._heading(*open_headings.pop())
                self._writer.leave(tag)
                continue
            if tag == "-text":
                self._text(node.text_content or "", look)
                continue
            if tag.startswith("-") or tag in _SKIPPED or (tag == "dialog" and "open" not in node.attributes):
                continue
            look = look.child({name: winner.value for name, winner in self._winners(node, tag).items()})
            if look.concealed is None:
                self._writer.enter(tag)
                if tag in _HEADINGS:
                    open_headings.append((_HEADINGS[tag], self._writer.mark()))
                stack.append((node, look, True))
            stack.extend((child, look, False) for child in _children(node))

    def _text(self, text: str, look: Look) -> None:
        kind = look.kind()
        if kind is not None:
            self._concealed.add(kind, self._place, text)
        else:
            self._writer.write(text)

    def _heading(self, level: int, mark: int) -> None:
        start, text = self._writer.since(mark)
        if text:
            self.headings.append(Heading(level, text, start))

    def _winners(self, node: LexborNode, tag: str) -> Winners:
        winners = dict(self._cascade.get(node.mem_id, {}))
        attributes = node.attributes
        hints = {
            "color": attributes.get("text" if tag == "body" else "color") if tag in ("body", "font") else None
        }
        hints["background-color"] = attributes.get("bgcolor")
        hints["display"] = "none" if "hidden" in attributes else None
        weak = (Declaration(name, value.lower(), _WEAKEST) for name, value in hints.items() if value)
        _win(winners, weak)
        style = attributes.get("style")
        if style:
            _win(winners, inline_declarations(self._resolved(style)))
        return winners


def scan_fragment(source: str, place: str, concealed: Concealed) -> None:
    """Report what HTML inside another text, such as Markdown, conceals."""
    if "<" in source:
        HtmlScan(source, place, concealed)


def _children(node: LexborNode) -> list[LexborNode]:
    """Children, the last first, as the stack wants them."""
    found: list[LexborNode] = []
    child = node.last_child
    while child is not None:
        found.append(child)
        child = child.prev
    return found


def _win(winners: Winners, declarations: Iterable[Declaration]) -> None:
    for declaration in declarations:
        current = winners.get(declaration.name)
        if current is None or declaration.weight >= current.weight:
            winners[declaration.name] = declaration
