"""Colours: reading them, and deciding whether text can be seen on a background.

Visibility is the contrast ratio of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio): 1 is the same
colour, 21 is black on white. Below `MIN_CONTRAST` a person sees an empty line.
"""

from __future__ import annotations

import colorsys
import math
import re

Rgb = tuple[int, int, int]

WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)
MIN_CONTRAST = 1.2
MIN_ALPHA = 0.05

_HEX = re.compile(r"#?([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})\Z")
_FUNCTION = re.compile(r"(rgba?|hsla?)\(([^()]*)\)\Z")
# The named colours of CSS Color 4, section 6.1.
_NAMED = dict(
    pair.split("=")
    for pair in [
        "aliceblue=f0f8ff",
        "antiquewhite=faebd7",
        "aqua=00ffff",
        "aquamarine=7fffd4",
        "azure=f0ffff",
        "beige=f5f5dc",
        "bisque=ffe4c4",
        "black=000000",
        "blanchedalmond=ffebcd",
        "blue=0000ff",
        "blueviolet=8a2be2",
        "brown=a52a2a",
        "burlywood=deb887",
        "cadetblue=5f9ea0",
        "chartreuse=7fff00",
        "chocolate=d2691e",
        "coral=ff7f50",
        "cornflowerblue=6495ed",
        "cornsilk=fff8dc",
        "crimson=dc143c",
        "cyan=00ffff",
        "darkblue=00008b",
        "darkcyan=008b8b",
        "darkgoldenrod=b8860b",
        "darkgray=a9a9a9",
        "darkgreen=006400",
        "darkgrey=a9a9a9",
        "darkkhaki=bdb76b",
        "darkmagenta=8b008b",
        "darkolivegreen=556b2f",
        "darkorange=ff8c00",
        "darkorchid=9932cc",
        "darkred=8b0000",
        "darksalmon=e9967a",
        "darkseagreen=8fbc8f",
        "darkslateblue=483d8b",
        "darkslategray=2f4f4f",
        "darkslategrey=2f4f4f",
        "darkturquoise=00ced1",
        "darkviolet=9400d3",
        "deeppink=ff1493",
        "deepskyblue=00bfff",
        "dimgray=696969",
        "dimgrey=696969",
        "dodgerblue=1e90ff",
        "firebrick=b22222",
        "floralwhite=fffaf0",
        "forestgreen=228b22",
        "fuchsia=ff00ff",
        "gainsboro=dcdcdc",
        "ghostwhite=f8f8ff",
        "gold=ffd700",
        "goldenrod=daa520",
        "gray=808080",
        "green=008000",
        "greenyellow=adff2f",
        "grey=808080",
        "honeydew=f0fff0",
        "hotpink=ff69b4",
        "indianred=cd5c5c",
        "indigo=4b0082",
        "ivory=fffff0",
        "khaki=f0e68c",
        "lavender=e6e6fa",
        "lavenderblush=fff0f5",
        "lawngreen=7cfc00",
        "lemonchiffon=fffacd",
        "lightblue=add8e6",
        "lightcoral=f08080",
        "lightcyan=e0ffff",
        "lightgoldenrodyellow=fafad2",
        "lightgray=d3d3d3",
        "lightgreen=90ee90",
        "lightgrey=d3d3d3",
        "lightpink=ffb6c1",
        "lightsalmon=ffa07a",
        "lightseagreen=20b2aa",
        "lightskyblue=87cefa",
        "lightslategray=778899",
        "lightslategrey=778899",
        "lightsteelblue=b0c4de",
        "lightyellow=ffffe0",
        "lime=00ff00",
        "limegreen=32cd32",
        "linen=faf0e6",
        "magenta=ff00ff",
        "maroon=800000",
        "mediumaquamarine=66cdaa",
        "mediumblue=0000cd",
        "mediumorchid=ba55d3",
        "mediumpurple=9370db",
        "mediumseagreen=3cb371",
        "mediumslateblue=7b68ee",
        "mediumspringgreen=00fa9a",
        "mediumturquoise=48d1cc",
        "mediumvioletred=c71585",
        "midnightblue=191970",
        "mintcream=f5fffa",
        "mistyrose=ffe4e1",
        "moccasin=ffe4b5",
        "navajowhite=ffdead",
        "navy=000080",
        "oldlace=fdf5e6",
        "olive=808000",
        "olivedrab=6b8e23",
        "orange=ffa500",
        "orangered=ff4500",
        "orchid=da70d6",
        "palegoldenrod=eee8aa",
        "palegreen=98fb98",
        "paleturquoise=afeeee",
        "palevioletred=db7093",
        "papayawhip=ffefd5",
        "peachpuff=ffdab9",
        "peru=cd853f",
        "pink=ffc0cb",
        "plum=dda0dd",
        "powderblue=b0e0e6",
        "purple=800080",
        "rebeccapurple=663399",
        "red=ff0000",
        "rosybrown=bc8f8f",
        "royalblue=4169e1",
        "saddlebrown=8b4513",
        "salmon=fa8072",
        "sandybrown=f4a460",
        "seagreen=2e8b57",
        "seashell=fff5ee",
        "sienna=a0522d",
        "silver=c0c0c0",
        "skyblue=87ceeb",
        "slateblue=6a5acd",
        "slategray=708090",
        "slategrey=708090",
        "snow=fffafa",
        "springgreen=00ff7f",
        "steelblue=4682b4",
        "tan=d2b48c",
        "teal=008080",
        "thistle=d8bfd8",
        "tomato=ff6347",
        "turquoise=40e0d0",
        "violet=ee82ee",
        "wheat=f5deb3",
        "white=ffffff",
        "whitesmoke=f5f5f5",
        "yellow=ffff00",
        "yellowgreen=9acd32",
    ]
)


