"""Concealed text in presentations: hidden slides and shapes, shapes off the slide, text that cannot be seen.

Only colours that the slide itself sets on its text are judged. Colours that come from the layout belong to the
design, where white titles over a picture are usual. What is behind a shape is, nearest first: its own fill, the
last filled shape drawn before it, the background of slide, layout or master. A picture is not known to be dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.document import HiddenKind, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.colours import MIN_ALPHA, Rgb, is_invisible
from secure_rag_ingestion.parsing.hidden.packages import related, relationships
from secure_rag_ingestion.parsing.hidden.shapes import (
    Box,
    P,
    Shape,
    number,
    placeholder,
    same_placeholder,
    shapes_of,
)
from secure_rag_ingestion.parsing.hidden.theme import A, Theme

R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MAX_TINY_HUNDREDTHS = 200
_TITLES = frozenset({"title", "ctrTitle"})


@dataclass(frozen=True, slots=True)
class _Slide:
    """One slide with what its text is judged against."""

    place: str
    root: Element
    above: tuple[Element | None, Element | None]  # layout, master
    theme: Theme
    size: Box
    hidden: bool

    def background(self) -> Rgb | None:
        for root in (self.root, *self.above):
            found = None if root is None else root.find(f"{P}cSld/{P}bg")
            if found is not None:
                return self._background_colour(found)
        return self.theme.slot("bg1")

    def _background_colour(self, element: Element) -> Rgb | None:
        properties, reference = element.find(P + "bgPr"), element.find(P + "bgRef")
        if properties is not None:
            return fill_of(properties, self.theme)
        found = None if reference is None or len(reference) == 0 else self.theme.colour(reference[0])
        return found[0] if found else None


class PptxScan:
    """Reads a presentation for what it conceals and for its slide titles.

    Attributes:
        titles: of the slides, in order, without empty ones.
    """

    def __init__(self, archive: OfficeArchive, concealed: Concealed) -> None:
        root = archive.xml("ppt/presentation.xml")
        if root is None:
            raise RefusedError(ParseReason.CORRUPT, "a presentation without its main part")
        self.titles: list[str] = []
        self._archive = archive
        self._parsed: dict[str, Element | None] = {}
        self._concealed = concealed
        size = root.find(P + "sldSz")
        cx, cy = (number(None if size is None else size.get(axis)) for axis in ("cx", "cy"))
        targets = relationships(archive, "ppt/presentation.xml")
        for position, entry in enumerate(root.iterfind(f"{P}sldIdLst/{P}sldId"), start=1):
            part = targets.get(entry.get(R + "id", ""), "")
            slide = archive.xml(part)
            if slide is not None:
                self._scan(
                    self._slide(f"slide {position}", part, slide, Box(0, 0, cx or 9_144_000, cy or 6_858_000))
                )

    def _slide(self, place: str, part: str, root: Element, size: Box) -> _Slide:
        layout_part = related(self._archive, part, "slideLayout") or ""
        master_part = related(self._archive, layout_part, "slideMaster") or ""
        layout, master = self._shared(layout_part), self._shared(master_part)
        theme = Theme(self._shared(related(self._archive, master_part, "theme") or ""))
        for source, path in ((master, f"{P}clrMap"), (layout, _OVERRIDE), (root, _OVERRIDE)):
            mapping = None if source is None else source.find(path)
            if mapping is not None:
                theme = theme.with_roles(dict(mapping.attrib))
        hidden = root.get("show") in ("0", "false")
        return _Slide(place, root, (layout, master), theme, size, hidden)

    def _shared(self, part: str) -> Element | None:
        """A part that many slides refer to, parsed once."""
        if part not in self._parsed:
            self._parsed[part] = self._archive.xml(part)
        return self._parsed[part]

    def _scan(self, slide: _Slide) -> None:
        background = slide.background()
        behind = [*self._decorations(slide)]
        for shape in shapes_of(slide.root):
            box, fill = self._resolved(shape, slide)
            around = next(
                (colour for area, colour in reversed(behind) if box and area.holds_centre_of(box)), background
            )
            outside = box is not None and box.is_outside(slide.size)
            for text, kind in _runs(shape.element, slide.theme, fill or around):
                outer = _outer_kind(slide, shape, outside=outside)
                found = outer or kind
                if found:
                    self._concealed.add(found, slide.place, text)
            if box and fill:
                behind.append((box, fill))
            mark = placeholder(shape.element)
            if mark is not None and mark.get("type") in _TITLES:
                self.titles.extend(filter(None, [" ".join(_all_text(shape.element).split())]))

    def _decorations(self, slide: _Slide) -> Iterator[tuple[Box, Rgb]]:
        """Filled shapes of master and layout, which lie behind everything on the slide."""
        for root in reversed(slide.above):
            for shape in () if root is None else shapes_of(root):
                fill = fill_of(shape.element.find(P + "spPr"), slide.theme)
                if shape.box and fill and placeholder(shape.element) is None:
                    yield shape.box, fill

    def _resolved(self, shape: Shape, slide: _Slide) -> tuple[Box | None, Rgb | None]:
        """Box and fill of a shape; a placeholder may take both from its layout or master."""
        properties = shape.element.find(P + "spPr")
        box, fill = shape.box, _own_fill(shape.element, slide.theme)
        silent = properties is not None and properties.find(A + "noFill") is not None
        mark = placeholder(shape.element)
        for root in slide.above if mark is not None else ():
            parent = same_placeholder(mark, root) if mark is not None else None
            if parent is not None:
                box = box or parent.box
                fill = fill or (None if silent else _own_fill(parent.element, slide.theme))
        return box, fill


_OVERRIDE = f"{P}clrMapOvr/{A}overrideClrMapping"


def fill_of(properties: Element | None, theme: Theme) -> Rgb | None:
    """Solid fill, or the first colour of a gradient; None for a picture, nothing, or almost nothing."""
    solid = theme.solid(properties)
    if solid is None and properties is not None:
        stop = properties.find(f"{A}gradFill/{A}gsLst/{A}gs")
        solid = None if stop is None or len(stop) == 0 else theme.colour(stop[0])
    return solid[0] if solid and solid[1] >= 0.5 else None


def _own_fill(element: Element, theme: Theme) -> Rgb | None:
    properties = element.find(P + "spPr")
    fill = fill_of(properties, theme)
    if fill is not None or (properties is not None and properties.find(A + "noFill") is not None):
        return fill
    styled = element.find(f"{P}style/{A}fillRef")
    if styled is None or styled.get("idx", "0") == "0" or len(styled) == 0:
        return None
    found = theme.colour(styled[0])
    return found[0] if found else None


def _outer_kind(slide: _Slide, shape: Shape, *, outside: bool) -> HiddenKind | None:
    if slide.hidden:
        return HiddenKind.HIDDEN_SLIDE
    if shape.hidden:
        return HiddenKind.VANISH
    return HiddenKind.OFF_SLIDE if outside else None


def _runs(element: Element, theme: Theme, background: Rgb | None) -> Iterator[tuple[str, HiddenKind | None]]:
    """Text of a shape with how each run is concealed."""
    table = element.find(f".//{A}tbl")
    if table is None:
        yield from _body_runs(element, theme, background)
        return
    header = table.find(A + "tblPr")
    striped = header is not None and header.get("firstRow") in ("1", "true")
    for index, row in enumerate(table.iterfind(A + "tr")):
        # The header row of the built-in table styles is filled with the first accent colour.
        styled = theme.slot("accent1") if striped and index == 0 else background
        for cell in row.iterfind(A + "tc"):
            yield from _body_runs(cell, theme, fill_of(cell.find(A + "tcPr"), theme) or styled)


def _body_runs(
    element: Element, theme: Theme, background: Rgb | None
) -> Iterator[tuple[str, HiddenKind | None]]:
    for body in element.iter():
        if not body.tag.endswith("}txBody"):
            continue
        fit = body.find(f"{A}bodyPr/{A}normAutofit")
        scale = number(None if fit is None else fit.get("fontScale")) / 100_000 or 1.0
        for paragraph in body.iterfind(A + "p"):
            level = paragraph.find(A + "pPr")
            name = f"lvl{int(number(None if level is None else level.get('lvl'))) + 1}pPr"
            default = body.find(f"{A}lstStyle/{A}{name}/{A}defRPr")
            for run in paragraph:
                text = run.find(A + "t")
                if text is not None and text.text:
                    yield text.text, _run_kind([run.find(A + "rPr"), default], theme, background, scale)


def _run_kind(
    looks: list[Element | None], theme: Theme, background: Rgb | None, scale: float
) -> HiddenKind | None:
    present = [look for look in looks if look is not None]
    if any(look.find(A + "noFill") is not None for look in present[:1]):
        return HiddenKind.ZERO_OPACITY
    size = next((number(look.get("sz")) for look in present if look.get("sz")), None)
    if size is not None and size * scale <= MAX_TINY_HUNDREDTHS:
        return HiddenKind.TINY_TEXT
    colour = next((found for look in present if (found := theme.solid(look))), None)
    if colour is None:
        return None
    if colour[1] < MIN_ALPHA:
        return HiddenKind.ZERO_OPACITY
    marks = [mark for look in present for mark in look.iterfind(A + "highlight") if len(mark)]
    highlight = theme.colour(marks[0][0]) if marks else None
    return (
        HiddenKind.WHITE_TEXT if is_invisible(colour[0], highlight[0] if highlight else background) else None
    )


def _all_text(element: Element) -> str:
    return " ".join(text.text or "" for text in element.iter(A + "t"))
