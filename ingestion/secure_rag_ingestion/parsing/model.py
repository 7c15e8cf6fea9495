"""What callers of the parser receive and catch."""

from __future__ import annotations

from secure_rag.errors import IngestionError
from secure_rag_ingestion.parsing.document import (
    EXCERPT_CHARS,
    Heading,
    HiddenKind,
    HiddenText,
    ParsedDocument,
    ParseReason,
)

__all__ = [
    "EXCERPT_CHARS",
    "Heading",
    "HiddenKind",
    "HiddenText",
    "ParseFailure",
    "ParseReason",
    "ParsedDocument",
]


class ParseFailure(IngestionError):  # noqa: N818 - names what happened to the document, as run items do
    """A document could not be parsed; nothing of it may be used.

    Attributes:
        reason: what a run item records.
        detail: fixed words for a person; never content of the document.
    """

    def __init__(self, reason: ParseReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
