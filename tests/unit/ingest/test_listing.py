"""Listing a folder: everything in it has a line, nothing outside it has one, and nothing stops it."""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from secure_rag.errors import IngestionError
from secure_rag_ingestion.connectors.filesystem import MAX_DEPTH, FilesystemConnector, ItemFailedError, Listed
from secure_rag_ingestion.runs import ReasonCode
from tests.controls import control
from tests.support.deep_folders import nested
from tests.support.file_faults import refuse

LIMIT = 1 << 20


def listing(root: Path) -> tuple[Sequence[Listed], bool]:
    with FilesystemConnector(root, LIMIT) as connector:
        return list(connector.list()), connector.complete


def problems(root: Path) -> dict[str, ReasonCode | None]:
    found, _ = listing(root)
    return {x.native_id: x.problem for x in found}


def test_files_and_folders_in_name_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found, complete = listing(tmp_path)
    assert [x.native_id for x in found] == ["a/b/c.txt", "a/z.txt", "b.txt", "c"]
    assert complete


def test_an_empty_folder_is_a_complete_listing(tmp_path: Path) -> None:
    assert listing(tmp_path) == ([], True)


@control("ingest:no-links")
def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "inside", outside):
        folder.mkdir(parents=True)
    (outside / "secret.txt").write_text("secret")
    (root / "file.txt").write_text("x")
    (root / "to-file").symlink_to(root / "file.txt")
    (root / "to-outside.txt").symlink_to(outside / "secret.txt")
    (root / "to-folder").symlink_to(outside)
    (root / "inside" / "loop").symlink_to(root)
    (root / "dangling").symlink_to(root / "nothing")
    (root / "up").symlink_to("..")
    found = problems(root)
    links = {"to-file", "to-outside.txt", "to-folder", "inside/loop", "dangling", "up"}
    assert {name for name, problem in found.items() if problem is ReasonCode.LINK} == links
    assert found["file.txt"] is None
    assert set(found) == links | {"file.txt"}
    with FilesystemConnector(root, LIMIT) as connector:
        for name in (
            "to-outside.txt",
            "to-folder/secret.txt",
            "inside/loop/file.txt",
            "../outside/secret.txt",
        ):
            with pytest.raises(ItemFailedError):
                connector.fetch(name)


@control("ingest:no-links")
def test_a_folder_that_becomes_a_link_after_the_listing_leads_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "folder").mkdir(parents=True)
    outside.mkdir()
    (root / "folder" / "a.txt").write_text("inside")
    (outside / "a.txt").write_text("outside")
    with FilesystemConnector(root, LIMIT) as connector:
        assert [x.native_id for x in connector.list()] == ["folder/a.txt"]
        (root / "folder").rename(root / "old")
        (root / "folder").symlink_to(outside)
        with pytest.raises(ItemFailedError) as caught:
            connector.fetch("folder/a.txt")
        assert caught.value.reason in (ReasonCode.LINK, ReasonCode.UNREADABLE)


@control("ingest:no-links")
def test_a_folder_that_becomes_a_link_during_the_listing_makes_it_incomplete(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "x.txt").write_text("x")
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    with FilesystemConnector(root, LIMIT) as connector:
        entries = connector.list()
        assert next(entries).native_id == "a/x.txt"
        (root / "b").rename(tmp_path / "b")
        (root / "b").symlink_to(outside)
        assert [(x.native_id, x.problem) for x in entries] == [("b/", ReasonCode.UNREADABLE)]
        assert not connector.complete


