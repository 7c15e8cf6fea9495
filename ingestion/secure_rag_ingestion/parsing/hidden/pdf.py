"""Concealed text in PDF pages: invisible render mode, white or transparent fill, tiny type, off the page, layers.

What cannot be told from the text itself (white text may stand on a dark banner or picture) is decided by drawing
the page once and looking at the place. The drawing happens behind the walls like everything else here.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pypdfium2
from pypdfium2 import raw

from secure_rag_ingestion.parsing.document import HiddenKind, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.colours import BLACK, MIN_ALPHA, WHITE, Rgb, is_invisible

MAX_TINY_POINTS = 1.0
_MAX_DEPTH = 8
_DRAWING_SIDE = 1000.0
_INK_STEP = 40
_LIGHT = 225
_LIGHT_SHARE = 0.65  # bold white type covers about half of its box, black type over white text a quarter
_STROKED_MODES = frozenset({raw.FPDF_TEXTRENDERMODE_STROKE, raw.FPDF_TEXTRENDERMODE_STROKE_CLIP})
_INVISIBLE_MODES = frozenset({raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP})

Handle: TypeAlias = Any  # pdfium's objects are opaque ctypes pointers
Matrix = tuple[float, float, float, float, float, float]
Box = tuple[float, float, float, float]
_IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Run:
    """A text object with its place on the page.

    Attributes:
        handle: pdfium's.
        matrix: from its coordinates to the page's.
        box: left, bottom, right, top in page coordinates.
        marked: it, or a form around it, is marked as optional content, which may be switched off.
        in_form: it is part of a form, a piece of page that is drawn as one.
    """

    handle: Handle
    matrix: Matrix
    box: Box
    marked: bool
    in_form: bool


class PdfScan:
    """Reads the text objects of a PDF for those that a person does not see."""

    def __init__(self, data: bytes, concealed: Concealed) -> None:
        self._concealed = concealed
        # Forms can belong to a layer as a whole, which is not told; then everything in a form is looked at.
        self._layered = b"/OCProperties" in data
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            if getattr(error, "err_code", None) in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
                raise RefusedError(ParseReason.ENCRYPTED, "the PDF has a password") from error
            raise RefusedError(ParseReason.CORRUPT, "not a readable PDF") from error
        with contextlib.closing(document):
            for index in range(len(document)):
                try:
                    page = document[index]
                except pypdfium2.PdfiumError as error:
                    raise RefusedError(ParseReason.CORRUPT, "a page cannot be read") from error
                with contextlib.closing(page):
                    self._page(page, f"page {index + 1}")

    def _page(self, page: pypdfium2.PdfPage, place: str) -> None:
        visible = _visible_box(page)
        drawing: Drawing | None = None
        found: list[tuple[HiddenKind, _Run]] = []
        for run in _runs(page):
            kind = _kind_alone(run, visible)
            if kind is HiddenKind.RENDER_MODE_3 or (kind is None and self._is_doubtful(run)):
                drawing = drawing or Drawing(page)
                kind = _kind_drawn(run, kind, drawing)
            if kind is not None:
                found.append((kind, run))
        if found:
            with contextlib.closing(page.get_textpage()) as text_page:
                for kind, run in found:
                    self._concealed.add(kind, place, _text(run, text_page))

    def _is_doubtful(self, run: _Run) -> bool:
        layer = run.marked or (run.in_form and self._layered)
        return layer or is_invisible(_colour(run)[0], WHITE)


def _kind_alone(run: _Run, visible: Box) -> HiddenKind | None:
    """What the text object says about itself."""
    left, bottom, right, top = run.box
    if right <= visible[0] or left >= visible[2] or top <= visible[1] or bottom >= visible[3]:
        return HiddenKind.OFF_PAGE
    size = ctypes.c_float()
    raw.FPDFTextObj_GetFontSize(run.handle, size)
    if size.value * math.hypot(run.matrix[2], run.matrix[3]) < MAX_TINY_POINTS:
        return HiddenKind.TINY_TEXT
    if raw.FPDFTextObj_GetTextRenderMode(run.handle) in _INVISIBLE_MODES:
        return HiddenKind.RENDER_MODE_3
    return HiddenKind.ZERO_OPACITY if _colour(run)[1] < MIN_ALPHA else None


def _kind_drawn(run: _Run, kind: HiddenKind | None, drawing: Drawing) -> HiddenKind | None:
    """What the drawn page says about a text object that cannot be judged alone."""
    pixels = drawing.pixels(run.box)
    inked = bool(pixels) and max(pixels) - min(pixels) > _INK_STEP
    if kind is HiddenKind.RENDER_MODE_3:
        return HiddenKind.OCR_LAYER if inked else kind
    if is_invisible(_colour(run)[0], WHITE):
        light = sum(1 for pixel in pixels if pixel >= _LIGHT)
        return HiddenKind.WHITE_TEXT if light >= _LIGHT_SHARE * len(pixels) else None
    return None if inked else HiddenKind.HIDDEN_LAYER


def _colour(run: _Run) -> tuple[Rgb, float]:
    """Colour and opacity of what is painted; a pattern counts as opaque black."""
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    stroked = raw.FPDFTextObj_GetTextRenderMode(run.handle) in _STROKED_MODES
    read = raw.FPDFPageObj_GetStrokeColor if stroked else raw.FPDFPageObj_GetFillColor
    if not read(run.handle, red, green, blue, alpha):
        return BLACK, 1.0
    return (red.value, green.value, blue.value), alpha.value / 255


class Drawing:
    """A page drawn in grey."""

    def __init__(self, page: pypdfium2.PdfPage) -> None:
        scale = min(2.0, _DRAWING_SIDE / max(*page.get_size(), 1.0))
        self._page = page
        self._bitmap = page.render(scale=scale, grayscale=True)  # pyright: ignore[reportArgumentType]  # a float by its documentation
        self._bytes = bytes(self._bitmap.buffer)

    def pixels(self, box: Box) -> bytes:
        """Grey values, 0 black to 255 white, of a box in page coordinates."""
        width, height, stride = self._bitmap.width, self._bitmap.height, self._bitmap.stride
        (x1, y1), (x2, y2) = (self._device(box[0], box[1]), self._device(box[2], box[3]))
        left, right = max(min(x1, x2), 0), min(max(x1, x2) + 1, width)
        top, bottom = max(min(y1, y2), 0), min(max(y1, y2) + 1, height)
        return b"".join(self._bytes[row * stride + left : row * stride + right] for row in range(top, bottom))

    def _device(self, x: float, y: float) -> tuple[int, int]:
        device_x, device_y = ctypes.c_int(), ctypes.c_int()
        size = (self._bitmap.width, self._bitmap.height)
        raw.FPDF_PageToDevice(self._page.raw, 0, 0, *size, 0, x, y, device_x, device_y)
        return device_x.value, device_y.value


def _visible_box(page: pypdfium2.PdfPage) -> Box:
    rectangle = raw.FS_RECTF()
    if raw.FPDF_GetPageBoundingBox(page.raw, rectangle):
        return rectangle.left, rectangle.bottom, rectangle.right, rectangle.top
    width, height = page.get_size()
    return 0.0, 0.0, width, height


def _runs(page: pypdfium2.PdfPage) -> Iterator[_Run]:
    count = raw.FPDFPage_CountObjects(page.raw)
    for index in range(count):
        yield from _runs_of(raw.FPDFPage_GetObject(page.raw, index), _IDENTITY, 0, marked=False)


def _runs_of(handle: Handle, outer: Matrix, depth: int, *, marked: bool) -> Iterator[_Run]:
    kind = raw.FPDFPageObj_GetType(handle)
    if kind not in (raw.FPDF_PAGEOBJ_TEXT, raw.FPDF_PAGEOBJ_FORM):
        return
    own = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(handle, own):
        return
    matrix = _times((own.a, own.b, own.c, own.d, own.e, own.f), outer)
    marked = marked or _is_marked(handle)
    if kind == raw.FPDF_PAGEOBJ_TEXT:
        yield _Run(handle, matrix, _box(handle, outer), marked, depth > 0)
    elif depth < _MAX_DEPTH:
        for index in range(raw.FPDFFormObj_CountObjects(handle)):
            yield from _runs_of(raw.FPDFFormObj_GetObject(handle, index), matrix, depth + 1, marked=marked)


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


def _text(run: _Run, text_page: pypdfium2.PdfTextPage) -> str:
    size = raw.FPDFTextObj_GetText(run.handle, text_page.raw, None, 0)
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    raw.FPDFTextObj_GetText(run.handle, text_page.raw, buffer, size)
    return _utf16(buffer, size)


def _utf16(buffer: ctypes.Array[ctypes.c_ushort], size: int) -> str:
    return bytes(buffer)[:size].decode("utf-16-le", "replace").rstrip("\x00")
