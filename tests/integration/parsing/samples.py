"""Documents built for the parsing tests. Every builder returns the bytes of a file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from reportlab.pdfgen.canvas import Canvas

PAGE = (612.0, 792.0)


def docx(fill: Callable[[Any], object]) -> bytes:
    document = Document()
    fill(document)
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def xlsx(fill: Callable[[Any], object]) -> bytes:
    workbook = Workbook()
    fill(workbook)
    stream = io.BytesIO()
    workbook.save(stream)
    return stream.getvalue()


def pptx(fill: Callable[[Any], object]) -> bytes:
    presentation = Presentation()
    fill(presentation)
    stream = io.BytesIO()
    presentation.save(stream)
    return stream.getvalue()


def pdf(draw: Callable[[Any], object], **options: Any) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=PAGE, invariant=1, **options)
    draw(canvas)
    canvas.save()
    return stream.getvalue()


def repacked(office: bytes, changes: dict[str, bytes | None]) -> bytes:
    """An office file with some parts replaced, added, or, for None, removed."""
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(office)) as old,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            if info.filename not in changes:
                new.writestr(info.filename, old.read(info))
        for name, content in changes.items():
            if content is not None:
                new.writestr(name, content)
    return stream.getvalue()


def mail(body: str, *, subtype: str = "plain", headers: Iterable[str] = ()) -> bytes:
    lines = [
        "From: Nora Quill <n.quill@acme.example>",
        "To: b.tarn@acme.example",
        "Subject: =?utf-8?q?Caf=C3=A9_budget?=",
        "Date: Tue, 03 Nov 2026 10:00:00 +0000",
        "MIME-Version: 1.0",
        f"Content-Type: text/{subtype}; charset=utf-8",
        *headers,
        "",
        body,
    ]
    return "\r\n".join(lines).encode("utf-8")
