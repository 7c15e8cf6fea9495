"""Files that no company wants and every company has: each ends in an outcome with a reason, and the run goes on."""

from __future__ import annotations

import io
import os
import unicodedata
import zipfile
from collections.abc import Generator
from pathlib import Path

import pytest

from secure_rag_ingestion.connectors import filesystem
from secure_rag_ingestion.connectors.filesystem import MAX_DEPTH, FilesystemConnector
from secure_rag_ingestion.parsing.model import ParseReason
from secure_rag_ingestion.runs import Outcome, ReasonCode
from tests.controls import control
from tests.support.deep_folders import nested
from tests.support.file_faults import refuse
from tests.support.ingest_home import Source, World, company, files_holding

ACME = Path(__file__).resolve().parents[3] / "ingestion" / "examples" / "acme" / "documents"
GOOD = "wiki/good.txt"


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        yield found


@pytest.fixture
def wiki(tmp_path: Path) -> Source:
    source = Source(tmp_path, "wiki")
    source.write("good.txt", "The pump is changed every second year.")
    return source


def zip_bomb() -> bytes:
    """A .docx whose one part unpacks to 400 MB."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", bytes(400 << 20))
    return packed.getvalue()


def real(name: str) -> bytes:
    return next(ACME.rglob(name)).read_bytes()


def test_every_one_has_its_reason_and_the_rest_is_ingested(world: World, wiki: Source) -> None:
    docx, pdf = real("travel-and-expenses.docx"), real("code-of-conduct.pdf")
    wiki.write("empty.txt", b"")
    wiki.write("blank.txt", b" \n\t\n")
    wiki.write("half.docx", docx[: len(docx) // 2])
    wiki.write("half.pdf", pdf[: len(pdf) // 3])
    wiki.write("noise.docx", b"PK\x03\x04" + os.urandom(5_000))
    wiki.write("renamed.pdf", docx)
    wiki.write("bomb.docx", zip_bomb())
    wiki.write("program.exe", b"MZ" + os.urandom(200))
    with (wiki.folder / "huge.txt").open("wb") as file:
        file.truncate(200 << 20)
    os.mkfifo(wiki.folder / "pipe")
    (wiki.folder / "link").symlink_to("good.txt")
    (Path(os.fsdecode(os.fsencode(wiki.folder) + b"/latin-\xe9.txt"))).write_text("Latin.")
    wiki.write("new\nline.txt", "Line.")
    wiki.sidecar("nothing.txt", label="Public")
    ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    reasons = {name: ran.outcome(name) for name in ran.items}
    assert reasons == {
        "good.txt": ("added", "new"),
        "empty.txt": ("failed", "empty_extraction"),
        "blank.txt": ("failed", "empty_extraction"),
        "half.docx": ("failed", "corrupt"),
        "half.pdf": ("failed", "corrupt"),
        "noise.docx": ("failed", "corrupt"),
        "renamed.pdf": ("failed", "unsupported_type"),
        "bomb.docx": ("failed", "archive_limit"),
        "program.exe": ("failed", "unsupported_type"),
        "huge.txt": ("failed", "too_large"),
        "pipe": ("skipped", "not_a_file"),
        "link": ("skipped", "link"),
        "./latin-\\xe9.txt": ("failed", "bad_name"),
        "./new\\x0aline.txt": ("failed", "bad_name"),
        "nothing.txt.acl.yaml": ("skipped", "orphan_sidecar"),
    }
    assert GOOD in world.ask("user:ann", "pump")
    with world.opened.reader.connect() as connection:
        stored = connection.exec_driver_sql("SELECT native_id, outcome, reason FROM run_item").all()
    assert {row.native_id: (row.outcome, row.reason) for row in stored} == reasons


def test_a_reason_means_one_thing_whoever_gives_it() -> None:
    assert {x.value for x in ReasonCode} & {x.value for x in ParseReason} == {"too_large"}


@control("ingest:failure-withholds")
@pytest.mark.parametrize("how", ["empty", "corrupt", "too_large", "unreadable"])
def test_a_document_that_can_no_longer_be_read_is_withheld_and_comes_back(
    world: World, wiki: Source, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (wiki.folder / "good.txt").read_bytes()
    world.run(wiki)
    with monkeypatch.context() as patched:
        if how == "unreadable":
            refuse(patched, "good.txt")
        elif how == "too_large":
            with (wiki.folder / "good.txt").open("wb") as file:
                file.truncate(200 << 20)
        else:
            wiki.write("good.txt", b"" if how == "empty" else b"%PDF-1.7 no text at all")
        ran = world.run(wiki)
        assert ran.items["good.txt"].outcome is Outcome.FAILED
        assert world.state(GOOD) == "withheld"
        assert world.ask("user:ann", "pump") == set()
        # Again: still withheld, still on record, nothing else happens to it.
        assert world.run(wiki).items["good.txt"].outcome is Outcome.FAILED
        assert world.state(GOOD) == "withheld"
    wiki.write("good.txt", before)
    ran = world.run(wiki)
    assert ran.outcome("good.txt") == ("permission_updated", "confirmed")
    assert ran.report.embedded == 0
    assert world.ask("user:ann", "pump") == {GOOD}


@control("ingest:no-links", "ingest:deletion-erases")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_document_that_became_something_else_is_deleted(world: World, wiki: Source, kind: str) -> None:
    wiki.write("good.txt", "The password of the boiler is zinnober-4711.")
    world.run(wiki)
    assert files_holding(world.root, b"zinnober-4711") != {}
    (wiki.folder / "good.txt").unlink()
    if kind == "link":
        (wiki.folder / "good.txt").symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(wiki.folder / "good.txt")
    elif kind == "folder":
        wiki.write("good.txt/inside.txt", "Something else.")
    ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert ran.outcome("good.txt") == ("deleted", "gone_at_source")
    assert files_holding(world.root, b"zinnober-4711") == {}
    assert world.run(wiki).report.status.value == "completed"


@control("ingest:no-links")
def test_nothing_outside_the_root_is_ever_ingested(world: World, wiki: Source, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("zinnober-4711 about pumps")
    (wiki.folder / "direct.txt").symlink_to(outside / "secret.txt")
    (wiki.folder / "folder").symlink_to(outside)
    (wiki.folder / "good.txt.acl.yaml").symlink_to(outside / "secret.txt")
    ran = world.run(wiki)
    assert ran.outcome("good.txt") == ("failed", "bad_sidecar")
    assert ran.outcome("folder") == ("skipped", "link")
    assert files_holding(world.root, b"zinnober-4711") == {}


@control("ingest:content-then-permissions")
def test_a_document_that_changes_during_the_run_never_has_the_permissions_of_before(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 becomes restricted; the reader of version 1 must not see it, whatever the run reads first."""
    world.run(wiki)
    reads: list[str] = []
    real_sidecar = filesystem._sidecar

    def becomes_secret(folder: int, name: str) -> tuple[bytes | None, tuple[int, ...] | None]:
        if not reads:
            wiki.write("good.txt", "Version two: the secret zinnober about pumps.")
        found = real_sidecar(folder, name)
        if not reads:
            wiki.sidecar("good.txt", locks=[{"allow": ["user:cleo"]}])
        reads.append(name)
        return found

    monkeypatch.setattr(filesystem, "_sidecar", becomes_secret)
    ran = world.run(wiki)
    assert ran.outcome("good.txt") == ("content_updated", "content_changed")
    assert len(reads) == 2
    assert world.ask("user:ann", "zinnober pumps") == set()
    assert world.ask("user:cleo", "zinnober pumps") == {GOOD}


