from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openpyxl.styles import Font, PatternFill

from secure_rag_ingestion.parsing.model import HiddenKind
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples
from tests.integration.parsing.concealment import SECRET, kinds, only


def _sheet(change: Callable[[Any], None]) -> bytes:
    def fill(workbook: Any) -> None:
        sheet = workbook.active
        assert sheet is not None
        sheet.title = "Costs"
        sheet["A1"], sheet["B2"] = "visible", SECRET
        change(workbook)

    return samples.xlsx(fill)


def _hidden_sheet(workbook: Any, state: str = "hidden") -> None:
    workbook.create_sheet("Shown")["A1"] = "visible"
    sheet = workbook["Costs"]
    sheet["A1"] = None
    sheet.sheet_state = state
    workbook.active = 1


def _very_hidden_sheet(workbook: Any) -> None:
    _hidden_sheet(workbook, "veryHidden")


def _row(workbook: Any) -> None:
    workbook["Costs"].row_dimensions[2].hidden = True


def _flat_row(workbook: Any) -> None:
    workbook["Costs"].row_dimensions[2].height = 0.4


def _column(workbook: Any) -> None:
    workbook["Costs"].column_dimensions["B"].hidden = True


def _white_font(workbook: Any) -> None:
    workbook["Costs"]["B2"].font = Font(color="FFFFFFFF")


def _white_on_yellowish(workbook: Any) -> None:
    cell = workbook["Costs"]["B2"]
    cell.font, cell.fill = Font(color="FFFFFFF0"), PatternFill("solid", fgColor="FFFFFFE0")


def _tiny_font(workbook: Any) -> None:
    workbook["Costs"]["B2"].font = Font(size=1)


def _no_format(workbook: Any) -> None:
    workbook["Costs"]["B2"].number_format = ";;;"


@control("parsing:hidden-text")
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (_hidden_sheet, HiddenKind.HIDDEN_SHEET),
        (_very_hidden_sheet, HiddenKind.HIDDEN_SHEET),
        (_row, HiddenKind.HIDDEN_ROW),
        (_flat_row, HiddenKind.HIDDEN_ROW),
        (_column, HiddenKind.HIDDEN_COLUMN),
        (_white_font, HiddenKind.WHITE_TEXT),
        (_white_on_yellowish, HiddenKind.WHITE_TEXT),
        (_tiny_font, HiddenKind.TINY_TEXT),
        (_no_format, HiddenKind.HIDDEN_FORMAT),
    ],
)
def test_spreadsheets_conceal(
    parser: SandboxedParser, change: Callable[[Any], None], kind: HiddenKind
) -> None:
    only(parser.parse("a.xlsx", _sheet(change)), kind, "sheet 'Costs'")


def test_honest_spreadsheets_conceal_nothing(parser: SandboxedParser) -> None:
    def change(workbook: Any) -> None:
        cell = workbook["Costs"]["B2"]
        cell.font, cell.fill = Font(color="FFFFFFFF", bold=True), PatternFill("solid", fgColor="FF1F3864")
        sheet = workbook["Costs"]
        sheet["C1"], sheet["C1"].number_format = -5, "0.00;[Red]-0.00"
        sheet.row_dimensions[9].hidden = True  # nothing is in it

    assert kinds(parser.parse("a.xlsx", _sheet(change))) == []
