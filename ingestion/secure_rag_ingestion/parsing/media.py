"""Which parser a file gets. Its name and its first bytes must agree, or it gets none.

A file whose name says one thing and whose bytes say another is how one scanner is shown a picture and the next a
document, so a mismatch is refused instead of guessed at.
"""

from __future__ import annotations

import codecs
import re
from pathlib import PurePosixPath

from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason

HEAD_BYTES = 4096

MARKDOWN = "text/markdown"
PLAIN = "text/plain"
HTML = "text/html"
CSV = "text/csv"
MAIL = "message/rfc822"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"

BY_EXTENSION = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".txt": PLAIN,
    ".text": PLAIN,
    ".html": HTML,
    ".htm": HTML,
    ".csv": CSV,
    ".eml": MAIL,
    ".pdf": PDF,
    ".docx": DOCX,
    ".xlsx": XLSX,
    ".pptx": PPTX,
}
OFFICE = frozenset({DOCX, XLSX, PPTX})

OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP_MAGIC = b"PK\x03\x04"
_PDF_WINDOW = 1024  # readers look for the mark in the first kilobyte (ISO 32000-1, Annex H.3.4.1)
# Only marks that no text starts with; everything else that is binary shows itself by its zero bytes.
_BINARY_MAGIC = (
    _ZIP_MAGIC,
    b"PK\x05\x06",
    b"%PDF-",
    OLE_MAGIC,
    b"{\\rtf",
    b"%!PS-Adobe",
    b"\x7fELF",
    b"\x1f\x8b",
    b"\xfd7zXZ",
    b"7z\xbc\xaf",
    b"Rar!\x1a",
    b"\x28\xb5\x2f\xfd",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"SQLite format 3",
)
_WIDE_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAIL_START = re.compile(rb"(?:From [^\r\n]*\r?\n)?[!-9;-~]{1,100}[ \t]*:")  # RFC 5322, section 2.2


def media_type(name: str, head: bytes) -> str:
    """Decide the media type of a file.

    Args:
        name: file name or path; only its extension counts, in any case.
        head: the first bytes of the file, `HEAD_BYTES` are enough.

    Raises:
        ParseFailure: `unsupported_type` when the extension is unknown or the bytes are of another kind.
    """
    extension = PurePosixPath(name).suffix.lower()
    mime = BY_EXTENSION.get(extension)
    if mime is None:
        raise ParseFailure(ParseReason.UNSUPPORTED_TYPE, "no parser for this file name extension")
    if not _agrees(mime, head):
        raise ParseFailure(
            ParseReason.UNSUPPORTED_TYPE, f"the first bytes are not those of a {extension} file"
        )
    return mime


def is_encrypted_office(name: str, data: bytes) -> bool:
    """Say whether this is an office file with a password: an OLE container around an encrypted package."""
    stream_name = "EncryptedPackage".encode("utf-16-le")
    office = BY_EXTENSION.get(PurePosixPath(name).suffix.lower()) in OFFICE
    return office and data.startswith(OLE_MAGIC) and stream_name in data


def _agrees(mime: str, head: bytes) -> bool:
    if mime in OFFICE:
        return head.startswith(_ZIP_MAGIC)
    if mime == PDF:
        return b"%PDF-" in head[:_PDF_WINDOW]
    if mime == MAIL:
        return _is_text(head) and _MAIL_START.match(head.removeprefix(codecs.BOM_UTF8)) is not None
    return _is_text(head)


def _is_text(head: bytes) -> bool:
    if head.startswith(_WIDE_BOMS):
        return True
    return b"\x00" not in head and not head.startswith(_BINARY_MAGIC)