@control("ingest:content-then-permissions", "ingest:failure-withholds")
def test_a_document_that_never_stands_still_is_withheld(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(wiki)
    edits: list[int] = []
    real_sidecar = filesystem._sidecar

    def edited(folder: int, name: str) -> tuple[bytes | None, tuple[int, ...] | None]:
        edits.append(1)
        wiki.write("good.txt", "Another text about pumps." + "!" * len(edits))
        return real_sidecar(folder, name)

    monkeypatch.setattr(filesystem, "_sidecar", edited)
    assert world.run(wiki).outcome("good.txt") == ("failed", "changed_while_read")
    assert world.ask("user:ann", "pumps") == set()
    monkeypatch.undo()
    assert world.run(wiki).outcome("good.txt") == ("content_updated", "content_changed")


def test_a_file_that_vanishes_after_it_was_listed(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki.write("new.txt", "New text about pumps.")
    wiki.write("old.txt", "Old text about pumps.")
    world.run(wiki)
    (wiki.folder / "new.txt").unlink()
    world.run(wiki)
    wiki.write("new.txt", "New text about pumps.")
    listed = FilesystemConnector.list

    def and_then(connector: FilesystemConnector) -> Generator[object]:
        yield from listed(connector)
        (wiki.folder / "new.txt").unlink()
        (wiki.folder / "old.txt").unlink()

    monkeypatch.setattr(FilesystemConnector, "list", and_then)
    ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert ran.outcome("new.txt") == ("skipped", "vanished")
    assert ran.outcome("old.txt") == ("deleted", "gone_at_source")
    assert world.ask("user:ann", "pumps") == {GOOD}


def test_twins_are_two_documents_with_their_own_permissions(world: World, wiki: Source) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é.txt"), unicodedata.normalize("NFD", "é.txt")
    for number, name in enumerate(("A.txt", "a.txt", composed, decomposed)):
        wiki.write(name, f"Twin {number} about pumps.")
    wiki.sidecar("a.txt", locks=[{"allow": ["user:cleo"]}])
    ran = world.run(wiki)
    assert ran.report.outcomes == {"added": 5, "skipped": 1}
    assert world.ask("user:ann", "twin about pumps") == {
        GOOD,
        "wiki/A.txt",
        f"wiki/{composed}",
        f"wiki/{decomposed}",
    }
    # One rule holds for both forms of a name: a file system that decomposes must not make it miss its file.
    wiki.rules = [*wiki.rules, {"path": composed, "allow": ["user:cleo"], "label": "Internal"}]
    world.run(wiki)
    assert world.ask("user:ann", "twin about pumps") == {GOOD, "wiki/A.txt"}


def test_folders_a_thousand_deep_do_not_stop_the_run(world: World, wiki: Source) -> None:
    wiki.write("gone.txt", "To be deleted.")
    world.run(wiki)
    (wiki.folder / "gone.txt").unlink()
    with nested(wiki.folder, 1_200):
        ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert ran.outcome("gone.txt") == ("deleted", "gone_at_source")
    (deepest,) = [name for name in ran.items if name.startswith("d/")]
    assert deepest == "d/" * (MAX_DEPTH + 1)
    assert ran.outcome(deepest) == ("failed", "too_deep")


def test_times_that_no_calendar_has(world: World, wiki: Source) -> None:
    os.utime(wiki.folder / "good.txt", (0, 2**33))
    assert world.run(wiki).outcome("good.txt") == ("added", "new")


def test_names_of_equal_look_do_not_end_the_run(world: World, wiki: Source) -> None:
    """Once both would have been one run item, which the database refuses for the whole run."""
    raw = os.fsencode(wiki.folder)
    for name in (b"a\xff.txt", b"a\\xff.txt", b"a\xff\x01", b"a\\xff\x01"):
        Path(os.fsdecode(raw + b"/" + name)).write_text("Text about pumps.")
    ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert ran.report.outcomes == {"added": 2, "failed": 3}
