from __future__ import annotations

from typing import Any

from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from secure_rag_ingestion.parsing import media
from secure_rag_ingestion.parsing.model import ParsedDocument
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.integration.parsing import samples


def clean(found: ParsedDocument, mime: str) -> ParsedDocument:
    assert found.mime == mime
    assert found.hidden == ()
    for heading in found.headings:
        assert found.text.startswith(heading.text, heading.offset)
    return found


def test_word(parser: SandboxedParser) -> None:
    def fill(document: Any) -> None:
        document.core_properties.title = "Leave policy"
        document.core_properties.author = "Nora Quill"
        document.add_heading("Parental leave", 1)
        document.add_paragraph("Sixteen weeks at full pay, a_b * c.")
        document.add_heading("Eligibility", 2)
        table = document.add_table(2, 2)
        table.style = "Medium Shading 1 Accent 1"  # white header letters on a dark fill, both from the style
        for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
            cell.text = f"cell {number}"

    found = clean(parser.parse("leave.docx", samples.docx(fill)), media.DOCX)
    assert found.text.startswith("Parental leave\n\nSixteen weeks at full pay, a_b * c.")
    assert "cell 3" in found.text
    assert found.title == "Leave policy"
    assert found.metadata["authors"] == "Nora Quill"
    assert [(heading.level, heading.text) for heading in found.headings] == [
        (1, "Parental leave"),
        (2, "Eligibility"),
    ]


