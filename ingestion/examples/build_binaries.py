"""Build the binary documents of the sample companies from their manuscripts.

A Word file does not diff. So every docx, xlsx, pptx and pdf of the sample companies has a manuscript,
``manuscripts/TENANT/SOURCE/PATH.EXTENSION.md``, which people edit and review; this script turns each into
``TENANT/documents/SOURCE/PATH.EXTENSION``. The built files are committed, so nobody needs the script to use
the samples.

    python ingestion/examples/build_binaries.py           # write the files
    python ingestion/examples/build_binaries.py --check   # exit code 1 if a committed file differs

The same manuscript always gives the same bytes: times come from the manuscript, and zip members are stored
without compression, because compressors differ between zlib builds.

Manuscripts are a small part of Markdown: ``key: value`` lines between ``---``, then ``# title``,
``## heading`` (a slide in pptx, a sheet in xlsx), ``- bullets``, ``| table | rows |`` and paragraphs.
A line that starts with ``!`` plants something that a reader does not see:

* ``!vanish text``: a Word run with the *hidden* attribute
* ``!white text``: a Word run in white, one point high
* ``!smuggle text``: plain text carried by invisible Unicode tag characters (txt only)
* ``!notes text``: speaker notes of the slide (pptx only; not planted, just not on the slide)
"""

from __future__ import annotations

import argparse
import html
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
from docx.oxml.ns import qn
from docx.shared import Pt, RGBColor
from openpyxl.styles import Font
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

