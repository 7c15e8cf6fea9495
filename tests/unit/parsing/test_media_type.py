from __future__ import annotations

import pytest

from secure_rag_ingestion.parsing import media
from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from tests.controls import control

ZIP = b"PK\x03\x04\x14\x00\x00\x00"


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.md", b"# Title", media.MARKDOWN),
        ("folder/A.MD", b"", media.MARKDOWN),
        ("a.txt", b"PKI for beginners", media.PLAIN),
        ("a.txt", b"MZ-2 is a street", media.PLAIN),
        ("a.txt", "wide".encode("utf-16"), media.PLAIN),
        ("a.csv", b"a,b\n", media.CSV),
        ("a.html", b"<!doctype html>", media.HTML),
        ("a.htm", b"text alone", media.HTML),
        ("a.docx", ZIP, media.DOCX),
        ("a.xlsx", ZIP, media.XLSX),
        ("a.pptx", ZIP, media.PPTX),
        ("a.pdf", b"%PDF-1.7", media.PDF),
        ("a.pdf", b"\n\n%PDF-1.4", media.PDF),
        ("a.eml", b"From: a@acme.example\r\n", media.MAIL),
        ("a.eml", b"From ann Tue Nov 3\nSubject: x\n", media.MAIL),
    ],
)
def test_name_and_bytes_that_agree_give_a_media_type(name: str, head: bytes, expected: str) -> None:
    assert media.media_type(name, head) == expected


@control("parsing:type-agrees")
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a", b"text"),
        ("a.exe", b"MZ"),
        ("a.docx.zip", ZIP),
        ("a.docm", ZIP),
        ("a.txt", ZIP),
        ("a.txt", b"%PDF-1.4"),
        ("a.html", b"\x89PNG\r\n"),
        ("a.md", b"text\x00text"),
        ("a.csv", media.OLE_MAGIC),
        ("a.docx", b"%PDF-1.4"),
        ("a.docx", b"plain"),
        ("a.pdf", ZIP),
        ("a.pdf", b" " * 2000 + b"%PDF-1.4"),
        ("a.eml", b"no header here\n"),
        ("a.eml", b"<html>"),
    ],
)
def test_name_and_bytes_that_disagree_are_refused(name: str, head: bytes) -> None:
    with pytest.raises(ParseFailure) as caught:
        media.media_type(name, head)
    assert caught.value.reason is ParseReason.UNSUPPORTED_TYPE


def test_an_office_file_with_a_password_is_recognised_by_its_container() -> None:
    container = media.OLE_MAGIC + b"\x00" * 100 + "EncryptedPackage".encode("utf-16-le")
    assert media.is_encrypted_office("a.xlsx", container)
    assert not media.is_encrypted_office("a.txt", container)
    assert not media.is_encrypted_office("a.xlsx", media.OLE_MAGIC + b"an old document")
