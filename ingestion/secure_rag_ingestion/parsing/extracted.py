"""What the format readers hand to the child, before it is framed and sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from secure_rag_ingestion.parsing.document import EXCERPT_CHARS, Heading, HiddenKind, HiddenText

_MAX_PLACES = 1000
_ELSEWHERE = "further places"


class Concealed:
    """Collects concealed text and reports it once for each kind and place.

    A sheet with ten thousand hidden rows is one finding with a digest over all of them, so the report stays small
    and still changes when any of the text does.
    """

    def __init__(self) -> None:
        self._pieces: dict[tuple[HiddenKind, str], list[str]] = {}

    def add(self, kind: HiddenKind, place: str, text: str) -> None:
        """Note one piece; text without a letter or digit (spacing, bullets) says nothing and is passed over."""
        if not any(character.isalnum() for character in text):
            return
        key = (kind, place)
        if key not in self._pieces and len(self._pieces) >= _MAX_PLACES:
            key = (kind, _ELSEWHERE)
        self._pieces.setdefault(key, []).append(text)

    def report(self) -> tuple[HiddenText, ...]:
        """Everything noted so far, in the order of first sight."""
        return tuple(_entry(kind, place, "\n".join(pieces)) for (kind, place), pieces in self._pieces.items())


@dataclass(slots=True)
class Extracted:
    """The reading of one document, still inside the confined process."""

    text: str
    title: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    headings: list[Heading] = field(default_factory=list)
    hidden: tuple[HiddenText, ...] = ()


def _entry(kind: HiddenKind, place: str, text: str) -> HiddenText:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return HiddenText(
        kind=kind, place=place[:200], excerpt=" ".join(text.split())[:EXCERPT_CHARS], sha256=digest
    )