EXAMPLES = Path(__file__).resolve().parent
MANUSCRIPTS = EXAMPLES / "manuscripts"
DIRECTIVES = ("vanish", "white", "smuggle", "notes")
DOCX_STYLES = {
    "Normal", "Title", "Heading 1", "List Bullet", "Table Grid", "Default Paragraph Font", "Normal Table", "No List",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """One piece of a manuscript: ``kind`` is heading, bullet, row, text or a directive."""

    kind: str
    text: str

    @property
    def cells(self) -> list[str]:
        """The cells of a table row."""
        return [cell.strip() for cell in self.text.strip().strip("|").split("|")]


@dataclass(frozen=True, slots=True)
class Manuscript:
    """A parsed manuscript."""

    title: str
    author: str
    created: datetime
    blocks: tuple[Block, ...]


class ManuscriptError(ValueError):
    """A manuscript that cannot be built; the message names the file."""


def parse(path: Path) -> Manuscript:
    """Read a manuscript."""
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    meta = dict(line.split(": ", 1) for line in front.strip().splitlines())
    blocks = list(_blocks(body))
    if not blocks or blocks[0].kind != "title":
        raise ManuscriptError(f"{path}: the first block must be a '# title'")
    created = datetime.fromisoformat(meta["created"]).replace(tzinfo=UTC)
    return Manuscript(blocks[0].text, meta["author"], created, tuple(blocks[1:]))


def _blocks(body: str) -> Iterator[Block]:
    paragraph: list[str] = []
    for line in [*body.splitlines(), ""]:
        block = _special(line)
        if block is None and line.strip():
            paragraph.append(line.strip())
            continue
        if paragraph:
            yield Block("text", " ".join(paragraph))
            paragraph = []
        if block is not None:
            yield block


def _special(line: str) -> Block | None:
    for prefix, kind in (("# ", "title"), ("## ", "heading"), ("- ", "bullet"), ("| ", "row")):
        if line.startswith(prefix):
            return Block(kind, line if kind == "row" else line.removeprefix(prefix).strip())
    for name in DIRECTIVES:
        if line.startswith(f"!{name} "):
            return Block(name, line.removeprefix(f"!{name} ").strip())
    return None


def _grouped(blocks: tuple[Block, ...]) -> Iterator[list[Block]]:
    """Yield neighbouring table rows as one group and every other block alone."""
    group: list[Block] = []
    for block in blocks:
        if group and not (block.kind == "row" and group[-1].kind == "row"):
            yield group
            group = []
        group.append(block)
    if group:
        yield group


def _sections(manuscript: Manuscript) -> Iterator[tuple[str, list[Block]]]:
    """Yield (heading, blocks) for slides and sheets; text before the first heading belongs to the title."""
    heading, blocks = manuscript.title, list[Block]()
    for block in manuscript.blocks:
        if block.kind == "heading":
            if blocks or heading != manuscript.title:
                yield heading, blocks
            heading, blocks = block.text, []
        else:
            blocks.append(block)
    yield heading, blocks


def _same_bytes(package: bytes, created: datetime) -> bytes:
    """Rewrite an Office package with fixed times and without compression."""
    stamp = f"{created:%Y-%m-%dT%H:%M:%SZ}".encode()
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "docProps/core.xml":  # openpyxl writes the time of saving here
                data = re.sub(rb"(<dcterms:(?:created|modified)[^>]*>)[^<]*", rb"\g<1>" + stamp, data)
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o600 << 16
            new.writestr(info, data)
    return result.getvalue()


def _set_properties(properties: Any, manuscript: Manuscript) -> None:  # noqa: ANN401 - three libraries, one shape
    properties.title, properties.author = manuscript.title, manuscript.author
    properties.created = properties.modified = manuscript.created.replace(tzinfo=None)
    properties.last_modified_by = manuscript.author


def build_docx(manuscript: Manuscript) -> bytes:
    """Build a Word document."""
    document = docx.Document()
    _slim_docx(document)
    _set_properties(document.core_properties, manuscript)
    document.core_properties.comments = ""
    document.add_paragraph(manuscript.title, style="Title")
    for group in _grouped(manuscript.blocks):
        block = group[0]
        if block.kind == "row":
            table = document.add_table(rows=0, cols=len(block.cells), style="Table Grid")
            for row in group:
                for cell, text in zip(table.add_row().cells, row.cells, strict=True):
                    cell.text = text
        elif block.kind in ("vanish", "white"):
            run = document.add_paragraph().add_run(block.text)
            if block.kind == "vanish":
                run.font.hidden = True
            else:
                run.font.color.rgb, run.font.size = RGBColor(255, 255, 255), Pt(1)
        else:
            style = {"heading": "Heading 1", "bullet": "List Bullet"}.get(block.kind, "Normal")
            document.add_paragraph(block.text, style=style)
    buffer = io.BytesIO()
    document.save(buffer)
    return _same_bytes(buffer.getvalue(), manuscript.created)


def _slim_docx(document: Any) -> None:  # noqa: ANN401 - python-docx hides its class behind a factory
    """Drop what the default template brings along and no sample uses (nine tenths of the file)."""
    for rel_id, relation in list(document.part.rels.items()):
        if relation.reltype.rsplit("/", 1)[-1] in ("stylesWithEffects", "customXml"):
            document.part.rels.pop(rel_id)
    for rel_id, relation in list(document.part.package.rels.items()):
        if relation.reltype.endswith("/thumbnail"):
            document.part.package.rels.pop(rel_id)
    styles = document.styles.element
    for style in document.styles:
        if style.name not in DOCX_STYLES:
            styles.remove(style.element)
    for latent in styles.findall(qn("w:latentStyles")):
        styles.remove(latent)


def build_pptx(manuscript: Manuscript) -> bytes:
    """Build a presentation: a title slide, then one slide for each heading."""
    deck = pptx.Presentation()
    _slim_pptx(deck)
    _set_properties(deck.core_properties, manuscript)
    for heading, blocks in _sections(manuscript):
        first = heading == manuscript.title
        slide = deck.slides.add_slide(deck.slide_layouts[0 if first else 1])
        slide.shapes.title.text = heading
        visible = [block for block in blocks if block.kind != "notes"]
        rows = [block for block in visible if block.kind == "row"]
        slide.placeholders[1].text = "\n".join(block.text for block in visible if block.kind != "row")
        if rows:
            _add_slide_table(slide, rows)
        notes = " ".join(block.text for block in blocks if block.kind == "notes")
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    buffer = io.BytesIO()
    deck.save(buffer)
    return _same_bytes(buffer.getvalue(), manuscript.created)


def _slim_pptx(deck: Any) -> None:  # noqa: ANN401 - python-pptx hides its class behind a factory
    for layout in list(deck.slide_layouts)[2:]:
        deck.slide_layouts.remove(layout)
    for owner in (deck.part, deck.part.package):
        for rel_id, relation in list(owner._rels.items()):
            if relation.reltype.rsplit("/", 1)[-1] in ("printerSettings", "thumbnail"):
                owner._rels.pop(rel_id)


def _add_slide_table(slide: Any, rows: list[Block]) -> None:  # noqa: ANN401 - see above
    inch = 914400
    frame = slide.shapes.add_table(
        len(rows), len(rows[0].cells), inch // 2, 7 * inch // 2, 9 * inch, len(rows) * inch // 3
    )
    for at_row, row in enumerate(rows):
        for at_column, text in enumerate(row.cells):
            frame.table.cell(at_row, at_column).text = text


def build_xlsx(manuscript: Manuscript) -> bytes:
    """Build a workbook: one sheet for each heading; text becomes rows of one cell."""
    workbook = openpyxl.Workbook()
    for empty in workbook.worksheets:
        workbook.remove(empty)
    properties = workbook.properties
    properties.title, properties.creator = manuscript.title, manuscript.author
    for heading, blocks in _sections(manuscript):
        first = not workbook.worksheets
        sheet = workbook.create_sheet(heading[:31])
        if first:
            sheet.append([manuscript.title])
        for group in _grouped(tuple(blocks)):
            if group[0].kind == "row":
                for row in group:
                    sheet.append([_number(cell) for cell in row.cells])
                for cell in sheet[sheet.max_row - len(group) + 1]:
                    cell.font = Font(bold=True)
            else:
                sheet.append([group[0].text])
        for column in "ABCDEFGH":
            sheet.column_dimensions[column].width = 22
    buffer = io.BytesIO()
    workbook.save(buffer)
    return _same_bytes(buffer.getvalue(), manuscript.created)


def _number(text: str) -> str | int | float:
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?\d+\.\d+", text) else text


def build_pdf(manuscript: Manuscript) -> bytes:
    """Build a PDF with the standard fonts."""
    styles = getSampleStyleSheet()
    story: list[Any] = [Paragraph(html.escape(manuscript.title), styles["Title"])]
    for group in _grouped(manuscript.blocks):
        block = group[0]
        if block.kind == "row":
            cells = [
                [Paragraph(html.escape(text), styles["BodyText"]) for text in row.cells] for row in group
            ]
            # No coloured header: white letters on a dark cell look like hidden text to a scanner, and rightly.
            story.append(Table(cells, style=TableStyle([("GRID", (0, 0), (-1, -1), 0.5, "black")])))
            story.append(Spacer(1, 8))
        elif block.kind == "bullet":
            story.append(Paragraph(html.escape(block.text), styles["BodyText"], bulletText="-"))
        else:
            style = styles["Heading2" if block.kind == "heading" else "BodyText"]
            story.append(Paragraph(html.escape(block.text), style))
    buffer = io.BytesIO()
    SimpleDocTemplate(
        buffer, pagesize=A4, title=manuscript.title, author=manuscript.author, invariant=1, pageCompression=0
    ).build(story)
    return buffer.getvalue()


def build_txt(manuscript: Manuscript) -> bytes:
    """Build a plain text file; ``!smuggle`` text goes into tag characters, which no editor shows."""
    lines = [manuscript.title]
    for block in manuscript.blocks:
        if block.kind == "smuggle":
            lines[-1] += "".join(chr(0xE0000 + ord(letter)) for letter in block.text)
        else:
            lines.append(
                {"bullet": f"- {block.text}", "heading": block.text.upper()}.get(block.kind, block.text)
            )
    return ("\n\n".join(lines) + "\n").encode()


BUILDERS: dict[str, Callable[[Manuscript], bytes]] = {
    ".docx": build_docx, ".pptx": build_pptx, ".xlsx": build_xlsx, ".pdf": build_pdf, ".txt": build_txt,
}  # fmt: skip


def build_all() -> dict[Path, bytes]:
    """Build every manuscript; the result maps the path of each document to its bytes."""
    built: dict[Path, bytes] = {}
    for path in sorted(MANUSCRIPTS.rglob("*.md")):
        tenant, *rest = path.relative_to(MANUSCRIPTS).with_suffix("").parts
        target = EXAMPLES.joinpath(tenant, "documents", *rest)
        built[target] = BUILDERS[target.suffix](parse(path))
    return built


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the binary documents of the sample companies.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a committed file differs"
    )
    check: bool = parser.parse_args(arguments).check
    built = build_all()
    different = 0
    for target, data in built.items():
        if target.exists() and target.read_bytes() == data:
            continue
        different += 1
        print(f"{'differs' if check else 'written'}: {target.relative_to(EXAMPLES)}")
        if not check:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    print(f"{different} of {len(built)} files {'differ' if check else 'written'}")
    return 1 if check and different else 0


if __name__ == "__main__":
    sys.exit(main())
