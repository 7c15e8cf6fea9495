from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from docx.enum.text import WD_COLOR_INDEX
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls, qn
from docx.shared import Pt as DocxPt
from docx.shared import RGBColor as DocxColour

from secure_rag_ingestion.parsing.model import HiddenKind
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples
from tests.integration.parsing.concealment import SECRET, kinds, only


def _vanish(document: Any) -> None:
    document.add_paragraph("visible ").add_run(SECRET).font.hidden = True


def _vanish_by_style(document: Any) -> None:
    style = document.styles.add_style("Quiet", 1)
    style.font.hidden = True
    child = document.styles.add_style("Quieter", 1)
    child.base_style = style
    document.add_paragraph("visible")
    document.add_paragraph(SECRET, style="Quieter")


def _white(document: Any) -> None:
    document.add_paragraph("visible ").add_run(SECRET).font.color.rgb = DocxColour(255, 255, 255)


def _own_shading(document: Any) -> None:
    run = document.add_paragraph("visible ").add_run(SECRET)
    run.font.color.rgb = DocxColour(255, 255, 0)
    run.font.highlight_color = WD_COLOR_INDEX.YELLOW


def _tiny(document: Any) -> None:
    document.add_paragraph("visible ").add_run(SECRET).font.size = DocxPt(1)


def _hidden_row(document: Any) -> None:
    table = document.add_table(2, 1)
    table.cell(0, 0).text = "visible"
    table.cell(1, 0).text = SECRET
    properties = table.rows[1]._tr.get_or_add_trPr()
    properties.append(parse_xml(f"<w:hidden {nsdecls('w')}/>"))


def _transparent(document: Any) -> None:
    run = document.add_paragraph("visible ").add_run(SECRET)
    run._r.get_or_add_rPr().append(
        parse_xml(
            "<w14:textFill xmlns:w14='http://schemas.microsoft.com/office/word/2010/wordml'><w14:noFill/></w14:textFill>"
        )
    )


def _moved(document: Any) -> None:
    document.add_paragraph("visible ")._p.append(
        parse_xml(
            f"<w:moveFrom {nsdecls('w')} w:id='1' w:author='x'><w:r><w:t>{SECRET}</w:t></w:r></w:moveFrom>"
        )
    )


def _fallback(document: Any) -> None:
    document.add_paragraph("visible ")._p.append(
        parse_xml(
            f"<w:r {nsdecls('w')} xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006'>"
            "<mc:AlternateContent><mc:Choice Requires='wps'><w:t>shown</w:t></mc:Choice>"
            f"<mc:Fallback><w:t>{SECRET}</w:t></mc:Fallback></mc:AlternateContent></w:r>"
        )
    )


@control("parsing:hidden-text")
@pytest.mark.parametrize(
    ("fill", "kind"),
    [
        (_vanish, HiddenKind.VANISH),
        (_vanish_by_style, HiddenKind.VANISH),
        (_white, HiddenKind.WHITE_TEXT),
        (_own_shading, HiddenKind.WHITE_TEXT),
        (_tiny, HiddenKind.TINY_TEXT),
        (_hidden_row, HiddenKind.HIDDEN_ROW),
        (_transparent, HiddenKind.ZERO_OPACITY),
        (_moved, HiddenKind.DELETED_TEXT),
        (_fallback, HiddenKind.ALTERNATE_TEXT),
    ],
)
def test_word_conceals(parser: SandboxedParser, fill: Callable[[Any], None], kind: HiddenKind) -> None:
    only(parser.parse("a.docx", samples.docx(fill)), kind, "document")


def test_concealed_headers_of_word_files_are_seen(parser: SandboxedParser) -> None:
    def fill(document: Any) -> None:
        document.add_paragraph("visible")
        document.sections[0].header.paragraphs[0].add_run(SECRET).font.hidden = True

    only(parser.parse("a.docx", samples.docx(fill)), HiddenKind.VANISH, "header")


def test_honest_word_files_conceal_nothing(parser: SandboxedParser) -> None:
    def fill(document: Any) -> None:
        white = DocxColour(255, 255, 255)
        run = document.add_paragraph().add_run("white on a dark highlight")
        run.font.color.rgb = white
        run.font.highlight_color = WD_COLOR_INDEX.DARK_BLUE
        cell = document.add_table(1, 1).cell(0, 0)
        cell.paragraphs[0].add_run("white in a dark cell").font.color.rgb = white
        cell._tc.get_or_add_tcPr().append(parse_xml(f"<w:shd {nsdecls('w')} w:val='clear' w:fill='1F3864'/>"))
        paragraph = document.add_paragraph()
        paragraph.add_run("white in a dark paragraph").font.color.rgb = white
        paragraph._p.get_or_add_pPr().append(
            parse_xml(f"<w:shd {nsdecls('w')} w:val='clear' w:fill='000000'/>")
        )
        switched = document.add_paragraph().add_run("not hidden at all")
        switched._r.get_or_add_rPr().append(parse_xml(f"<w:vanish {nsdecls('w')} w:val='0'/>"))
        document.add_paragraph().add_run(" \u2022 ").font.size = DocxPt(1)  # a spacer
        table = document.add_table(2, 1)
        table.style = "Medium Shading 1 Accent 1"
        table.cell(0, 0).paragraphs[0].add_run("white in a styled header row").font.color.rgb = white
        assert table._tbl.tblPr.find(qn("w:tblStyle")) is not None

    assert kinds(parser.parse("a.docx", samples.docx(fill))) == []
