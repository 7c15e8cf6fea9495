"""Concealed text in Word files: hidden runs, text in its background's colour, tiny text, fallbacks, moved text.

Backgrounds, nearest first: run shading or highlight, paragraph shading, cell, table style, text box, page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.document import HiddenKind
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.colours import Rgb, css_colour, hex_rgb, is_invisible
from secure_rag_ingestion.parsing.hidden.docx_styles import Look, Styles, W, shade
from secure_rag_ingestion.parsing.hidden.theme import A, Theme

MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
WPS = "{http://schemas.microsoft.com/office/word/2010/wordprocessingShape}"
WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
V = "{urn:schemas-microsoft-com:vml}"
MAX_TINY_HALF_POINTS = 4
_FAR_EMU = 20_000_000  # 22 inches, the largest page that Word allows
_FAR_TWIPS = 31_680  # the same
_PARTS = ("word/document", "word/header", "word/footer", "word/footnotes", "word/endnotes")
_BREAKS = {W + "tab": "\t", W + "br": "\n", W + "cr": "\n", W + "noBreakHyphen": "-"}
_SKIPPED = frozenset({W + "del", W + "instrText", W + "delText", W + "pPr", W + "rPr", W + "sectPr"})


_PLAIN = Look()


@dataclass(frozen=True, slots=True)
class _Place:
    """What surrounds a run."""

    name: str
    background: Rgb | None = None
    look: Look = _PLAIN
    moved: bool = False
    off_page: bool = False
    hidden_row: bool = False


@dataclass(slots=True)
class DocxParagraph:
    """A body paragraph as a reader sees it.

    Attributes:
        visible: its text without what is concealed.
        longest: its longest piece of text, by which it can be found again in another extraction.
    """

    visible: list[str] = field(default_factory=list)
    longest: str = ""


class DocxScan:
    """Walks the text of a Word file once, for what it conceals and for its paragraphs.

    Attributes:
        paragraphs: those of the body, text boxes included.
    """

    def __init__(self, archive: OfficeArchive, concealed: Concealed) -> None:
        self.paragraphs: list[DocxParagraph] = []
        self._concealed = concealed
        self._theme = Theme(archive.xml("word/theme/theme1.xml"))
        self._styles = Styles(archive.xml("word/styles.xml"), self._theme)
        self._open: list[DocxParagraph] = [DocxParagraph()]
        for name in archive.names("word/"):
            root = archive.xml(name) if name.endswith(".xml") and name.startswith(_PARTS) else None
            if root is not None:
                self._part(name, root)

    def _part(self, name: str, root: Element) -> None:
        place = _Place(name.removeprefix("word/").removesuffix(".xml").rstrip("0123456789"))
        page = root.find(W + "background")
        before = len(self.paragraphs)
        self._visit(
            root, place if page is None else replace(place, background=hex_rgb(page.get(W + "color")))
        )
        if place.name != "document":
            del self.paragraphs[before:]

    def _visit(self, parent: Element, place: _Place) -> None:
        for element in parent:
            tag = element.tag
            if tag == W + "p":
                self._paragraph(element, place)
            elif tag == W + "r":
                self._visit(element, replace(place, look=self._styles.run(place.look, element)))
            elif tag == W + "t":
                self._text(element.text or "", place)
            elif tag in _BREAKS:
                self._open[-1].visible.append(_BREAKS[tag])
            elif tag == W + "tbl":
                self._table(element, place)
            elif tag == MC + "AlternateContent":
                self._alternate(element, place)
            elif tag not in _SKIPPED:
                self._visit(element, self._inside(element, place))

    def _paragraph(self, element: Element, place: _Place) -> None:
        self._open.append(DocxParagraph())
        frame = element.find(f"{W}pPr/{W}framePr")
        off_page = place.off_page or (frame is not None and _is_far_frame(frame))
        self._visit(element, replace(place, look=self._styles.paragraph(element), off_page=off_page))
        self.paragraphs.append(self._open.pop())

    def _table(self, table: Element, place: _Place) -> None:
        for index, row in enumerate(_nearest(table, W + "tr")):
            styled = self._styles.table_shade(table, first_row=index == 0)
            hidden = place.hidden_row or row.find(f"{W}trPr/{W}hidden") is not None
            for cell in _nearest(row, W + "tc"):
                own = shade(cell.find(f"{W}tcPr/{W}shd"))
                behind = own or styled or place.background
                self._visit(cell, replace(place, background=behind, hidden_row=hidden))

    def _inside(self, element: Element, place: _Place) -> _Place:
        """The surroundings that an element makes for what it holds."""
        if element.tag == W + "moveFrom":
            return replace(place, moved=True)
        if element.tag == WP + "anchor":
            return replace(place, off_page=place.off_page or _is_far_anchor(element))
        if element.tag == WPS + "wsp":
            return replace(place, background=self._box_fill(element) or place.background)
        if element.tag.startswith(V) and element.get("fillcolor"):
            fill = css_colour(element.get("fillcolor", "").partition(" ")[0])
            return replace(place, background=fill[0] if fill else place.background)
        return place

    def _box_fill(self, shape: Element) -> Rgb | None:
        properties = shape.find(WPS + "spPr")
        solid = self._theme.solid(properties)
        if solid is not None:
            return solid[0]
        if properties is not None and properties.find(A + "noFill") is not None:
            return None
        styled = shape.find(f"{WPS}style/{A}fillRef")
        if styled is None or styled.get("idx", "0") == "0" or len(styled) == 0:
            return None
        colour = self._theme.colour(styled[0])
        return None if colour is None else colour[0]

    def _alternate(self, element: Element, place: _Place) -> None:
        """Word shows the choice it knows; extractors often read the fallback instead."""
        choice, fallback = element.find(MC + "Choice"), element.find(MC + "Fallback")
        shown = fallback if choice is None else choice
        if shown is not None:
            self._visit(shown, place)
        if choice is not None and fallback is not None:
            other = _all_text(fallback)
            if other.split() != _all_text(choice).split():
                self._concealed.add(HiddenKind.ALTERNATE_TEXT, place.name, other)

    def _text(self, text: str, place: _Place) -> None:
        paragraph = self._open[-1]
        if len(text.strip()) > len(paragraph.longest):
            paragraph.longest = text.strip()
        kind = _concealment(place)
        if kind is None:
            paragraph.visible.append(text)
        else:
            self._concealed.add(kind, place.name, text)


def _concealment(place: _Place) -> HiddenKind | None:
    look = place.look
    if look.vanish:
        return HiddenKind.VANISH
    if place.hidden_row:
        return HiddenKind.HIDDEN_ROW
    if look.transparent:
        return HiddenKind.ZERO_OPACITY
    if look.half_points is not None and look.half_points <= MAX_TINY_HALF_POINTS:
        return HiddenKind.TINY_TEXT
    if look.colour is not None and is_invisible(look.colour, look.shade or place.background):
        return HiddenKind.WHITE_TEXT
    if place.off_page:
        return HiddenKind.OFF_PAGE
    return HiddenKind.DELETED_TEXT if place.moved else None


def _nearest(parent: Element, tag: str) -> Iterator[Element]:
    """Elements of a kind below a parent, through wrappers but not into one another."""
    for child in parent:
        if child.tag == tag:
            yield child
        else:
            yield from _nearest(child, tag)


def _all_text(element: Element) -> str:
    return " ".join(piece.text or "" for piece in element.iter(W + "t"))


def _is_far_anchor(anchor: Element) -> bool:
    extent = anchor.find(WP + "extent")
    for axis, size in (("positionH", "cx"), ("positionV", "cy")):
        offset = anchor.find(f"{WP}{axis}/{WP}posOffset")
        length = _int("0" if extent is None else extent.get(size, "0"))
        distance = _int("0" if offset is None else offset.text or "0")
        if distance > _FAR_EMU or distance + length < -_FAR_EMU // 10:
            return True
    return False


def _is_far_frame(frame: Element) -> bool:
    return any(abs(_int(frame.get(W + axis, "0"))) > _FAR_TWIPS // 2 for axis in ("x", "y"))


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