def test_word_text_beside_and_inside_a_text_box_is_kept(parser: SandboxedParser) -> None:
    box = (
        f"<w:r {nsdecls('w')} xmlns:mc='http://schemas.openxmlformats.org/markup-compatibility/2006'"
        " xmlns:wps='http://schemas.microsoft.com/office/word/2010/wordprocessingShape'"
        " xmlns:v='urn:schemas-microsoft-com:vml'><mc:AlternateContent><mc:Choice Requires='wps'><w:drawing><wps:wsp>"
        "<wps:txbx><w:txbxContent><w:p><w:r><w:t>inside the box</w:t></w:r></w:p></w:txbxContent></wps:txbx></wps:wsp>"
        "</w:drawing></mc:Choice><mc:Fallback><w:pict><v:textbox><w:txbxContent><w:p><w:r><w:t>inside the box</w:t>"
        "</w:r></w:p></w:txbxContent></v:textbox></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )

    def fill(document: Any) -> None:
        document.add_paragraph("beside the box")._p.append(parse_xml(box))
        document.add_paragraph("after the box")

    found = clean(parser.parse("box.docx", samples.docx(fill)), media.DOCX)
    for text in ("beside the box", "inside the box", "after the box"):
        assert found.text.count(text) == 1


def test_spreadsheet(parser: SandboxedParser) -> None:
    def fill(workbook: Any) -> None:
        sheet = workbook.active
        assert sheet is not None
        sheet.title = "Budget"
        sheet.append(["Item", "Cost"])
        sheet.append(["Desks", 1200])

    found = clean(parser.parse("budget.xlsx", samples.xlsx(fill)), media.XLSX)
    assert "Desks 1200" in found.text
    assert [heading.text for heading in found.headings] == ["Budget"]


def test_presentation(parser: SandboxedParser) -> None:
    def fill(presentation: Any) -> None:
        for title, body in (("Roadmap", "Ship the gate"), ("Second", "More")):
            slide = presentation.slides.add_slide(presentation.slide_layouts[1])
            slide.shapes.title.text = title
            slide.placeholders[1].text = body

    found = clean(parser.parse("roadmap.pptx", samples.pptx(fill)), media.PPTX)
    assert "Ship the gate" in found.text
    assert found.title == "Roadmap"
    assert [heading.text for heading in found.headings] == ["Roadmap", "Second"]


def test_pdf(parser: SandboxedParser) -> None:
    def draw(canvas: Any) -> None:
        canvas.setTitle("Quarterly report")
        for page in ("Revenue grew by nine percent.", "Outlook for next year."):
            canvas.drawString(72, 700, page)
            canvas.showPage()

    found = clean(parser.parse("report.pdf", samples.pdf(draw)), media.PDF)
    assert found.title == "Quarterly report"
    assert "Revenue grew by nine percent." in found.text
    assert "Outlook for next year." in found.text
    assert "\r" not in found.text


def test_html(parser: SandboxedParser) -> None:
    page = "<title>Wiki</title><h1>Deploy</h1><p>Use the <b>pipeline</b>.</p><blockquote>Never by hand.</blockquote>"
    found = clean(parser.parse("wiki.html", page.encode()), media.HTML)
    assert found.text == "Deploy\n\nUse the pipeline.\n\nNever by hand."
    assert (found.title, [heading.text for heading in found.headings]) == ("Wiki", ["Deploy"])


def test_html_in_the_encoding_that_it_declares(parser: SandboxedParser) -> None:
    page = '<meta charset="iso-8859-2"><p>Zażółć gęślą jaźń</p>'.encode("iso-8859-2")
    assert parser.parse("a.html", page).text == "Zażółć gęślą jaźń"


def test_plain_text_and_markdown_and_csv(parser: SandboxedParser) -> None:
    assert clean(parser.parse("a.txt", b"one\r\ntwo\n"), media.PLAIN).text == "one\ntwo\n"
    assert (
        clean(parser.parse("a.csv", b"name,role\nNora Quill,HR\n"), media.CSV).text
        == "name,role\nNora Quill,HR\n"
    )
    markdown = clean(parser.parse("a.md", b"# Title\n\nBody\n"), media.MARKDOWN)
    assert (markdown.title, markdown.text) == ("Title", "# Title\n\nBody\n")


def test_text_that_is_not_utf8_is_guessed(parser: SandboxedParser) -> None:
    text = "Für die Prüfung der Geräte gelten folgende Maße: fünf Stück je Kiste, größer als üblich."
    assert parser.parse("a.txt", text.encode("cp1252")).text == text
    assert parser.parse("a.txt", text.encode("utf-16")).text == text


def test_mail(parser: SandboxedParser) -> None:
    found = clean(parser.parse("a.eml", samples.mail("Two desks more.\r\n")), media.MAIL)
    assert found.text == (
        "Subject: Café budget\nFrom: Nora Quill <n.quill@acme.example>\nTo: b.tarn@acme.example\n"
        "Date: Tue, 03 Nov 2026 10:00:00 +0000\n\nTwo desks more.\n"
    )
    assert found.title == "Café budget"


def test_mail_body_is_the_alternative_that_mail_programs_show(parser: SandboxedParser) -> None:
    parts = (
        "--b\r\nContent-Type: text/plain\r\n\r\nnobody sees this\r\n"
        "--b\r\nContent-Type: text/html\r\n\r\n<h1>Shown</h1><p>to people</p>\r\n--b--\r\n"
    )
    message = samples.mail(parts).replace(
        b"text/plain; charset=utf-8", b"multipart/alternative; boundary=b", 1
    )
    found = clean(parser.parse("a.eml", message), media.MAIL)
    assert "Shown\n\nto people" in found.text
    assert "nobody" not in found.text
    assert [heading.text for heading in found.headings] == ["Shown"]


def test_attachments_are_counted_and_not_read(parser: SandboxedParser) -> None:
    parts = (
        "--b\r\nContent-Type: text/plain\r\n\r\nsee attached\r\n"
        "--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=x.txt\r\n\r\n"
        "attached\r\n--b--\r\n"
    )
    message = samples.mail(parts).replace(b"text/plain; charset=utf-8", b"multipart/mixed; boundary=b", 1)
    found = clean(parser.parse("a.eml", message), media.MAIL)
    assert "see attached" in found.text
    assert "\nattached" not in found.text
    assert found.metadata["attachments_not_read"] == "1"


def test_files_inside_an_office_file_are_not_read(parser: SandboxedParser) -> None:
    inner = samples.docx(lambda document: document.add_paragraph("text of the inner file"))
    outer = samples.docx(lambda document: document.add_paragraph("text of the outer file"))
    nested = samples.repacked(outer, {"word/embeddings/inner.docx": inner})
    found = parser.parse("nested.docx", nested)
    assert "outer" in found.text
    assert "inner" not in found.text


def test_label_properties_of_office_files_are_kept(parser: SandboxedParser) -> None:
    name = "MSIP_Label_11111111-2222-3333-4444-555555555555_Name"
    custom = (
        '<?xml version="1.0"?><Properties xmlns="http://schemas.openxmlformats.org/officeDocument/2006/custom-properties"'
        ' xmlns:vt="http://schemas.openxmlformats.org/officeDocument/2006/docPropsVTypes"><property fmtid='
        f'"{{D5CDD505-2E9C-101B-9397-08002B2CF9AE}}" pid="2" name="{name}"><vt:lpwstr>Internal</vt:lpwstr></property>'
        "</Properties>"
    )
    plain = samples.docx(lambda document: document.add_paragraph("labelled"))
    found = parser.parse("a.docx", samples.repacked(plain, {"docProps/custom.xml": custom.encode()}))
    assert found.metadata[f"custom_{name}"] == "Internal"
