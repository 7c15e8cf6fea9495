from __future__ import annotations

import pytest

from secure_rag_ingestion.parsing.hidden.colours import (
    BLACK,
    WHITE,
    Rgb,
    contrast,
    css_colour,
    hex_rgb,
    is_invisible,
    tinted,
)


def test_contrast_has_the_values_of_the_standard() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21.0)
    assert contrast(WHITE, WHITE) == 1.0
    assert contrast((119, 119, 119), WHITE) == pytest.approx(4.48, abs=0.01)


def test_an_unknown_background_counts_as_white() -> None:
    assert is_invisible(WHITE, None)
    assert is_invisible((250, 250, 250), None)
    assert not is_invisible(WHITE, (0, 0, 128))
    assert not is_invisible(BLACK, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#fff", (WHITE, 1.0)),
        ("#FFFFFF80", (WHITE, 128 / 255)),
        ("white", (WHITE, 1.0)),
        ("RebeccaPurple", ((102, 51, 153), 1.0)),
        ("rgb(255, 0, 0)", ((255, 0, 0), 1.0)),
        ("rgba(0 0 0 / 50%)", (BLACK, 0.5)),
        ("rgb(100%,100%,100%)", (WHITE, 1.0)),
        ("hsl(120deg 100% 50%)", ((0, 255, 0), 1.0)),
        ("transparent", (WHITE, 0.0)),
        ("inherit", None),
        ("rgb(1,2)", None),
        ("rgb(a,b,c)", None),
        ("rgb(nan,0,0)", None),
        ("", None),
    ],
)
def test_css_colours(text: str, expected: tuple[Rgb, float] | None) -> None:
    assert css_colour(text) == expected


def test_office_colours() -> None:
    assert hex_rgb("FF102030") == (16, 32, 48)
    assert hex_rgb("auto") is None
    assert hex_rgb(None) is None
    assert tinted(BLACK, 1.0) == WHITE
    assert tinted(WHITE, -1.0) == BLACK
    assert tinted((10, 20, 30), 0.0) == (10, 20, 30)
