"""From bytes to text, by media type. Runs behind the walls.

Text of Word, Excel and PowerPoint files comes from kreuzberg. PDF comes from pdfium directly. HTML and mail are read
here, because the extractor's plain output drops quotations and definition lists, adds Markdown marks, and cannot tell
visible text from concealed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import kreuzberg

from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.document import Heading, ParseReason, RefusedError
from secure_rag_ingestion.parsing.extracted import Concealed, Extracted
from secure_rag_ingestion.parsing.hidden.docx import DocxScan
from secure_rag_ingestion.parsing.hidden.html import HtmlScan
from secure_rag_ingestion.parsing.hidden.pdf import PdfScan
from secure_rag_ingestion.parsing.hidden.pptx import PptxScan
from secure_rag_ingestion.parsing.hidden.xlsx import XlsxScan
from secure_rag_ingestion.parsing.mail import read_mail
from secure_rag_ingestion.parsing.plain import decode, read_markdown, read_text

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
PDF = "application/pdf"

MAIN_PARTS = {DOCX: "word/document.xml", XLSX: "xl/workbook.xml", PPTX: "ppt/presentation.xml"}
SCANNERS: dict[str, Callable[[OfficeArchive, Concealed], object]] = {
    DOCX: DocxScan,
    XLSX: XlsxScan,
    PPTX: PptxScan,
}
_MAX_METADATA = 100
_MAX_VALUE = 500
_MAX_TITLE = 500
# The names that the office formats use for the same.
_PDF_NAMES = {"Author": "authors", "CreationDate": "created_at", "ModDate": "modified_at"}
_PLACEHOLDERS = frozenset({"", "untitled", "(unspecified)", "(anonymous)", "unspecified", "anonymous"})
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)


def extract(mime: str, data: bytes) -> Extracted:
    """Read a document.

    Raises:
        RefusedError: with the reason why it cannot be read.
    """
    reader = _READERS.get(mime)
    if reader is None:
        raise RefusedError(ParseReason.UNSUPPORTED_TYPE, "no parser for this media type")
    found = reader(data)
    if not found.text.strip():
        raise RefusedError(ParseReason.EMPTY_EXTRACTION, "no text in it")
    title = " ".join((found.title or "").split())[:_MAX_TITLE]
    found.title = None if title.lower() in _PLACEHOLDERS else title
    return found


def kreuzberg_config() -> kreuzberg.ExtractionConfig:
    """Settings of the extractor: nothing cached, no OCR, nothing from files inside the file."""
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,  # type: ignore[call-arg]  # its type stub does not know this option
        include_document_structure=True,
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
    )
    # Embedded files would be text that no detector here has looked at.
    config.max_archive_depth = 0
    return config


def _office(mime: str, data: bytes) -> tuple[OfficeArchive, Concealed, Extracted]:
    archive = OfficeArchive(data)
    if MAIN_PARTS[mime] not in archive:
        raise RefusedError(ParseReason.UNSUPPORTED_TYPE, "not the office format that its name says")
    return archive, Concealed(), _by_kreuzberg(mime, data)


def _docx(data: bytes) -> Extracted:
    archive, concealed, found = _office(DOCX, data)
    # kreuzberg loses the paragraph around a text box; what it lost is put at the end.
    seen = _squeezed(found.text)
    lost = [
        "".join(paragraph.visible).strip()
        for paragraph in DocxScan(archive, concealed).paragraphs
        if paragraph.longest and _squeezed(paragraph.longest) not in seen
    ]
    found.text = "\n\n".join(filter(str.strip, [found.text.rstrip(), *lost]))
    found.hidden = concealed.report()
    return found


def _xlsx(data: bytes) -> Extracted:
    archive, concealed, found = _office(XLSX, data)
    XlsxScan(archive, concealed)
    found.hidden = concealed.report()
    return found


def _pptx(data: bytes) -> Extracted:
    archive, concealed, found = _office(PPTX, data)
    titles = PptxScan(archive, concealed).titles
    found.headings = located([(1, title) for title in titles], found.text)
    found.title = found.title or (titles[0] if titles else None)
    found.hidden = concealed.report()
    return found


def _pdf(data: bytes) -> Extracted:
    # Not by kreuzberg: it would load its own copy of the same library from a folder for temporary files, after the
    # walls are up, and read the file a second time in a second way.
    concealed = Concealed()
    found = PdfScan(data, concealed)
    text = "\n\n".join(page.strip() for page in found.pages if page.strip())
    metadata: dict[str, Any] = {
        _PDF_NAMES.get(name, name.lower()): value for name, value in found.metadata.items()
    }
    return Extracted(
        text=_lines(text),
        title=found.metadata.get("Title"),
        metadata=_flat({**metadata, "page_count": len(found.pages)}),
        hidden=concealed.report(),
    )


def _html(data: bytes) -> Extracted:
    declared = _CHARSET.search(data[:1024])
    concealed = Concealed()
    page = HtmlScan(decode(data, declared.group(1).decode("ascii") if declared else None), "body", concealed)
    return Extracted(text=page.text, title=page.title, headings=page.headings, hidden=concealed.report())


def _by_kreuzberg(mime: str, data: bytes) -> Extracted:
    try:
        result = kreuzberg.extract_bytes_sync(data, mime, config=kreuzberg_config())
    except (kreuzberg.KreuzbergError, ValueError, OSError) as error:
        # Its messages can quote the document, so only the kind of error goes on.
        raise RefusedError(ParseReason.CORRUPT, f"the extractor gave up: {type(error).__name__}") from error
    text = _lines(result.content)
    metadata: dict[str, Any] = dict(result.metadata)
    nodes = (result.document or {"nodes": []})["nodes"]
    contents = [node.get("content", {}) for node in nodes]
    titled = [content for content in contents if content.get("node_type") == "heading"]
    return Extracted(
        text=text,
        title=str(metadata.get("title") or ""),
        metadata=_flat(metadata),
        headings=located(
            [(int(content.get("level", 1)), content.get("text", "")) for content in titled], text
        ),
    )


def located(headings: list[tuple[int, str]], text: str) -> list[Heading]:
    """Find headings in a text, in their order; one that is not there is left out."""
    found: list[Heading] = []
    position = 0
    for level, title in headings:
        line = re.compile(rf"^[ \t]*({re.escape(title)})[ \t]*$", re.MULTILINE).search(text, position)
        offset = line.start(1) if line else text.find(title, position)
        if title.strip() and offset >= 0:
            found.append(Heading(min(max(level, 1), 6), title, offset))
            position = offset + len(title)
    return found


def _flat(metadata: dict[str, Any]) -> dict[str, str]:
    """Plain values as text; nested ones repeat what stands beside them."""
    flat: dict[str, str] = {}
    for name, value in metadata.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = ", ".join(value)
        if isinstance(value, str | int | float) and str(value).strip() and len(flat) < _MAX_METADATA:
            flat[str(name)[:100]] = str(value)[:_MAX_VALUE]
    return flat


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _squeezed(text: str) -> str:
    return "".join(text.split())


_READERS: dict[str, Callable[[bytes], Extracted]] = {
    "text/plain": read_text,
    "text/csv": read_text,
    "text/markdown": read_markdown,
    "text/html": _html,
    "message/rfc822": read_mail,
    DOCX: _docx,
    XLSX: _xlsx,
    PPTX: _pptx,
    PDF: _pdf,
}
