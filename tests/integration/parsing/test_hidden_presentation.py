from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pptx.dml.color import RGBColor
from pptx.enum.dml import MSO_THEME_COLOR
from pptx.enum.shapes import MSO_SHAPE
from pptx.oxml.ns import qn as pptx_qn
from pptx.util import Emu, Inches, Pt

from secure_rag_ingestion.parsing.model import HiddenKind
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples
from tests.integration.parsing.concealment import SECRET, kinds, only


def rgb(red: int, green: int, blue: int) -> Any:
    colour: Any = RGBColor
    return colour(red, green, blue)


def _slide(presentation: Any) -> Any:
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = "visible"
    return slide


def _box(slide: Any, text: str = SECRET, left: int = 1) -> Any:
    box = slide.shapes.add_textbox(Inches(left), Inches(3), Inches(4), Inches(1))
    box.text_frame.text = text
    return box.text_frame.paragraphs[0].runs[0]


def _off_slide(presentation: Any) -> None:
    _box(_slide(presentation), left=-20)


def _off_slide_group(presentation: Any) -> None:
    slide = _slide(presentation)
    group = slide.shapes.add_group_shape()
    box = group.shapes.add_textbox(Inches(1), Inches(1), Inches(1), Inches(1))
    box.text_frame.text = SECRET
    group.left = Emu(-9_000_000)


def _hidden_shape(presentation: Any) -> None:
    slide = _slide(presentation)
    _box(slide)
    slide.shapes[-1]._element.nvSpPr.cNvPr.set("hidden", "1")


def _white_run(presentation: Any) -> None:
    _box(_slide(presentation)).font.color.rgb = rgb(255, 255, 255)


def _theme_white_run(presentation: Any) -> None:
    _box(_slide(presentation)).font.color.theme_color = MSO_THEME_COLOR.BACKGROUND_1


def _tiny_run(presentation: Any) -> None:
    _box(_slide(presentation)).font.size = Pt(1)


def _clear_run(presentation: Any) -> None:
    run = _box(_slide(presentation))
    run.font.color.rgb = rgb(0, 0, 0)
    colour = run._r.rPr.find(f".//{pptx_qn('a:srgbClr')}")
    alpha = colour.makeelement(pptx_qn("a:alpha"), {"val": "0"})
    colour.append(alpha)


@control("parsing:hidden-text")
@pytest.mark.parametrize(
    ("fill", "kind"),
    [
        (_off_slide, HiddenKind.OFF_SLIDE),
        (_off_slide_group, HiddenKind.OFF_SLIDE),
        (_hidden_shape, HiddenKind.VANISH),
        (_white_run, HiddenKind.WHITE_TEXT),
        (_theme_white_run, HiddenKind.WHITE_TEXT),
        (_tiny_run, HiddenKind.TINY_TEXT),
        (_clear_run, HiddenKind.ZERO_OPACITY),
    ],
)
def test_presentations_conceal(
    parser: SandboxedParser, fill: Callable[[Any], None], kind: HiddenKind
) -> None:
    only(parser.parse("a.pptx", samples.pptx(fill)), kind, "slide 1")


@control("parsing:hidden-text")
def test_a_hidden_slide_is_concealed(parser: SandboxedParser) -> None:
    def fill(presentation: Any) -> None:
        _slide(presentation)
        hidden = presentation.slides.add_slide(presentation.slide_layouts[5])
        hidden.shapes.title.text = SECRET
        hidden._element.set("show", "0")

    only(parser.parse("a.pptx", samples.pptx(fill)), HiddenKind.HIDDEN_SLIDE, "slide 2")


def test_honest_presentations_conceal_nothing(parser: SandboxedParser) -> None:
    def fill(presentation: Any) -> None:
        slide = _slide(presentation)
        white_colour = rgb(255, 255, 255)
        shape = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, Inches(1), Inches(2), Inches(6), Inches(3))
        shape.fill.solid()
        shape.fill.fore_color.rgb = rgb(0, 32, 96)
        shape.text_frame.text = "white in a dark shape"
        shape.text_frame.paragraphs[0].runs[0].font.color.rgb = white_colour
        _box(slide, "white over the dark shape", 2).font.color.rgb = white_colour
        dark = _slide(presentation)
        dark.background.fill.solid()
        dark.background.fill.fore_color.theme_color = MSO_THEME_COLOR.TEXT_1
        _box(dark, "white on a dark slide").font.color.rgb = white_colour
        dark.shapes.title.text_frame.paragraphs[0].runs[
            0
        ].font.color.theme_color = MSO_THEME_COLOR.BACKGROUND_1
        table = slide.shapes.add_table(2, 1, Inches(1), Inches(6), Inches(3), Inches(1)).table
        table.cell(0, 0).text = "white in a header row"
        table.cell(0, 0).text_frame.paragraphs[0].runs[0].font.color.rgb = white_colour

    assert kinds(parser.parse("a.pptx", samples.pptx(fill))) == []
