from __future__ import annotations

import io
import struct
import zipfile

import pytest

from secure_rag_ingestion.parsing.archive import ArchiveLimits, OfficeArchive
from secure_rag_ingestion.parsing.document import ParseReason, RefusedError
from tests.controls import control

LIMITS = ArchiveLimits(entries=10, total_bytes=1 << 20, part_bytes=1 << 16, ratio=50, ratio_from=1 << 10)


def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def refused(data: bytes) -> ParseReason:
    with pytest.raises(RefusedError) as caught:
        OfficeArchive(data, LIMITS)
    return caught.value.reason


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_honest_archive_gives_its_parts(method: int) -> None:
    archive = OfficeArchive(packed({"word/b.xml": b"<a>x</a>", "word/a.xml": b"<a/>"}, method), LIMITS)
    root = archive.xml("word/b.xml")
    assert root is not None
    assert root.text == "x"
    assert archive.names("word/") == ["word/a.xml", "word/b.xml"]
    assert archive.xml("word/missing.xml") is None


@control("parsing:archives-bounded")
def test_too_many_too_large_and_too_dense_archives_are_refused() -> None:
    assert refused(packed({f"{number}.xml": b"" for number in range(11)})) is ParseReason.ARCHIVE_LIMIT
    assert refused(packed({"a": bytes(1 << 21)}, zipfile.ZIP_STORED)) is ParseReason.ARCHIVE_LIMIT
    assert refused(packed({"a": bytes(1 << 19)})) is ParseReason.ARCHIVE_LIMIT


@control("parsing:archives-bounded")
def test_an_entry_larger_than_it_declares_is_refused() -> None:
    data = packed({"a": bytes(200_000)})
    lying = data.replace(struct.pack("<I", 200_000), struct.pack("<I", 900))
    assert lying != data
    assert refused(lying) is ParseReason.ARCHIVE_LIMIT


def test_an_entry_smaller_than_it_declares_is_refused() -> None:
    data = packed({"a": b"0123456789" * 10})
    assert refused(data.replace(struct.pack("<I", 100), struct.pack("<I", 101))) is ParseReason.CORRUPT


@control("parsing:archives-bounded")
def test_overlapping_entries_are_refused() -> None:
    data = bytearray(packed({"a": b"x" * 50, "b": b"y" * 50}, zipfile.ZIP_STORED))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 10)  # its local header is said to be inside the first
    assert refused(bytes(data)) in (ParseReason.ARCHIVE_LIMIT, ParseReason.CORRUPT)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_two_readers_would_see_differently_are_refused() -> None:
    honest = packed({"a.xml": b"<a/>"})
    assert refused(b"something before" + honest) is ParseReason.CORRUPT
    assert refused(honest.replace(b"a.xml", b"b.xml", 1)) is ParseReason.CORRUPT
    assert refused(packed({"a.xml": b"<a/>", "A.xml": b"<b/>"})) is ParseReason.CORRUPT
    assert refused(packed({"a.xml": b"<a/>" * 9}, zipfile.ZIP_BZIP2)) is ParseReason.CORRUPT
    assert refused(honest[:-10]) is ParseReason.CORRUPT
    assert refused(packed({})) is ParseReason.CORRUPT


def test_a_password_is_told_from_damage() -> None:
    data = bytearray(packed({"a.xml": b"<a/>"}))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + flags] |= 1
    assert refused(bytes(data)) is ParseReason.ENCRYPTED


@control("parsing:archives-bounded")
@pytest.mark.parametrize(
    "xml",
    [
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b"<a>",
        b"not xml",
    ],
)
def test_parts_are_plain_xml_or_nothing(xml: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        OfficeArchive(packed({"a.xml": xml}), LIMITS).xml("a.xml")
    assert caught.value.reason is ParseReason.CORRUPT


def test_a_part_above_its_limit_is_not_parsed() -> None:
    archive = OfficeArchive(packed({"a.xml": b"<a/>".ljust(1 << 17)}, zipfile.ZIP_STORED), LIMITS)
    with pytest.raises(RefusedError) as caught:
        archive.xml("a.xml")
    assert caught.value.reason is ParseReason.ARCHIVE_LIMIT
