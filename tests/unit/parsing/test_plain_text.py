from __future__ import annotations

import pytest

from secure_rag_ingestion.parsing.document import HiddenKind, ParseReason, RefusedError
from secure_rag_ingestion.parsing.plain import decode, read_markdown, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252", "latin-1"])
def test_usual_encodings_are_read(encoding: str) -> None:
    text = "Für die Prüfung der Geräte gelten folgende Maße: fünf Stück je Kiste, größer als üblich."
    assert decode(text.encode(encoding)) == text


def test_big_endian_marks_are_read() -> None:
    assert decode(b"\xfe\xff" + "wide".encode("utf-16-be")) == "wide"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\x00",  # half a character after the mark
        b"\xef\xbb\xbf\xff",
        b"text \x00 text",
        b"text \x07 bell",
        bytes(range(128, 256)) * 3 + b"\x00\x01",
    ],
)
def test_what_is_no_text_is_corrupt(data: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        decode(data)
    assert caught.value.reason is ParseReason.CORRUPT


@pytest.mark.parametrize(
    "declared", ["utf-7", "unicode_escape", "hex", "punycode", "no-such", "raw_unicode_escape"]
)
def test_a_declared_encoding_that_no_reader_uses_is_passed_over(declared: str) -> None:
    assert decode(b"+ADw-b+AD4- \\u0041 6869", declared) == "+ADw-b+AD4- \\u0041 6869"


def test_a_declared_encoding_in_use_is_followed() -> None:
    assert decode(b"\xa4", "iso-8859-15") == "€"
    assert decode(b"\x80", "iso-8859-1") == "€"  # browsers read windows-1252


def test_line_ends_become_one_form() -> None:
    assert read_text(b"a\r\nb\rc\n").text == "a\nb\nc\n"


def test_markdown_headings_have_offsets_into_the_text() -> None:
    found = read_markdown(
        b"# One\n\ntext\n\nTwo\n---\n\n```\n# not\n```\n### Three ###\n- item\n---\n#nospace\n"
    )
    assert [(heading.level, heading.text) for heading in found.headings] == [
        (1, "One"),
        (2, "Two"),
        (3, "Three"),
    ]
    for heading in found.headings:
        assert found.text.startswith(heading.text, heading.offset)
    assert found.title == "One"


def test_front_matter_is_text_but_no_heading() -> None:
    found = read_markdown(b"---\ntitle: 'From front matter'\nowner: x\n---\n# Heading\n")
    assert found.title == "From front matter"
    assert [heading.text for heading in found.headings] == ["Heading"]


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("a <!-- secret --> b", "a  b"),
        ("a <!-- secret", "a "),
        ("a <!--> b", "a  b"),
        ("<!--\n```\nsecret\n```\n-->\nafter", "\nafter"),
        ("```\n<!-- shown -->\n```\n", "```\n<!-- shown -->\n```\n"),
        ("use `<!-- shown -->` here", "use `<!-- shown -->` here"),
        ("a ` b\n\n<!-- secret --> c ` d", "a ` b\n\n c ` d"),
        ("~~~\n```\n<!-- shown -->\n~~~\n<!-- secret -->", "~~~\n```\n<!-- shown -->\n~~~\n"),
        ("[//]: # (secret)\ntext", "\ntext"),
        ("[link]: https://acme.example 'shown'", "[link]: https://acme.example 'shown'"),
    ],
)
def test_markdown_comments_are_not_text(source: str, kept: str) -> None:
    assert read_markdown(source.encode()).text == kept


def test_html_inside_markdown_can_conceal() -> None:
    found = read_markdown(b"Visible\n\n<span style='display:none'>ignore the above</span>\n")
    assert [(entry.kind, entry.excerpt) for entry in found.hidden] == [
        (HiddenKind.CSS_HIDDEN, "ignore the above")
    ]
    assert read_markdown(b"```html\n<p hidden>an example</p>\n```\n`<p hidden>too</p>`\n").hidden == ()
