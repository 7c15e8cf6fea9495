"""Concealed cells in spreadsheets: hidden sheets, rows and columns, fonts that cannot be seen, empty formats.

One reason is reported for each cell, the outermost: a sheet hides its rows, a row its cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.document import HiddenKind, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.colours import Rgb, hex_rgb, is_invisible, tinted
from secure_rag_ingestion.parsing.hidden.packages import relationships
from secure_rag_ingestion.parsing.hidden.theme import Theme

S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MAX_TINY_POINTS = 2.0
MIN_ROW_POINTS = 1.0
MIN_COLUMN_CHARACTERS = 0.2
_TRUE = frozenset({"1", "true"})
_CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})\Z")
_INDEXED = (
    "000000",
    "FFFFFF",
    "FF0000",
    "00FF00",
    "0000FF",
    "FFFF00",
    "FF00FF",
    "00FFFF",
)  # ECMA-376, 18.8.27


@dataclass(frozen=True, slots=True)
class _Font:
    colour: Rgb | None = None
    points: float | None = None


class XlsxScan:
    """Reads a workbook for what it conceals."""

    def __init__(self, archive: OfficeArchive, concealed: Concealed) -> None:
        workbook = archive.xml("xl/workbook.xml")
        if workbook is None:
            raise RefusedError(ParseReason.CORRUPT, "a workbook without its main part")
        self._concealed = concealed
        self._theme = Theme(archive.xml("xl/theme/theme1.xml"))
        self._strings = _shared_strings(archive.xml("xl/sharedStrings.xml"))
        self._styles: list[HiddenKind | None] = self._cell_styles(archive.xml("xl/styles.xml"))
        targets = relationships(archive, "xl/workbook.xml")
        for entry in workbook.iter(S + "sheet"):
            sheet = archive.xml(targets.get(entry.get(R + "id", ""), ""))
            if sheet is not None:
                self._sheet(entry, sheet)

    def _sheet(self, entry: Element, sheet: Element) -> None:
        place = f"sheet {entry.get('name', '')!r}"
        concealed_sheet = entry.get("state", "visible") != "visible"
        columns = _hidden_columns(sheet)
        flat_rows = _is_zero_height(sheet.find(S + "sheetFormatPr"))
        for row in sheet.iter(S + "row"):
            height = row.get("ht")
            flat = flat_rows if height is None else _is_below(height, MIN_ROW_POINTS)
            hidden_row = flat or row.get("hidden") in _TRUE
            for column, cell in _cells(row):
                text = self._text(cell)
                if concealed_sheet:
                    self._concealed.add(HiddenKind.HIDDEN_SHEET, place, text)
                elif hidden_row:
                    self._concealed.add(HiddenKind.HIDDEN_ROW, place, text)
                elif any(first <= column <= last for first, last in columns):
                    self._concealed.add(HiddenKind.HIDDEN_COLUMN, place, text)
                elif (kind := self._style(cell)) is not None:
                    self._concealed.add(kind, place, text)
                else:
                    self._rich(cell, place)

    def _style(self, cell: Element) -> HiddenKind | None:
        index = _int(cell.get("s"))
        return self._styles[index] if 0 <= index < len(self._styles) else None

    def _text(self, cell: Element) -> str:
        value = cell.find(S + "v")
        if cell.get("t") == "s":
            index = _int(None if value is None else value.text)
            return _plain(self._strings[index]) if 0 <= index < len(self._strings) else ""
        if cell.get("t") == "inlineStr":
            return _plain(cell)
        return "" if value is None else value.text or ""

    def _rich(self, cell: Element, place: str) -> None:
        """Runs inside one cell have fonts of their own."""
        source: Element | None = cell if cell.get("t") == "inlineStr" else None
        if cell.get("t") == "s":
            value = cell.find(S + "v")
            index = _int(None if value is None else value.text)
            source = self._strings[index] if 0 <= index < len(self._strings) else None
        for run in () if source is None else source.iter(S + "r"):
            kind = _font_kind(self._font(run.find(S + "rPr")), None)
            if kind is not None:
                self._concealed.add(kind, place, _plain(run))

    def _cell_styles(self, root: Element | None) -> list[HiddenKind | None]:
        if root is None:
            return []
        fonts = [self._font(font) for font in root.iterfind(f"{S}fonts/{S}font")]
        fills = [self._fill(fill) for fill in root.iterfind(f"{S}fills/{S}fill")]
        formats = {
            _int(entry.get("numFmtId")): entry.get("formatCode", "")
            for entry in root.iterfind(f"{S}numFmts/{S}numFmt")
        }
        kinds: list[HiddenKind | None] = []
        for style in root.iterfind(f"{S}cellXfs/{S}xf"):
            font, fill = _int(style.get("fontId")), _int(style.get("fillId"))
            code = formats.get(_int(style.get("numFmtId")), "General")
            background = fills[fill] if 0 <= fill < len(fills) else None
            kind = _font_kind(fonts[font], background) if 0 <= font < len(fonts) else None
            kinds.append(HiddenKind.HIDDEN_FORMAT if _shows_nothing(code) else kind)
        return kinds

    def _font(self, element: Element | None) -> _Font:
        if element is None:
            return _Font()
        size = element.find(S + "sz")
        return _Font(
            self._colour(element.find(S + "color")), None if size is None else _float(size.get("val"))
        )

    def _fill(self, element: Element) -> Rgb | None:
        pattern = element.find(S + "patternFill")
        if pattern is not None:
            if pattern.get("patternType", "none") == "none":
                return None
            return self._colour(pattern.find(S + "fgColor")) or self._colour(pattern.find(S + "bgColor"))
        stop = element.find(f"{S}gradientFill/{S}stop/{S}color")
        return self._colour(stop)

    def _colour(self, element: Element | None) -> Rgb | None:
        if element is None:
            return None
        found = hex_rgb(element.get("rgb"))
        if element.get("theme") is not None:
            found = self._theme.numbered(_int(element.get("theme")))
        elif found is None and element.get("indexed") is not None:
            index = _int(element.get("indexed"))
            # The first eight colours of the palette are given twice.
            found = hex_rgb(_INDEXED[index % 8]) if 0 <= index < 16 else None
        return None if found is None else tinted(found, _float(element.get("tint")) or 0.0)


def _font_kind(font: _Font, background: Rgb | None) -> HiddenKind | None:
    if font.points is not None and font.points <= MAX_TINY_POINTS:
        return HiddenKind.TINY_TEXT
    if font.colour is not None and is_invisible(font.colour, background):
        return HiddenKind.WHITE_TEXT
    return None


def _shows_nothing(code: str) -> bool:
    """Whether a number format has only empty sections, as `;;;` has."""
    return ";" in code and not re.sub(r"\[[^\]]*\]", "", code).strip("; ")


def _hidden_columns(sheet: Element) -> list[tuple[int, int]]:
    return [
        (_int(column.get("min")), _int(column.get("max")))
        for column in sheet.iterfind(f"{S}cols/{S}col")
        if column.get("hidden") in _TRUE or _is_below(column.get("width"), MIN_COLUMN_CHARACTERS)
    ]


def _is_zero_height(properties: Element | None) -> bool:
    return properties is not None and properties.get("zeroHeight") in _TRUE


def _cells(row: Element) -> Iterator[tuple[int, Element]]:
    """Cells with their column number; a cell without a reference follows the one before."""
    column = 0
    for cell in row.iterfind(S + "c"):
        match = _CELL.match(cell.get("r", ""))
        column = _column(match.group(1)) if match else column + 1
        yield column, cell


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _shared_strings(root: Element | None) -> list[Element]:
    return [] if root is None else list(root.iterfind(S + "si"))


def _plain(element: Element) -> str:
    return "".join(text.text or "" for text in element.iter(S + "t"))


def _is_below(text: str | None, least: float) -> bool:
    size = _float(text)
    return size is not None and size < least


def _int(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return -1


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
