"""How an HTML element looks to a person: the computed values that decide whether its text is seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from secure_rag_ingestion.parsing.document import HiddenKind
from secure_rag_ingestion.parsing.hidden.colours import MIN_ALPHA, WHITE, Rgb, css_colour, is_invisible
from secure_rag_ingestion.parsing.hidden.css import pixels

MAX_TINY_PX = 2.7  # 2 points
_FAR_PX = 500.0
_NAMED_SIZES = {
    "xx-small": 9.0,
    "x-small": 10.0,
    "small": 13.0,
    "medium": 16.0,
    "large": 18.0,
    "x-large": 24.0,
    "xx-large": 32.0,
    "xxx-large": 48.0,
    "smaller": 13.0,
    "larger": 19.0,
}
_FONT_SIZE = re.compile(r"(?:^|\s)((?:\d+\.?\d*|\.\d+)(?:[a-z]+|%))(?=\s|/)")
_PIXELS = re.compile(r"-?\d+(?:\.\d+)?(?:px|em|rem|%|vw|vh|pt)?")
_COLOUR_TOKEN = re.compile(r"#[0-9a-f]{3,8}\b|(?:rgb|hsl)a?\([^()]*\)|[a-z]+")
_COLLAPSED_CLIP = re.compile(r"rect\(\s*(?:[01](?:px)?[\s,]+){3}[01](?:px)?\s*\)\Z")
_COLLAPSED_PATH = re.compile(
    r"inset\(\s*(?:[5-9]\d|100)(?:\.\d+)?%|circle\(\s*0|polygon\(\s*(?:0(?:px|%)?[\s,]*)+\)"
)
_NO_SCALE = re.compile(r"scale(?:x|y|3d)?\(\s*0(?:\.0\d*)?\s*[,)]")


@dataclass(frozen=True, slots=True)
class Look:
    """Computed values of an element; children inherit them.

    Attributes:
        concealed: by something that no descendant can undo.
        visible: the visibility property, which a descendant can set again.
        size_px: font size.
        colour: of the text, with its alpha.
        background: of what is behind it; a picture counts as white.
        opacity: of the element and everything around it.
    """

    concealed: HiddenKind | None = None
    visible: bool = True
    size_px: float = 16.0
    colour: tuple[Rgb, float] = ((0, 0, 0), 1.0)
    background: Rgb = WHITE
    opacity: float = 1.0

    def kind(self) -> HiddenKind | None:
        """How text directly in this element is concealed; None when a person sees it."""
        if self.concealed is not None:
            return self.concealed
        if not self.visible:
            return HiddenKind.CSS_HIDDEN
        if self.opacity * self.colour[1] < MIN_ALPHA:
            return HiddenKind.ZERO_OPACITY
        if self.size_px <= MAX_TINY_PX:
            return HiddenKind.TINY_TEXT
        return HiddenKind.WHITE_TEXT if is_invisible(self.colour[0], self.background) else None

    def child(self, values: Mapping[str, str]) -> Look:
        """Look of a child element with these winning declarations."""
        look = self
        if look.concealed is None and _is_removed(values):
            look = replace(look, concealed=HiddenKind.CSS_HIDDEN)
        if (visibility := values.get("visibility")) in ("visible", "hidden", "collapse", "initial"):
            look = replace(look, visible=visibility in ("visible", "initial"))
        size = _font_size(values, self.size_px)
        if size is not None:
            look = replace(look, size_px=size)
        if (colour := css_colour(values.get("color", ""))) is not None:
            look = replace(look, colour=colour)
        background = _background(values)
        if background is not None:
            look = replace(look, background=background)
        return replace(look, opacity=self.opacity * _opacity(values.get("opacity")))


def _is_removed(values: Mapping[str, str]) -> bool:
    if values.get("display") == "none" or values.get("content-visibility") == "hidden":
        return True
    if (values.get("text-indent") and _is_far_negative(values["text-indent"])) or _is_off_screen(values):
        return True
    if _COLLAPSED_CLIP.match(values.get("clip", "")) or _COLLAPSED_PATH.search(values.get("clip-path", "")):
        return True
    clipped = any(
        values.get(name, "").startswith(("hidden", "clip"))
        for name in ("overflow", "overflow-x", "overflow-y")
    )
    sizes = (
        pixels(values[name]) for name in ("height", "width", "max-height", "max-width") if name in values
    )
    return clipped and any(size is not None and 0 <= size <= 1 for size in sizes)


def _is_off_screen(values: Mapping[str, str]) -> bool:
    if _NO_SCALE.search(values.get("transform", "")):
        return True
    moves = [values.get("margin-left", ""), values.get("margin-top", "")]
    if values.get("position") in ("absolute", "fixed", "relative"):
        moves += [values.get(side, "") for side in ("left", "right", "top", "bottom")]
        if any((pixels(value) or 0) >= 10 * _FAR_PX for value in moves if value):
            return True
    if any(_is_far_negative(value) for value in moves if value):
        return True
    transform = values.get("transform", "")
    return "translate" in transform and any(_is_far_negative(part) for part in _PIXELS.findall(transform))


def _is_far_negative(value: str) -> bool:
    # A percentage is of the parent's size, here taken as the screen's.
    length = pixels(value, relative_to=1000.0 if value.endswith("%") else 0.0)
    return length is not None and length <= -_FAR_PX


def _font_size(values: Mapping[str, str], parent: float) -> float | None:
    value = values.get("font-size", "")
    if not value and (match := _FONT_SIZE.search(values.get("font", ""))):
        value = match.group(1)
    if value in _NAMED_SIZES:
        return _NAMED_SIZES[value]
    if value.endswith("rem"):
        return pixels(value)
    # A parent of size 0 makes every relative size 0.
    return pixels(value, relative_to=parent or 1e-9) if value else None


def _background(values: Mapping[str, str]) -> Rgb | None:
    """Opaque colour behind an element; None when it lets through what is behind it."""
    if "background-color" in values and (found := css_colour(values["background-color"])) and found[1] >= 0.5:
        return found[0]
    shorthand = values.get("background", "") + " " + values.get("background-image", "")
    for token in _COLOUR_TOKEN.findall(re.sub(r"url\([^)]*\)", " ", shorthand)):
        colour = css_colour(token)
        if colour is not None and colour[1] >= 0.5:
            return colour[0]
    return WHITE if "url(" in shorthand else None


def _opacity(value: str | None) -> float:
    try:
        if not value:
            return 1.0
        return min(max(float(value.rstrip("%")) / (100 if value.endswith("%") else 1), 0.0), 1.0)
    except ValueError:
        return 1.0
