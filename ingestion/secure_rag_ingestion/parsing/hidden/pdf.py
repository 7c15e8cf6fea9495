"""Text of a PDF, and what of it a person does not see.

Off the page, tiny and fully transparent text says so itself. For the rest there is one question: does the page look
the same without it? So the page is drawn with and without its doubtful text (white, in a layer, under or on an area
of its colour) and the places are compared. White letters on a dark banner change the picture; white on white, text
under a later rectangle or picture, and switched-off layers do not. Drawing happens behind the walls like all of this.
"""

from __future__ import annotations

import contextlib
import ctypes

import pypdfium2
from pypdfium2 import raw

from secure_rag_ingestion.parsing.document import HiddenKind, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.colours import BLACK, MIN_ALPHA, WHITE, is_invisible
from secure_rag_ingestion.parsing.hidden.pdf_objects import Box, PageObject, objects_of, page_box

MAX_TINY_POINTS = 1.0
_DRAWING_SIDE = 1000.0
_STEP = 20  # of 255 grey levels; what is less apart a person does not tell apart
_CHANGED_SHARE = 0.01
_MAX_AREAS = 300  # on a page with more, all text is doubtful


class PdfScan:
    """Reads a PDF once.

    Attributes:
        pages: text of each page, without what lies off it.
        metadata: of the document, by the names of the format.

    Raises:
        RefusedError: `encrypted` or `corrupt`.
    """

    def __init__(self, data: bytes, concealed: Concealed) -> None:
        self._concealed = concealed
        # A form can belong to a layer as a whole, which is not told; then everything in a form is doubtful.
        self._layered = b"/OCProperties" in data
        self.pages: list[str] = []
        with contextlib.closing(_opened(data)) as document:
            self.metadata = {name: value for name, value in document.get_metadata_dict().items() if value}
            for index in range(len(document)):
                try:
                    page = document[index]
                    text_page = page.get_textpage()
                except pypdfium2.PdfiumError as error:
                    raise RefusedError(ParseReason.CORRUPT, "a page cannot be read") from error
                with contextlib.closing(page), contextlib.closing(text_page):
                    self._page(page, text_page, f"page {index + 1}")

    def _page(self, page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, place: str) -> None:
        visible = page_box(page)
        self.pages.append(text_page.get_text_bounded(*visible))
        objects = list(objects_of(page))
        doubtful: list[tuple[PageObject, str, HiddenKind]] = []
        for item, suspicion in _suspicions(objects):
            kind = _alone(item, visible)
            layer = item.marked or (item.in_form and self._layered)
            if kind is not None:
                self._concealed.add(kind, place, item.text(text_page))
            elif item.is_unpainted:
                doubtful.append((item, item.text(text_page), HiddenKind.RENDER_MODE_3))
            elif layer or suspicion is not None:
                kind = HiddenKind.HIDDEN_LAYER if layer or suspicion is None else suspicion
                doubtful.append((item, item.text(text_page), kind))
        if doubtful:
            self._draw(page, doubtful, place)

    def _draw(
        self, page: pypdfium2.PdfPage, doubtful: list[tuple[PageObject, str, HiddenKind]], place: str
    ) -> None:
        before = Drawing(page)
        for item, _, _ in doubtful:
            item.take_off()
        after = Drawing(page)
        for item, text, kind in doubtful:
            shown, without = before.pixels(item.box), after.pixels(item.box)
            if _differ(shown, without):
                continue
            inked = bool(shown) and max(shown) - min(shown) > 2 * _STEP
            ocr = kind is HiddenKind.RENDER_MODE_3 and inked
            self._concealed.add(HiddenKind.OCR_LAYER if ocr else kind, place, text)


def _opened(data: bytes) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise RefusedError(ParseReason.ENCRYPTED, "the PDF has a password") from error
        raise RefusedError(ParseReason.CORRUPT, "not a readable PDF") from error


def _alone(item: PageObject, visible: Box) -> HiddenKind | None:
    """What a text object says about itself."""
    left, bottom, right, top = item.box
    if right <= visible[0] or left >= visible[2] or top <= visible[1] or bottom >= visible[3]:
        return HiddenKind.OFF_PAGE
    if item.points < MAX_TINY_POINTS:
        return HiddenKind.TINY_TEXT
    colour = item.colour()
    return HiddenKind.ZERO_OPACITY if colour and colour[1] < MIN_ALPHA and not item.is_unpainted else None


def _suspicions(objects: list[PageObject]) -> list[tuple[PageObject, HiddenKind | None]]:
    """Text objects, each with how it may be concealed by its colour or by the areas around it."""
    areas = [(order, item) for order, item in enumerate(objects) if not item.is_text]
    crowded = len(areas) > _MAX_AREAS
    found: list[tuple[PageObject, HiddenKind | None]] = []
    for order, item in enumerate(objects):
        if not item.is_text:
            continue
        colour = (item.colour() or (BLACK, 1.0))[0]
        around = [] if crowded else [(place, area) for place, area in areas if _holds(area.box, item.box)]
        if is_invisible(colour, WHITE):
            found.append((item, HiddenKind.WHITE_TEXT))
        elif crowded or any(place > order for place, _ in around):
            found.append((item, HiddenKind.COVERED_TEXT))
        elif any((fill := area.colour()) and is_invisible(colour, fill[0]) for _, area in around):
            found.append((item, HiddenKind.WHITE_TEXT))
        else:
            found.append((item, None))
    return found


def _holds(area: Box, text: Box) -> bool:
    """Whether the middle of a text is inside an area."""
    x, y = (text[0] + text[2]) / 2, (text[1] + text[3]) / 2
    return area[0] <= x <= area[2] and area[1] <= y <= area[3]


def _differ(one: bytes, other: bytes) -> bool:
    """Whether a person sees a difference between two drawings of the same place."""
    if one == other:
        return False
    allowed = _CHANGED_SHARE * len(one)
    for left, right in zip(one, other, strict=True):
        if abs(left - right) > _STEP:
            allowed -= 1
            if allowed < 0:
                return True
    return False


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