def contrast(one: Rgb, other: Rgb) -> float:
    """WCAG contrast ratio of two opaque colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def is_invisible(text: Rgb, background: Rgb | None) -> bool:
    """Say whether text cannot be seen; an unknown background counts as white."""
    return contrast(text, background or WHITE) < MIN_CONTRAST


def hex_rgb(value: str | None) -> Rgb | None:
    """Read RRGGBB or AARRGGBB, the forms of office formats; None for `auto` and anything else."""
    if value is None or not re.fullmatch(r"(?:[0-9a-fA-F]{2})?[0-9a-fA-F]{6}", value):
        return None
    number = int(value[-6:], 16)
    return number >> 16, number >> 8 & 255, number & 255


def adjusted(colour: Rgb, *, factor: float = 1.0, offset: float = 0.0) -> Rgb:
    """Scale and shift the lightness (HLS, 0 to 1) of a colour, as office themes do."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in colour))
    red, green, blue = colorsys.hls_to_rgb(hue, min(max(light * factor + offset, 0.0), 1.0), saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def tinted(colour: Rgb, tint: float) -> Rgb:
    """Apply a spreadsheet tint: negative darkens, positive lightens (ECMA-376, 18.8.19)."""
    if tint < 0:
        return adjusted(colour, factor=1 + max(tint, -1.0))
    return adjusted(colour, factor=1 - min(tint, 1.0), offset=min(tint, 1.0))


def css_colour(value: str) -> tuple[Rgb, float] | None:
    """Read a CSS colour as (RGB, alpha 0 to 1); None when it is not one we know."""
    value = value.strip().lower()
    if value == "transparent":
        return WHITE, 0.0
    value = _NAMED.get(value, value)
    if match := _HEX.match(value):
        return _css_hex(match.group(1))
    if match := _FUNCTION.match(value):
        return _css_function(match.group(1), match.group(2))
    return None


def _css_hex(digits: str) -> tuple[Rgb, float]:
    if len(digits) <= 4:
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue, *alpha = bytes.fromhex(digits)
    return (red, green, blue), alpha[0] / 255 if alpha else 1.0


def _css_function(name: str, body: str) -> tuple[Rgb, float] | None:
    parts = re.split(r"[\s,/]+", body.strip())
    if len(parts) not in (3, 4):
        return None
    try:
        alpha = _ratio(parts[3], 1.0) if len(parts) == 4 else 1.0
        if name.startswith("hsl"):
            hue = float(parts[0].removesuffix("deg")) % 360 / 360
            red, green, blue = colorsys.hls_to_rgb(hue, _ratio(parts[2], 100), _ratio(parts[1], 100))
        else:
            red, green, blue = (_ratio(part, 255) for part in parts[:3])
    except ValueError:
        return None
    return (round(red * 255), round(green * 255), round(blue * 255)), alpha


def _ratio(text: str, full: float) -> float:
    value = float(text.removesuffix("%")) / (100 if text.endswith("%") else full)
    if not math.isfinite(value):
        raise ValueError(text)
    return min(max(value, 0.0), 1.0)


def _luminance(colour: Rgb) -> float:
    def linear(part: int) -> float:
        share = part / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = colour
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
