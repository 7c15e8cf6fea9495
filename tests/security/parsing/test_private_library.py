"""kreuzberg loads `$TMPDIR/kreuzberg-pdfium/libpdfium.so` if a file of the right size lies there. Never ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import kreuzberg
import pytest
from pypdfium2 import raw

from secure_rag_ingestion.parsing import extract
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from tests.controls import control
from tests.integration.parsing import samples


def _page(canvas: Any) -> None:
    canvas.drawString(72, 700, "a page")


@control("parsing:private-library")
def test_the_folder_for_temporary_files_is_ours_alone_and_stays_empty() -> None:
    with SandboxedParser() as parser:
        zygote = parser._zygote
        assert zygote is not None
        for name, data in (
            ("a.pdf", samples.pdf(_page)),
            ("a.docx", samples.docx(lambda d: d.add_paragraph("x"))),
        ):
            parser.parse(name, data)
        status = zygote.scratch.stat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid == os.geteuid()
        assert list(zygote.scratch.iterdir()) == []
        folder = zygote.scratch
    assert not folder.exists()


@control("parsing:private-library")
def test_libraries_come_from_the_installation_only() -> None:
    with SandboxedParser() as parser:
        zygote = parser._zygote
        assert zygote is not None
        parser.parse("a.pdf", samples.pdf(_page))
        mapped = {
            line.split(maxsplit=5)[5].strip()
            for line in Path(f"/proc/{zygote.pid}/maps").read_text(encoding="utf-8").splitlines()
            if "pdfium" in line
        }
    installed = {str(path.resolve()) for path in (Path(raw.__file__).parents[1] / "pypdfium2_raw").iterdir()}
    assert mapped
    assert mapped <= installed


@control("parsing:private-library")
def test_the_extractor_is_never_given_a_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("kreuzberg was called")

    monkeypatch.setattr(kreuzberg, "extract_bytes_sync", refuse)
    assert extract.extract(extract.PDF, samples.pdf(_page)).text == "a page"
    with pytest.raises(AssertionError, match="kreuzberg was called"):
        extract.extract(extract.DOCX, samples.docx(lambda document: document.add_paragraph("x")))
