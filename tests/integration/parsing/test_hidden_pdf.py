from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from reportlab.lib.colors import Color, white

from secure_rag_ingestion.parsing.model import HiddenKind
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples
from tests.integration.parsing.concealment import SECRET, kinds, only


def _invisible(canvas: Any) -> None:
    canvas.drawString(72, 600, SECRET, mode=3)


def _white_fill(canvas: Any) -> None:
    canvas.setFillColor(white)
    canvas.drawString(72, 600, SECRET)


def _white_under_black(canvas: Any) -> None:
    _white_fill(canvas)
    canvas.setFillColor(Color(0, 0, 0))
    canvas.drawString(72, 600, "visible text written over it")


def _own_colour(canvas: Any) -> None:
    canvas.setFillColor(Color(0.2, 0.2, 0.2))
    canvas.rect(60, 590, 300, 30, stroke=0, fill=1)
    canvas.drawString(72, 600, SECRET)


def _covered(canvas: Any) -> None:
    canvas.drawString(72, 600, SECRET)
    canvas.rect(60, 590, 300, 30, stroke=0, fill=1)


def _crowded(canvas: Any) -> None:
    for step in range(400):
        canvas.rect(72 + step, 100, 0.5, 5, stroke=0, fill=1)
    _covered(canvas)


def _tiny_pdf(canvas: Any) -> None:
    canvas.setFont("Helvetica", 0.1)
    canvas.drawString(72, 600, SECRET)


def _shrunk(canvas: Any) -> None:
    canvas.scale(0.01, 0.01)
    canvas.drawString(7200, 60000, SECRET)


def _off_page(canvas: Any) -> None:
    canvas.drawString(72, 2000, SECRET)


def _clear_fill(canvas: Any) -> None:
    canvas.setFillColor(Color(0, 0, 0, alpha=0))
    canvas.drawString(72, 600, SECRET)


def _in_a_form(canvas: Any) -> None:
    canvas.beginForm("form")
    canvas.setFillColor(white)
    canvas.drawString(0, 0, SECRET)
    canvas.endForm()
    canvas.translate(72, 600)
    canvas.doForm("form")


@control("parsing:hidden-text")
@pytest.mark.parametrize(
    ("draw", "kind"),
    [
        (_invisible, HiddenKind.RENDER_MODE_3),
        (_white_fill, HiddenKind.WHITE_TEXT),
        (_white_under_black, HiddenKind.WHITE_TEXT),
        (_own_colour, HiddenKind.WHITE_TEXT),
        (_covered, HiddenKind.COVERED_TEXT),
        (_crowded, HiddenKind.COVERED_TEXT),
        (_tiny_pdf, HiddenKind.TINY_TEXT),
        (_shrunk, HiddenKind.TINY_TEXT),
        (_off_page, HiddenKind.OFF_PAGE),
        (_clear_fill, HiddenKind.ZERO_OPACITY),
        (_in_a_form, HiddenKind.WHITE_TEXT),
    ],
)
def test_pdf_conceals(parser: SandboxedParser, draw: Callable[[Any], None], kind: HiddenKind) -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(72, 700, "visible")
        draw(canvas)

    only(parser.parse("a.pdf", samples.pdf(page)), kind, "page 1")


@control("parsing:hidden-text")
def test_the_place_of_concealed_pdf_text_is_its_page(parser: SandboxedParser) -> None:
    def pages(canvas: Any) -> None:
        canvas.drawString(72, 700, "visible")
        canvas.showPage()
        canvas.setPageRotation(90)
        canvas.drawString(650, 500, "visible too")
        canvas.setFillColor(white)
        canvas.drawString(650, 100, SECRET)

    only(parser.parse("a.pdf", samples.pdf(pages)), HiddenKind.WHITE_TEXT, "page 2")


def test_text_under_a_picture_that_shows_something_is_an_ocr_layer(parser: SandboxedParser) -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(72, 600, SECRET, mode=3)
        canvas.setFillColor(Color(0, 0, 0))
        for step in range(0, 200, 8):  # stands for the scanned letters
            canvas.rect(72 + step, 600, 4, 8, stroke=0, fill=1)

    only(parser.parse("a.pdf", samples.pdf(page)), HiddenKind.OCR_LAYER, "page 1")


@control("parsing:hidden-text")
def test_text_of_a_layer_that_is_off_is_concealed(parser: SandboxedParser) -> None:
    def page(canvas: Any) -> None:
        canvas.drawString(72, 700, "visible")
        canvas._code.append("/OC /Off BDC")
        canvas.drawString(72, 600, SECRET)
        canvas._code.append("EMC /OC /On BDC")
        canvas.drawString(72, 500, "in a layer that is on")
        canvas._code.append("EMC")

    layers = b"<</Off 90 0 R /On 91 0 R>>"
    groups = (
        b"90 0 obj <</Type/OCG/Name(Off)>> endobj\n91 0 obj <</Type/OCG/Name(On)>> endobj\n"
        b"xref\n0 1\n0000000000 65535 f \n"
    )
    made = samples.pdf(page, pageCompression=0)
    made = made.replace(b"/Resources <<", b"/Resources <<\n/Properties " + layers, 1)
    made = made.replace(
        b"/Type /Catalog", b"/Type /Catalog /OCProperties <</OCGs[90 0 R 91 0 R]/D<</OFF[90 0 R]>>>>", 1
    )
    only(parser.parse("a.pdf", made.replace(b"xref\n", groups, 1)), HiddenKind.HIDDEN_LAYER, "page 1")


def test_text_of_turned_pages_is_read_and_off_page_text_is_not(parser: SandboxedParser) -> None:
    def page(canvas: Any) -> None:
        canvas.setPageRotation(90)
        canvas.drawString(650, 500, "on the page")  # turned, it is 792 wide and 612 high
        canvas.drawString(72, 700, SECRET)

    found = parser.parse("a.pdf", samples.pdf(page))
    assert found.text == "on the page"
    only(found, HiddenKind.OFF_PAGE, "page 1")


def test_honest_pdfs_conceal_nothing(parser: SandboxedParser) -> None:
    def page(canvas: Any) -> None:
        canvas.setFillColor(Color(0, 0.1, 0.4))
        canvas.rect(50, 680, 400, 60, stroke=0, fill=1)
        canvas.setFillColor(white)
        canvas.setFont("Helvetica-Bold", 24)
        canvas.drawString(72, 700, "WHITE ON A DARK BANNER")
        canvas.setFillColor(Color(0, 0, 0))
        canvas.saveState()
        canvas.scale(12, 12)
        canvas.setFont("Helvetica", 1)  # 12 points on the page
        canvas.drawString(6, 40, "scaled up")
        canvas.restoreState()
        canvas.drawString(560, 300, "half off the page is still seen")

    assert kinds(parser.parse("a.pdf", samples.pdf(page))) == []
