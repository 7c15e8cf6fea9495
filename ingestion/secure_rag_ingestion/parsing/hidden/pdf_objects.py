"""The objects of a PDF page as pdfium tells of them: text, what can cover it, and where both are."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pypdfium2
from pypdfium2 import raw

from secure_rag_ingestion.parsing.hidden.colours import BLACK, Rgb

Handle: TypeAlias = Any  # pdfium's objects are opaque ctypes pointers
Matrix = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]

_MAX_DEPTH = 8
_LETTER: Box = (0.0, 0.0, 612.0, 792.0)
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
_STROKED_MODES = frozenset({raw.FPDF_TEXTRENDERMODE_STROKE, raw.FPDF_TEXTRENDERMODE_STROKE_CLIP})
_INVISIBLE_MODES = frozenset({raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP})
_KINDS = frozenset(
    {
        raw.FPDF_PAGEOBJ_TEXT,
        raw.FPDF_PAGEOBJ_PATH,
        raw.FPDF_PAGEOBJ_IMAGE,
        raw.FPDF_PAGEOBJ_SHADING,
        raw.FPDF_PAGEOBJ_FORM,
    }
)


@dataclass(frozen=True, slots=True)
class PageObject:
    """Text, or a filled area that can lie over or under it.

    Attributes:
        handle: pdfium's.
        is_text: else it is a filled path, a shading or a picture.
        matrix: from its own coordinates to the page's.
        box: left, bottom, right, top in page coordinates.
        marked: it, or a form around it, is marked as optional content, which may be switched off.
        in_form: it is part of a form, a piece of page that is drawn as one.
    """

    handle: Handle
    is_text: bool
    matrix: Matrix
    box: Box
    marked: bool
    in_form: bool

    @property
    def points(self) -> float:
        """Size of the type on the page."""
        size = ctypes.c_float()
        raw.FPDFTextObj_GetFontSize(self.handle, size)
        return size.value * math.hypot(self.matrix[2], self.matrix[3])

    @property
    def is_unpainted(self) -> bool:
        """Whether its render mode neither fills nor strokes (ISO 32000-1, 9.3.6)."""
        return raw.FPDFTextObj_GetTextRenderMode(self.handle) in _INVISIBLE_MODES

    def colour(self) -> tuple[Rgb, float] | None:
        """Colour and opacity of what is painted; None for a pattern or picture."""
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        stroked = self.is_text and raw.FPDFTextObj_GetTextRenderMode(self.handle) in _STROKED_MODES
        read = raw.FPDFPageObj_GetStrokeColor if stroked else raw.FPDFPageObj_GetFillColor
        if not read(self.handle, red, green, blue, alpha):
            return (BLACK, 1.0) if self.is_text else None
        return (red.value, green.value, blue.value), alpha.value / 255

    def text(self, text_page: pypdfium2.PdfTextPage) -> str:
        """Its text; only before it is taken off the page."""
        size = raw.FPDFTextObj_GetText(self.handle, text_page.raw, None, 0)
        buffer = (ctypes.c_ushort * (size // 2 + 1))()
        raw.FPDFTextObj_GetText(self.handle, text_page.raw, buffer, size)
        return _utf16(buffer, size).strip()

    def take_off(self) -> None:
        """Leave it out of later drawings of the page."""
        raw.FPDFPageObj_SetIsActive(self.handle, 0)


def objects_of(page: pypdfium2.PdfPage) -> Iterator[PageObject]:
    """Text and filled areas in the order of drawing, forms opened."""
    for index in range(raw.FPDFPage_CountObjects(page.raw)):
        yield from _below(raw.FPDFPage_GetObject(page.raw, index), _IDENTITY, 0, marked=False)


def page_box(page: pypdfium2.PdfPage) -> Box:
    """What of a page is shown, in the coordinates of its objects, which know nothing of its rotation."""
    media: Box = page.get_mediabox() or _LETTER
    crop: Box = page.get_cropbox() or media
    return max(crop[0], media[0]), max(crop[1], media[1]), min(crop[2], media[2]), min(crop[3], media[3])


def _below(handle: Handle, outer: Matrix, depth: int, *, marked: bool) -> Iterator[PageObject]:
    kind = raw.FPDFPageObj_GetType(handle)
    if kind not in _KINDS or (kind == raw.FPDF_PAGEOBJ_PATH and not _is_filled(handle)):
        return
    own = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(handle, own):
        return
    matrix = _times((own.a, own.b, own.c, own.d, own.e, own.f), outer)
    marked = marked or _is_marked(handle)
    if kind != raw.FPDF_PAGEOBJ_FORM:
        yield PageObject(
            handle, kind == raw.FPDF_PAGEOBJ_TEXT, matrix, _box(handle, outer), marked, depth > 0
        )
    elif depth < _MAX_DEPTH:
        for index in range(raw.FPDFFormObj_CountObjects(handle)):
            yield from _below(raw.FPDFFormObj_GetObject(handle, index), matrix, depth + 1, marked=marked)


def _is_filled(handle: Handle) -> bool:
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    return bool(raw.FPDFPath_GetDrawMode(handle, fill, stroke)) and fill.value != raw.FPDF_FILLMODE_NONE


def _is_marked(handle: Handle) -> bool:
    """Whether an object is marked as optional content."""
    for index in range(raw.FPDFPageObj_CountMarks(handle)):
        name = (ctypes.c_ushort * 16)()
        size = ctypes.c_ulong()
        mark = raw.FPDFPageObj_GetMark(handle, index)
        if (
            raw.FPDFPageObjMark_GetName(mark, name, ctypes.sizeof(name), size)
            and _utf16(name, size.value) == "OC"
        ):
            return True
    return False


def _box(handle: Handle, outer: Matrix) -> Box:
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    raw.FPDFPageObj_GetBounds(handle, left, bottom, right, top)
    corners = [(x.value, y.value) for x in (left, right) for y in (bottom, top)]
    a, b, c, d, e, f = outer
    xs = [a * x + c * y + e for x, y in corners]
    ys = [b * x + d * y + f for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _times(inner: Matrix, outer: Matrix) -> Matrix:
    a, b, c, d, e, f = inner
    oa, ob, oc, od, oe, of = outer
    return (
        a * oa + b * oc,
        a * ob + b * od,
        c * oa + d * oc,
        c * ob + d * od,
        e * oa + f * oc + oe,
        e * ob + f * od + of,
    )


def _utf16(buffer: ctypes.Array[ctypes.c_ushort], size: int) -> str:
    return bytes(buffer)[:size].decode("utf-16-le", "replace").rstrip("\x00")
