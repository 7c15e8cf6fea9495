"""Documents that cannot be read, by accident or on purpose: one reason each, and the next document still parses."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption

from secure_rag_ingestion.parsing.media import OLE_MAGIC
from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.sandbox import SandboxedParser, SandboxLimits
from tests.controls import control
from tests.integration.parsing import samples

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def reason(parser: SandboxedParser, name: str, data: bytes) -> ParseReason:
    before = _resident()
    with pytest.raises(ParseFailure) as caught:
        parser.parse(name, data)
    assert _resident() - before < 8 << 20
    assert parser.parse("next.txt", b"the next document").text == "the next document"
    return caught.value.reason


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def word(body: str, prolog: str = "") -> bytes:
    """A Word file with this XML for its text."""
    plain = samples.docx(lambda document: document.add_paragraph("x"))
    document = f'<?xml version="1.0"?>{prolog}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
    return samples.repacked(plain, {"word/document.xml": document.encode()})


def draw(canvas: Any) -> None:
    canvas.drawString(72, 700, "a page")


@pytest.mark.parametrize("name", ["a.txt", "a.docx", "a.pdf", "a.eml", "a.html"])
def test_an_empty_file_is_an_empty_extraction(parser: SandboxedParser, name: str) -> None:
    assert reason(parser, name, b"") is ParseReason.EMPTY_EXTRACTION


def test_files_without_text_are_empty_extractions(parser: SandboxedParser) -> None:
    assert reason(parser, "a.txt", b" \n\t\n") is ParseReason.EMPTY_EXTRACTION
    assert reason(parser, "a.md", b"<!-- only a comment -->") is ParseReason.EMPTY_EXTRACTION
    assert reason(parser, "a.html", b"<script>x()</script>") is ParseReason.EMPTY_EXTRACTION
    assert reason(parser, "a.html", b"<p hidden>concealed</p>") is ParseReason.EMPTY_EXTRACTION
    assert (
        reason(parser, "a.pdf", samples.pdf(lambda canvas: canvas.rect(1, 1, 9, 9)))
        is ParseReason.EMPTY_EXTRACTION
    )
    assert reason(parser, "a.docx", samples.docx(lambda _: None)) is ParseReason.EMPTY_EXTRACTION


def test_a_file_above_the_limit_is_not_sent_anywhere() -> None:
    with SandboxedParser(SandboxLimits(input_bytes=1000)) as small:
        assert reason(small, "a.txt", b"x" * 1001) is ParseReason.TOO_LARGE
        assert small.parse("a.txt", b"x" * 1000).text == "x" * 1000


def test_an_answer_above_the_limit_fails() -> None:
    with SandboxedParser(SandboxLimits(output_bytes=1000)) as small:
        assert reason(small, "a.txt", b"x" * 2000) is ParseReason.OUTPUT_TOO_LARGE


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_cut_off_files_are_corrupt(parser: SandboxedParser, cut: float) -> None:
    office = samples.docx(lambda document: document.add_paragraph("some text"))
    assert reason(parser, "a.docx", office[: int(len(office) * cut)]) is ParseReason.CORRUPT
    pdf = samples.pdf(draw)
    assert reason(parser, "a.pdf", pdf[: int(len(pdf) * cut * 0.5)]) is ParseReason.CORRUPT


def test_garbage_behind_the_right_first_bytes_is_corrupt(parser: SandboxedParser) -> None:
    noise = bytes(range(256)) * 40
    assert reason(parser, "a.pdf", b"%PDF-1.7\n" + noise) is ParseReason.CORRUPT
    assert reason(parser, "a.docx", b"PK\x03\x04" + noise) is ParseReason.CORRUPT
    assert reason(parser, "a.eml", b"X-Nothing: here\r\n\r\n") is ParseReason.CORRUPT
    assert reason(parser, "a.txt", noise.replace(b"\x00", b"\x01")) is ParseReason.CORRUPT


def test_another_office_format_under_the_wrong_name_is_refused(parser: SandboxedParser) -> None:
    sheet = samples.xlsx(lambda workbook: workbook.active.append(["x"]))
    assert reason(parser, "a.docx", sheet) is ParseReason.UNSUPPORTED_TYPE
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("hello.txt", "hello")
    assert reason(parser, "a.xlsx", stream.getvalue()) is ParseReason.UNSUPPORTED_TYPE


@control("parsing:type-agrees")
def test_a_text_file_that_is_an_archive_is_refused(parser: SandboxedParser) -> None:
    office = samples.docx(lambda document: document.add_paragraph("x"))
    assert reason(parser, "notes.txt", office) is ParseReason.UNSUPPORTED_TYPE
    assert reason(parser, "program.bin", office) is ParseReason.UNSUPPORTED_TYPE


def test_passwords_are_told_from_damage(parser: SandboxedParser) -> None:
    locked = samples.pdf(draw, encrypt=StandardEncryption("user", "owner"))
    assert reason(parser, "a.pdf", locked) is ParseReason.ENCRYPTED
    container = OLE_MAGIC + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    assert reason(parser, "a.xlsx", container) is ParseReason.ENCRYPTED


@control("parsing:archives-bounded")
def test_a_zip_bomb_is_refused_before_a_parser_opens_it(parser: SandboxedParser) -> None:
    body = "<w:p><w:r><w:t>" + "A" * (300 << 20) + "</w:t></w:r></w:p>"
    bomb = word(body)
    assert len(bomb) < 1 << 20
    assert reason(parser, "bomb.docx", bomb) is ParseReason.ARCHIVE_LIMIT


@control("parsing:archives-bounded")
def test_a_bomb_in_a_part_that_nobody_reads_is_refused_too(parser: SandboxedParser) -> None:
    plain = samples.docx(lambda document: document.add_paragraph("x"))
    bomb = samples.repacked(plain, {"word/media/image1.png": bytes(200 << 20)})
    assert reason(parser, "bomb.docx", bomb) is ParseReason.ARCHIVE_LIMIT


@control("parsing:archives-bounded")
def test_billion_laughs_and_foreign_entities_are_refused(parser: SandboxedParser) -> None:
    laughs = '<!DOCTYPE d [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + step)} "{f"&{chr(97 + step)};" * 10}">' for step in range(9)
    )
    assert (
        reason(parser, "a.docx", word("<w:p><w:r><w:t>&j;</w:t></w:r></w:p>", laughs + "]>"))
        is ParseReason.CORRUPT
    )
    outside = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    assert (
        reason(parser, "a.docx", word("<w:p><w:r><w:t>&x;</w:t></w:r></w:p>", outside)) is ParseReason.CORRUPT
    )


def test_deeply_nested_documents_fail_or_parse_but_do_no_harm(parser: SandboxedParser) -> None:
    table = "<w:tbl><w:tr><w:tc>"
    deep = table * 3000 + "<w:p><w:r><w:t>x</w:t></w:r></w:p>" + "</w:tc></w:tr></w:tbl>" * 3000
    assert reason(parser, "a.docx", word(deep)) in (ParseReason.CORRUPT, ParseReason.CRASH)
    assert parser.parse("a.html", b"<div>" * 5_000 + b"text").text == "text"
    parts = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(300)
    )
    message = b"Subject: deep\r\n" + parts + b"Content-Type: text/plain\r\n\r\ninside\r\n"
    assert "Subject: deep" in parser.parse("a.eml", message).text


def test_lone_surrogates_of_a_broken_mail_do_not_come_out(parser: SandboxedParser) -> None:
    found = parser.parse("a.eml", b"Subject: caf\xe9 \xff\r\nFrom: a@acme.example\r\n\r\nbody\r\n")
    found.text.encode("utf-8")
    assert "body" in found.text


def test_a_failure_never_quotes_the_document(parser: SandboxedParser) -> None:
    secret = "payroll-figures"
    for name, data in (
        ("a.docx", word(f"<{secret}>")),
        ("a.pdf", f"%PDF-1.7 {secret}".encode()),
        (f"{secret}.xyz", secret.encode()),
        ("a.txt", secret.encode() + b"\x01"),
    ):
        with pytest.raises(ParseFailure) as caught:
            parser.parse(name, data)
        assert secret not in str(caught.value)