def test_what_is_no_file_is_skipped(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    expected = {"pipe": ReasonCode.NOT_A_FILE, "socket": ReasonCode.NOT_A_FILE}
    if os.geteuid() == 0:
        os.mknod(tmp_path / "device", 0o600 | 0o020000, os.makedev(1, 3))
        expected["device"] = ReasonCode.NOT_A_FILE
    try:
        assert problems(tmp_path) == expected
        found, complete = listing(tmp_path)
        assert all(x.skip for x in found)
        assert complete
        with FilesystemConnector(tmp_path, LIMIT) as connector:
            for name in expected:
                with pytest.raises(ItemFailedError) as caught:
                    connector.fetch(name)
                assert caught.value.reason is ReasonCode.NOT_A_FILE
    finally:
        server.close()


def test_bad_names_are_failures_and_hide_nothing(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path)
    for name in (b"latin-\xe9.txt", b"new\nline.txt", b"plain.txt"):
        Path(os.fsdecode(raw + b"/" + name)).write_text("x")
    folder = Path(os.fsdecode(raw + b"/bad-\xff"))
    folder.mkdir()
    (folder / "inside.txt").write_text("x")
    found, complete = listing(tmp_path)
    assert {x.native_id: x.problem for x in found} == {
        "./bad-\\xff/inside.txt": ReasonCode.BAD_NAME,
        "./latin-\\xe9.txt": ReasonCode.BAD_NAME,
        "./new\\x0aline.txt": ReasonCode.BAD_NAME,
        "plain.txt": None,
    }
    assert not any(x.skip for x in found)
    assert complete


def test_twins_in_case_and_unicode_form_are_two_files(tmp_path: Path) -> None:
    names = ["A.txt", "a.txt", unicodedata.normalize("NFC", "é.txt"), unicodedata.normalize("NFD", "é.txt")]
    for name in names:
        (tmp_path / name).write_text(name)
    assert sorted(problems(tmp_path)) == sorted(names)
    with FilesystemConnector(tmp_path, LIMIT) as connector:
        assert {connector.fetch(name).content.decode() for name in names} == set(names)


@control("ingest:partial-listing")
def test_an_unreadable_folder_makes_the_listing_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("x")
    refuse(monkeypatch, "closed")
    found, complete = listing(tmp_path)
    assert [(x.native_id, x.problem) for x in found] == [
        ("closed/", ReasonCode.UNREADABLE),
        ("open/a.txt", None),
    ]
    assert not complete


def test_a_root_that_is_missing_or_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("missing", "file"):
        with (
            pytest.raises(IngestionError, match="cannot be opened"),
            FilesystemConnector(tmp_path / name, LIMIT),
        ):
            pass


@control("ingest:partial-listing")
def test_a_listing_that_was_not_finished_is_incomplete(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("x")
    with FilesystemConnector(tmp_path, LIMIT) as connector:
        next(connector.list())
        assert not connector.complete


def test_folders_too_deep_are_no_part_of_the_source(tmp_path: Path) -> None:
    """A contributor who nests a thousand folders must neither stop the run nor keep it from being complete."""
    with nested(tmp_path, 1_500, (1, MAX_DEPTH, MAX_DEPTH + 1)):
        found, complete = listing(tmp_path)
        assert [(x.native_id.count("/"), x.problem) for x in found] == [
            (1, None),
            (MAX_DEPTH, None),
            (MAX_DEPTH + 1, ReasonCode.TOO_DEEP),
        ]
        assert complete
        with FilesystemConnector(tmp_path, LIMIT) as connector:
            assert connector.fetch("d/" * MAX_DEPTH + "a.txt").content == b""


def test_sidecars_are_no_documents(tmp_path: Path) -> None:
    for name in ("a.txt", "a.txt.acl.yaml", "gone.txt.acl.yaml", "b.txt", "b.txt.acl.yml"):
        (tmp_path / name).write_text("label: Confidential")
    found = {x.native_id: (x.problem, x.skip) for x in listing(tmp_path)[0]}
    assert found == {
        "a.txt": (None, False),
        "a.txt.acl.yaml": (ReasonCode.SIDECAR, True),
        "b.txt": (ReasonCode.BAD_SIDECAR, False),
        "b.txt.acl.yml": (ReasonCode.ORPHAN_SIDECAR, True),
        "gone.txt.acl.yaml": (ReasonCode.ORPHAN_SIDECAR, True),
    }
