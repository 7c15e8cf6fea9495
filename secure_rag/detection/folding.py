"""One folded form of text, so that a rule or a token means the same however the text is dressed up.

Folding undoes what hides words from a pattern while leaving them readable: compatibility forms (full width,
mathematical letters), accents, invisible characters, look-alike letters of other scripts, typographic quotes
and blanks. It keeps upper and lower case. ASCII folds to itself, so most text costs one check.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from functools import lru_cache
from typing import Final

__all__ = ["evidence", "fold", "origins", "tokens", "words"]

EVIDENCE_LIMIT: Final = 200

_NON_ASCII: Final = re.compile(r"[^\x00-\x7f]")

# Drawn like these ASCII letters in common fonts. Small on purpose: the letters that English phrases need.
_LOOKALIKES: Final = (
    str.maketrans(
        "аеорсухіјѕԁһԛԝкмтвнгАВЕКМНОРСТУХІЈЅαοινκρτυηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧօսոհıɑɡɩ",
        "aeopcyxijsdhqwkmtbhrABEKMHOPCTYXIJSaoivkptunwABEZHIKMNOPTYXounhiagi",
    )
    | dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032"), "'")
    | dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033"), '"')
    | dict.fromkeys(range(0x2010, 0x2016), "-")
)
# Invisible although Unicode does not class them as format characters: joiners, Hangul and Braille blanks,
# variation selectors.
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_BLANKS: Final = {"Zs": " ", "Zl": "\n", "Zp": "\n"}

_IDEOGRAPH: Final = (
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TOKEN: Final = re.compile(f"[{_IDEOGRAPH}]|[^\\W_{_IDEOGRAPH}]+")
_IS_IDEOGRAPH: Final = re.compile(f"[{_IDEOGRAPH}]")


@lru_cache(maxsize=65_536)
def _fold_character(character: str) -> str:
    """What one non-ASCII character folds to: nothing, or one or more characters."""
    category = unicodedata.category(character)
    if category in _BLANKS:
        return _BLANKS[category]
    if category == "Cf" or _INVISIBLE.fullmatch(character) or unicodedata.combining(character):
        return ""
    composed = unicodedata.normalize("NFKC", character)
    return "".join(_without_marks(c) for c in composed).translate(_LOOKALIKES)


def _without_marks(character: str) -> str:
    """The base letter; syllables that are no letter with a mark (Hangul) stay whole."""
    parts = unicodedata.normalize("NFD", character)
    return parts[0] if all(unicodedata.combining(c) for c in parts[1:]) else character


def fold(text: str) -> str:
    """Fold text. Every character folds on its own, so `origins` can lead back."""
    return text if text.isascii() else _NON_ASCII.sub(lambda m: _fold_character(m[0]), text)


def origins(text: str) -> array[int]:
    """For each character of `fold(text)`, the index in `text` of the character that it came from.

    So `[start, end)` of the folded text came from `[origins[start], origins[end - 1] + 1)`: invisible characters
    inside belong to the span, those around it do not.
    """
    found = array("q")
    for index, character in enumerate(text):
        width = 1 if character.isascii() else len(_fold_character(character))
        if width:
            found.extend([index] * width)
    return found


def tokens(text: str) -> list[str]:
    """Words of folded text in lower case; each ideograph or kana is one token, since no blanks part those words."""
    return _TOKEN.findall(fold(text).casefold())


def words(found: list[str]) -> float:
    """How many words these tokens are worth: an ideograph counts half, as most words there have two."""
    return sum(0.5 if _IS_IDEOGRAPH.fullmatch(token) else 1.0 for token in found)


def evidence(text: str) -> str:
    """Text as a reviewer should see it: one line, nothing invisible or reordering, at most 200 characters."""
    shown = "".join(_visible(c) for c in text[: EVIDENCE_LIMIT * 2])
    line = " ".join(shown.split())
    return line if len(line) <= EVIDENCE_LIMIT else line[: EVIDENCE_LIMIT - 1] + "…"


def _visible(character: str) -> str:
    if character.isascii():
        return character if character.isprintable() else " "
    hidden = unicodedata.category(character)[0] == "C" or _INVISIBLE.fullmatch(character)
    return f"⟨U+{ord(character):04X}⟩" if hidden else character
