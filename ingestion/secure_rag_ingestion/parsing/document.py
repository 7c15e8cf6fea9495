"""What a parse yields. Light on purpose: the confined process imports it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

EXCERPT_CHARS = 200


class HiddenKind(StrEnum):
    """How a piece of text is kept from a person who opens the document."""

    VANISH = "vanish"  # marked as hidden text, or a shape switched off
    WHITE_TEXT = "white_text"  # in the colour of its background, mostly white on white
    TINY_TEXT = "tiny_text"  # too small to be noticed
    HIDDEN_ROW = "hidden_row"
    HIDDEN_COLUMN = "hidden_column"
    HIDDEN_SHEET = "hidden_sheet"  # hidden and "very hidden" sheets
    HIDDEN_FORMAT = "hidden_format"  # a number format that shows nothing
    HIDDEN_SLIDE = "hidden_slide"
    OFF_SLIDE = "off_slide"
    OFF_PAGE = "off_page"
    RENDER_MODE_3 = "render_mode_3"  # PDF text that is neither filled nor stroked, with nothing visible there
    OCR_LAYER = "ocr_layer"  # the same, but over a picture that shows something: usual for scanned pages
    COVERED_TEXT = "covered_text"  # under a rectangle or picture that was drawn later
    HIDDEN_LAYER = "hidden_layer"  # PDF layer that is switched off
    ZERO_OPACITY = "zero_opacity"
    CSS_HIDDEN = "css_hidden"  # display, visibility, the hidden attribute, clipped or off-screen
    ALTERNATE_TEXT = "alternate_text"  # a fallback that the usual program never shows
    DELETED_TEXT = "deleted_text"  # the old place of moved text in tracked changes


class ParseReason(StrEnum):
    """Why a document could not be parsed. A closed list: run items store it."""

    EMPTY_EXTRACTION = "empty_extraction"
    UNSUPPORTED_TYPE = "unsupported_type"
    TOO_LARGE = "too_large"
    TIMEOUT = "timeout"
    CPU_LIMIT = "cpu_limit"
    MEMORY_LIMIT = "memory_limit"
    CRASH = "crash"
    OUTPUT_TOO_LARGE = "output_too_large"
    BAD_OUTPUT = "bad_output"
    CORRUPT = "corrupt"
    ARCHIVE_LIMIT = "archive_limit"
    ENCRYPTED = "encrypted"
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"


@dataclass(frozen=True, slots=True)
class HiddenText:
    """Text that is in the document and that a reader of the rendered document does not see.

    Attributes:
        kind: how it is concealed.
        place: where, in the words of the format (`slide 3`, `sheet 'Costs'`, `page 2`, `body`).
        excerpt: its first characters, at most `EXCERPT_CHARS`.
        sha256: of everything concealed in this way at this place, UTF-8, pieces joined by newlines.
    """

    kind: HiddenKind
    place: str
    excerpt: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the document.

    Attributes:
        level: 1 is the highest, 6 the lowest.
        text: the heading itself, which also stands in the document text.
        offset: characters from the start of the document text.
    """

    level: int
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """The text of one document. Everything here was claimed by the document, nothing by its source.

    Attributes:
        text: never empty, valid Unicode, newline-separated.
        title: what the document calls itself, if anything.
        mime: media type that the name and the first bytes agreed on.
        metadata: author, dates, label properties and the like, as text.
        hidden: concealed text, at most one entry for each kind and place.
        headings: in the order of the text.
    """

    text: str
    title: str | None
    mime: str
    metadata: Mapping[str, str]
    hidden: tuple[HiddenText, ...]
    headings: tuple[Heading, ...]


class RefusedError(Exception):
    """Raised behind the walls when a document cannot be read; its detail never quotes the document.

    Attributes:
        reason: what a run item records.
        detail: fixed words about the format, for a person.
    """

    def __init__(self, reason: ParseReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
