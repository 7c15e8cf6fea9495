"""Measures what the parsing sandbox costs for each format.

    python -m benchmarks.parsing_sandbox [ROUNDS]

`sandbox` is the time of one document through `SandboxedParser`: fork, walls, reading, answer. `plain` is the same
reading in this process, without any wall, after a first one that loads everything. Their difference is the price of the
walls. Medians; compare inside one run only. The last line is JSON.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable

from docx import Document
from openpyxl import Workbook
from pptx import Presentation
from reportlab.pdfgen.canvas import Canvas

from secure_rag_ingestion.parsing.extract import extract
from secure_rag_ingestion.parsing.media import BY_EXTENSION
from secure_rag_ingestion.parsing.sandbox import SandboxedParser

ROUNDS = 21
SENTENCE = (
    "The quarterly review of the packing line found two faults and one improvement that pays for both. "
)


def word() -> bytes:
    """42 paragraphs under six headings."""
    document = Document()
    for number in range(42):
        if number % 7 == 0:
            document.add_heading(f"Part {number // 7 + 1}", 1)
        document.add_paragraph(SENTENCE * 3)
    return _saved(document.save)


def sheet() -> bytes:
    """300 rows of five cells."""
    workbook = Workbook()
    active = workbook.active
    for number in range(300):
        active.append([f"Article {number}", number, number * 1.5, "Port Callan", SENTENCE[:40]])
    return _saved(workbook.save)


def slides() -> bytes:
    """20 slides with a title and a body."""
    presentation = Presentation()
    for number in range(20):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = SENTENCE * 2
    return _saved(presentation.save)


def pages() -> bytes:
    """30 pages of 45 lines."""
    stream = io.BytesIO()
    canvas = Canvas(stream)
    for _ in range(30):
        for line in range(45):
            canvas.drawString(60, 780 - 16 * line, SENTENCE)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def page() -> bytes:
    """40 paragraphs with a style sheet."""
    body = "".join(f"<h2>Part {number}</h2><p class=note>{SENTENCE * 3}</p>" for number in range(40))
    return f"<title>Review</title><style>.note{{color:#222}}.menu{{display:block}}</style>{body}".encode()


def mail() -> bytes:
    """A message of 40 lines."""
    head = (
        "From: Nora Quill <n.quill@acme.example>\nSubject: Review\nDate: Tue, 3 Nov 2026 10:00:00 +0000\n\n"
    )
    return (head + f"{SENTENCE}\n" * 40).encode()


def text() -> bytes:
    """120 sentences."""
    return (SENTENCE * 120).encode()


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "docx": word,
    "xlsx": sheet,
    "pptx": slides,
    "pdf": pages,
    "html": page,
    "eml": mail,
    "csv": text,
    "md": text,
    "txt": text,
}


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def _median_ms(work: Callable[[], object], rounds: int) -> float:
    work()
    times: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


def main(rounds: int) -> None:
    """Measure, print a table and one JSON line."""
    documents = {name: build() for name, build in DOCUMENTS.items()}
    started = time.perf_counter()
    figures: dict[str, dict[str, float]] = {}
    with SandboxedParser() as parser:
        start_ms = (time.perf_counter() - started) * 1000
        walls = [layer.name for layer in parser.layers if layer.holds]
        for name, data in documents.items():
            figures[name] = {
                "sandbox_ms": _median_ms(lambda d=data, n=name: parser.parse(f"a.{n}", d), rounds)
            }
    for name, data in documents.items():
        mime = BY_EXTENSION[f".{name}"]
        figures[name]["plain_ms"] = _median_ms(lambda m=mime, d=data: extract(m, d), rounds)
    print(f"start {start_ms:.0f} ms, walls: {', '.join(walls)}")
    print(f"{'format':<8}{'KiB':>8}{'sandbox ms':>12}{'plain ms':>10}{'walls ms':>10}")
    for name, row in figures.items():
        price = row["sandbox_ms"] - row["plain_ms"]
        size = len(documents[name]) / 1024
        print(f"{name:<8}{size:>8.1f}{row['sandbox_ms']:>12.1f}{row['plain_ms']:>10.1f}{price:>10.1f}")
    print(
        json.dumps({"benchmark": "parsing_sandbox", "start_ms": start_ms, "walls": walls, "formats": figures})
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
