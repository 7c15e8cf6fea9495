"""Run formatting of Word files, resolved for the few properties that can conceal text.

Order as in ECMA-376, 17.7.2: document defaults, paragraph style, character style, the run itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.hidden.colours import Rgb, hex_rgb
from secure_rag_ingestion.parsing.hidden.theme import Theme

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_OFF = frozenset({"0", "false", "off"})
_NAMED = {
    "background1": "bg1",
    "text1": "tx1",
    "background2": "bg2",
    "text2": "tx2",
    "light1": "lt1",
    "dark1": "dk1",
}
_HIGHLIGHTS = {
    "darkBlue": "00008B",
    "darkCyan": "008B8B",
    "darkGreen": "006400",
    "darkMagenta": "8B008B",
    "darkRed": "8B0000",
    "darkYellow": "808000",
    "darkGray": "808080",
    "lightGray": "C0C0C0",
    "black": "000000",
    "blue": "0000FF",
    "cyan": "00FFFF",
    "green": "00FF00",
    "magenta": "FF00FF",
    "red": "FF0000",
    "yellow": "FFFF00",
    "white": "FFFFFF",
}


@dataclass(frozen=True, slots=True)
class Look:
    """Resolved formatting of a run; None and 1.0 mean that nothing was said.

    Attributes:
        vanish: marked as hidden.
        colour: of the text; None is automatic, which Word keeps readable.
        half_points: size.
        shade: what the run or its paragraph is shaded with.
        transparent: text fill that is fully, or nearly fully, transparent.
    """

    vanish: bool = False
    colour: Rgb | None = None
    half_points: float | None = None
    shade: Rgb | None = None
    transparent: bool = False


class Styles:
    """The styles part of a Word file."""

    def __init__(self, root: Element | None, theme: Theme) -> None:
        self._theme = theme
        self._styles: dict[str, Element] = {}
        self._default_paragraph = ""
        self._base = Look()
        if root is None:
            return
        self._base = self.apply(Look(), root.find(f"{W}docDefaults/{W}rPrDefault/{W}rPr"))
        for style in root.iter(W + "style"):
            self._styles[style.get(W + "styleId", "")] = style
            if style.get(W + "type") == "paragraph" and style.get(W + "default") in ("1", "true"):
                self._default_paragraph = style.get(W + "styleId", "")

    def paragraph(self, element: Element) -> Look:
        """Look of a paragraph before its runs say anything."""
        properties = element.find(W + "pPr")
        named = None if properties is None else properties.find(W + "pStyle")
        identifier = self._default_paragraph if named is None else named.get(W + "val", "")
        look = self._styled(self._base, identifier)
        own = None if properties is None else shade(properties.find(W + "shd"))
        return replace(look, shade=own or look.shade)

    def run(self, look: Look, element: Element) -> Look:
        """Look of a run in a paragraph with the given look."""
        properties = element.find(W + "rPr")
        if properties is None:
            return look
        named = properties.find(W + "rStyle")
        if named is not None:
            look = self._styled(look, named.get(W + "val", ""))
        return self.apply(look, properties)

    def table_shade(self, element: Element, *, first_row: bool) -> Rgb | None:
        """Shading that a table's style gives to a row."""
        named = element.find(f"{W}tblPr/{W}tblStyle")
        found: Rgb | None = None
        for style in self._chain("" if named is None else named.get(W + "val", "")):
            found = shade(style.find(f"{W}tcPr/{W}shd")) or found
            for special in style.iter(W + "tblStylePr"):
                if special.get(W + "type") == "wholeTable" or (
                    first_row and special.get(W + "type") == "firstRow"
                ):
                    found = shade(special.find(f"{W}tcPr/{W}shd")) or found
        return found

    def apply(self, look: Look, properties: Element | None) -> Look:
        """Put run properties over a look."""
        if properties is None:
            return look
        for element in properties:
            value = element.get(W + "val", "")
            if element.tag == W + "vanish":
                look = replace(look, vanish=value not in _OFF)
            elif element.tag == W + "color":
                look = replace(look, colour=self._colour(element))
            elif element.tag == W + "sz":
                look = replace(look, half_points=_number(value))
            elif element.tag == W + "shd":
                look = replace(look, shade=shade(element) or look.shade)
            elif element.tag == W + "highlight":
                look = replace(look, shade=hex_rgb(_HIGHLIGHTS.get(value)) or look.shade)
            elif element.tag == W14 + "textFill":
                look = replace(look, transparent=_is_transparent(element))
        return look

    def _colour(self, element: Element) -> Rgb | None:
        written = hex_rgb(element.get(W + "val"))
        role = element.get(W + "themeColor")
        return written or (None if role is None else self._theme.slot(_NAMED.get(role, role)))

    def _styled(self, look: Look, identifier: str) -> Look:
        for style in self._chain(identifier):
            look = self.apply(look, style.find(W + "rPr"))
            look = replace(look, shade=shade(style.find(f"{W}pPr/{W}shd")) or look.shade)
        return look

    def _chain(self, identifier: str) -> list[Element]:
        """A style with what it is based on, the base first; a circle ends where it closes."""
        chain: list[Element] = []
        seen: set[str] = set()
        while identifier in self._styles and identifier not in seen:
            seen.add(identifier)
            style = self._styles[identifier]
            chain.append(style)
            based_on = style.find(W + "basedOn")
            identifier = "" if based_on is None else based_on.get(W + "val", "")
        return chain[::-1]


def shade(element: Element | None) -> Rgb | None:
    """Colour of a `shd` element; None when it is automatic or clear of colour."""
    if element is None:
        return None
    solid = element.get(W + "val") == "solid"
    return hex_rgb(element.get(W + ("color" if solid else "fill")))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _is_transparent(fill: Element) -> bool:
    """Read a text fill; here alpha is the transparency, unlike in DrawingML (MS-DOCX, 2.7.1)."""
    if fill.find(W14 + "noFill") is not None:
        return True
    alpha = fill.find(f".//{W14}alpha")
    return alpha is not None and (_number(alpha.get(W14 + "val", "")) or 0) >= 95_000
