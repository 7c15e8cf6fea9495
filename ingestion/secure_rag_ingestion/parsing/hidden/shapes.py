"""Where the shapes of a slide are, in slide coordinates (EMU), groups resolved."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.hidden.theme import A

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_SHAPES = frozenset({P + "sp", P + "pic", P + "graphicFrame", P + "cxnSp"})


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; the bottom is the larger number."""

    left: float
    top: float
    right: float
    bottom: float

    def is_outside(self, other: Box) -> bool:
        """Whether nothing of this box is inside the other."""
        return (
            self.right <= other.left
            or self.left >= other.right
            or self.bottom <= other.top
            or self.top >= other.bottom
        )

    def holds_centre_of(self, other: Box) -> bool:
        """Whether the middle of the other box is inside this one."""
        x, y = (other.left + other.right) / 2, (other.top + other.bottom) / 2
        return self.left <= x <= self.right and self.top <= y <= self.bottom


@dataclass(frozen=True, slots=True)
class _Map:
    """Scaling and shift from the coordinates inside a group to those of the slide."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    def box(self, xfrm: Element) -> Box | None:
        offset, extent = xfrm.find(A + "off"), xfrm.find(A + "ext")
        if offset is None or extent is None:
            return None
        left = self.shift_x + self.scale_x * number(offset.get("x"))
        top = self.shift_y + self.scale_y * number(offset.get("y"))
        width = self.scale_x * number(extent.get("cx"))
        height = self.scale_y * number(extent.get("cy"))
        if number(xfrm.get("rot")):
            # A turned shape stays within the circle around its corners.
            reach = math.hypot(width, height) / 2
            x, y = left + width / 2, top + height / 2
            return Box(x - reach, y - reach, x + reach, y + reach)
        return Box(left, top, left + width, top + height)

    def group(self, xfrm: Element | None) -> _Map:
        if xfrm is None:
            return self
        outer = self.box(xfrm)
        origin, extent = xfrm.find(A + "chOff"), xfrm.find(A + "chExt")
        if outer is None or origin is None or extent is None:
            return self
        width, height = number(extent.get("cx")), number(extent.get("cy"))
        scale_x = (outer.right - outer.left) / width if width else self.scale_x
        scale_y = (outer.bottom - outer.top) / height if height else self.scale_y
        shift_x = outer.left - scale_x * number(origin.get("x"))
        return _Map(scale_x, scale_y, shift_x, outer.top - scale_y * number(origin.get("y")))


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape and its place; the box is None when it comes from a layout, the fill None when nothing is known.

    Attributes:
        element: the shape itself.
        box: in slide coordinates.
        hidden: switched off, itself or a group around it.
    """

    element: Element
    box: Box | None
    hidden: bool


def shapes_of(root: Element) -> Iterator[Shape]:
    """Shapes of a slide, layout or master, from the back to the front."""
    tree = root.find(f"{P}cSld/{P}spTree")
    if tree is not None:
        yield from _below(tree, _Map(), hidden=False)


def placeholder(element: Element) -> Element | None:
    """The placeholder mark of a shape, if it has one."""
    return element.find(f".//{P}nvPr/{P}ph")


def same_placeholder(mark: Element, root: Element | None) -> Shape | None:
    """The shape of a layout or master that a placeholder takes its place and look from."""
    if root is None:
        return None
    by_type: Shape | None = None
    for shape in shapes_of(root):
        other = placeholder(shape.element)
        if other is None:
            continue
        if mark.get("idx") is not None and other.get("idx") == mark.get("idx"):
            return shape
        if other.get("type", "obj") == mark.get("type", "obj"):
            by_type = by_type or shape
    return by_type


def number(text: str | None) -> float:
    """Read a coordinate; anything unreadable counts as 0."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _below(tree: Element, place: _Map, *, hidden: bool) -> Iterator[Shape]:
    for element in tree:
        off = hidden or _is_off(element)
        if element.tag == P + "grpSp":
            yield from _below(element, place.group(element.find(f"{P}grpSpPr/{A}xfrm")), hidden=off)
        elif element.tag in _SHAPES:
            xfrm = element.find(f"{P}spPr/{A}xfrm")
            if xfrm is None:
                xfrm = element.find(P + "xfrm")
            yield Shape(element, None if xfrm is None else place.box(xfrm), off)
        elif element.tag.endswith(("}AlternateContent", "}Choice")):
            yield from _below(element, place, hidden=off)


def _is_off(element: Element) -> bool:
    return any(
        properties.get("hidden") in ("1", "true")
        for wrapper in element
        if wrapper.tag.startswith(P + "nv")
        for properties in wrapper.iterfind(P + "cNvPr")
    )
