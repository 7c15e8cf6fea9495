"""The part of CSS that decides whether text is seen: rules, media, specificity and the cascade.

Selectors are matched by the HTML engine; this module finds which declaration wins for each element. Rules that
only apply while a person does something (`:hover`) or on paper are left out. A media condition that we do not
know counts as true, so that an odd condition cannot keep a concealing rule from being seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PROPERTIES = frozenset(
    {
        "display",
        "visibility",
        "opacity",
        "font-size",
        "font",
        "color",
        "background",
        "background-color",
        "background-image",
        "position",
        "left",
        "right",
        "top",
        "bottom",
        "text-indent",
        "clip",
        "clip-path",
        "width",
        "height",
        "max-height",
        "max-width",
        "overflow",
        "overflow-x",
        "overflow-y",
        "transform",
        "margin-left",
        "margin-top",
        "content-visibility",
    }
)
VIEWPORT_PX = 1280.0
_ABSOLUTE = {"px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 37.8, "mm": 3.78, "q": 0.945}
_RELATIVE = {"rem": 16.0, "em": 16.0, "vw": 12.8, "vh": 8.0, "ex": 8.0, "ch": 8.0}

_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)([a-z]*|%)\Z")
_DYNAMIC = re.compile(
    r"::|:(?:hover|focus|active|visited|checked|target|before|after|focus-within|focus-visible)\b"
)
_SPECIFIC = re.compile(
    r"(?P<id>#[\w-]+)|(?P<other>\.[\w-]+|\[[^\]]*\]|:[\w-]+)|(?P<tag>(?:^|(?<=[\s>+~(,]))[a-zA-Z][\w-]*)"
)
_WIDTH = re.compile(r"\((min|max)-(?:device-)?width\s*:\s*([^)]+)\)")
_TRANSPARENT_GROUPS = (
    "@supports",
    "@layer",
    "@container",
    "@scope",
    "@document",
    "@-moz-document",
    "@starting-style",
)

Specificity = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Declaration:
    """One property of one rule, with what it takes to win the cascade.

    Attributes:
        name: property, lower case.
        value: lower case, without `!important`.
        weight: (important, inline, specificity, order); the highest wins.
    """

    name: str
    value: str
    weight: tuple[bool, bool, Specificity, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """A selector with the declarations that matter here."""

    selector: str
    declarations: tuple[Declaration, ...]


def rules_of(sheet: str) -> list[Rule]:
    """Rules of a style sheet that apply to a person reading on a screen."""
    found: list[Rule] = []
    for prelude, body in _flat(_COMMENT.sub(" ", sheet)):
        for selector in _split(prelude, ","):
            if not selector or _DYNAMIC.search(selector):
                continue
            order = len(found)
            declarations = tuple(
                _declared(body, inline=False, specificity=_specificity(selector), order=order)
            )
            if declarations:
                found.append(Rule(selector, declarations))
    return found


def inline_declarations(style: str) -> list[Declaration]:
    """Declarations of a style attribute."""
    return list(_declared(_COMMENT.sub(" ", style), inline=True, specificity=(0, 0, 0), order=0))


def pixels(value: str, *, relative_to: float = 0.0) -> float | None:
    """Length in CSS pixels; percentages and `em` of `relative_to` when it is given."""
    match = _LENGTH.match(value.strip())
    if match is None:
        return None
    amount, unit = float(match.group(1)), match.group(2)
    if relative_to and unit in ("%", "em"):
        return amount * relative_to / (100 if unit == "%" else 1)
    if unit == "":
        return 0.0 if amount == 0 else amount  # a bare number: HTML attributes and quirks mode
    scale = _ABSOLUTE.get(unit, _RELATIVE.get(unit))
    return None if scale is None else amount * scale


def _declared(body: str, *, inline: bool, specificity: Specificity, order: int) -> Iterator[Declaration]:
    for piece in _split(body, ";"):
        name, colon, value = piece.partition(":")
        name = name.strip().lower()
        if not colon or name not in PROPERTIES:
            continue
        value = value.strip().lower()
        important = value.endswith("!important") or re.search(r"!\s*important\Z", value) is not None
        value = re.sub(r"\s*!\s*important\Z", "", value)
        yield Declaration(name, value, (important, inline, specificity, order))


def _flat(sheet: str) -> Iterator[tuple[str, str]]:
    """Pairs of selector list and body, with the groups that apply opened."""
    for prelude, body in _blocks(sheet):
        lowered = prelude.lower()
        if not lowered.startswith("@"):
            yield prelude, _own_declarations(body)
        elif lowered.startswith("@media"):
            if media_applies(lowered.removeprefix("@media")):
                yield from _flat(body)
        elif lowered.startswith(_TRANSPARENT_GROUPS):
            yield from _flat(body)


def media_applies(condition: str) -> bool:
    """Whether a media query list applies to a screen of `VIEWPORT_PX`; unknown features count as true."""
    return any(_one_media(query.strip()) for query in _split(condition, ",")) or not condition.strip()


def _one_media(query: str) -> bool:
    if re.match(r"(?:only\s+)?(?:print|speech|aural|braille|embossed|tty)\b", query):
        return False
    if re.match(r"not\s+(?:all|screen)\b", query):
        return False
    for bound, text in _WIDTH.findall(query):
        width = pixels(text)
        if width is not None and (width > VIEWPORT_PX if bound == "min" else width < VIEWPORT_PX):
            return False
    return True


def _blocks(sheet: str) -> Iterator[tuple[str, str]]:
    """Top-level `prelude { body }` pairs; statements without a body are passed over."""
    position = start = 0
    while position < len(sheet):
        character = sheet[position]
        if character in "\"'":
            position = _string_end(sheet, position)
        elif character == ";":
            start = position = position + 1
        elif character == "{":
            end = _closing(sheet, position)
            yield sheet[start:position].strip(), sheet[position + 1 : end]
            start = position = end + 1
        else:
            position += 1


def _closing(sheet: str, opened: int) -> int:
    depth, position = 0, opened
    while position < len(sheet):
        character = sheet[position]
        if character in "\"'":
            position = _string_end(sheet, position)
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position
        position += 1
    return len(sheet)


def _string_end(text: str, opened: int) -> int:
    closed = re.compile(rf"(?:\\.|[^\\{text[opened]}\n])*{text[opened]}?").match(text, opened + 1)
    return max(closed.end() if closed else 0, opened + 1)


def _own_declarations(body: str) -> str:
    """A rule's own declarations, without the rules nested in it."""
    return body if "{" not in body else re.sub(r"[^;{}]*\{[^{}]*\}", "", body)


def _split(text: str, separator: str) -> list[str]:
    """Split outside brackets and strings."""
    pieces: list[str] = []
    depth = position = start = 0
    while position < len(text):
        character = text[position]
        if character in "\"'":
            position = _string_end(text, position)
            continue
        depth += (character in "([") - (character in ")]")
        if character == separator and depth <= 0:
            pieces.append(text[start:position].strip())
            start = position + 1
        position += 1
    pieces.append(text[start:].strip())
    return pieces


def _specificity(selector: str) -> Specificity:
    counts = {"id": 0, "other": 0, "tag": 0}
    for match in _SPECIFIC.finditer(selector):
        counts[match.lastgroup or "tag"] += 1
    return counts["id"], counts["other"], counts["tag"]
