"""Reading one file with its sidecar: of one moment, of bounded size, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secure_rag.model.ids import NEVER, Micros
from secure_rag_ingestion.connectors import filesystem
from secure_rag_ingestion.connectors.filesystem import (
    MAX_SIDECAR,
    Fetched,
    FilesystemConnector,
    ItemFailedError,
)
from secure_rag_ingestion.runs import ReasonCode
from tests.controls import control
from tests.support.file_faults import refuse

LIMIT = 1 << 20


def fetch(root: Path, name: str) -> Fetched:
    with FilesystemConnector(root, LIMIT) as connector:
        return connector.fetch(name)


def reason(root: Path, name: str) -> ReasonCode:
    with pytest.raises(ItemFailedError) as caught:
        fetch(root, name)
    return caught.value.reason


class After:
    """Does something after the n-th read of a file; what a writer at the source may do at any moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.actions: dict[int, Callable[[], object]] = {}
        self.always: Callable[[int], object] | None = None
        real = filesystem._read

        def read(*arguments: Any) -> bytes:
            content = real(*arguments)
            self.reads += 1
            self.actions.get(self.reads, lambda: None)()
            if self.always is not None:
                self.always(self.reads)
            return content

        monkeypatch.setattr(filesystem, "_read", read)


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> After:
    return After(monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "plan.txt").write_text("version 1")
    return tmp_path


def test_content_sidecar_and_time(root: Path) -> None:
    os.utime(root / "docs" / "plan.txt", ns=(0, 1_700_000_000_123_456_789))
    (root / "docs" / "plan.txt.acl.yaml").write_text("label: Confidential")
    fetched = fetch(root, "docs/plan.txt")
    inode = (root / "docs" / "plan.txt").stat().st_ino
    signature = f"9:1700000000123456789:{inode}"
    time = Micros(1_700_000_000_123_456)
    assert fetched == Fetched(b"version 1", b"label: Confidential", time, signature=signature)
    with FilesystemConnector(root, 0) as connector:
        assert connector.signature("docs/plan.txt") == signature


def test_times_beyond_the_database_are_bounded(root: Path) -> None:
    assert filesystem._instant(-5) == 0
    assert filesystem._instant(2**90) == NEVER - 1


@control("ingest:content-then-permissions")
def test_a_file_that_changes_between_content_and_permissions_is_read_again(root: Path, after: After) -> None:
    file, sidecar = root / "docs" / "plan.txt", root / "docs" / "plan.txt.acl.yaml"
    sidecar.write_text("label: Internal")

    def becomes_secret() -> None:
        file.write_text("version 2, secret")
        sidecar.write_text("label: Confidential")

    after.actions[1] = becomes_secret
    fetched = fetch(root, "docs/plan.txt")
    assert (fetched.content, fetched.sidecar) == (b"version 2, secret", b"label: Confidential")
    assert after.reads == 4


@control("ingest:content-then-permissions")
def test_a_file_that_is_replaced_by_another_is_read_again(root: Path, after: After) -> None:
    file = root / "docs" / "plan.txt"

    def replaced() -> None:
        # The same size and the same time as before: only the file itself is another one.
        status = file.stat()
        other = root / "docs" / "other"
        other.write_text("VERSION 2")
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.replace(file)

    after.actions[1] = replaced
    assert fetch(root, "docs/plan.txt").content == b"VERSION 2"


@control("ingest:content-then-permissions")
def test_a_file_that_keeps_changing_is_held(root: Path, after: After) -> None:
    file = root / "docs" / "plan.txt"
    after.always = lambda n: file.write_text(f"version {n} " * n)
    assert reason(root, "docs/plan.txt") is ReasonCode.CHANGED_WHILE_READ


@control("ingest:content-then-permissions")
def test_a_sidecar_that_appears_after_it_was_looked_for_counts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = root / "docs" / "plan.txt.acl.yaml"
    real = filesystem._sidecar
    looked: list[bytes | None] = []

    def look(folder: int, name: str) -> tuple[bytes | None, tuple[int, ...] | None]:
        found = real(folder, name)
        looked.append(found[0])
        if len(looked) == 1:
            sidecar.write_text("label: Confidential")
        return found

    monkeypatch.setattr(filesystem, "_sidecar", look)
    fetched = fetch(root, "docs/plan.txt")
    assert fetched.sidecar == b"label: Confidential"
    assert looked[0] is None


@control("ingest:content-then-permissions")
def test_half_of_a_sidecar_is_never_taken_for_a_whole_one(root: Path, after: After) -> None:
    """Its first half can be valid and say less: one lock instead of two."""
    sidecar = root / "docs" / "plan.txt.acl.yaml"
    half = "locks:\n- allow: [everyone]\n"
    sidecar.write_text(half)
    after.actions[2] = lambda: sidecar.write_text(half + "- allow: [group:board]\n")
    fetched = fetch(root, "docs/plan.txt")
    assert fetched.sidecar == (half + "- allow: [group:board]\n").encode()


@control("ingest:content-then-permissions")
def test_a_sidecar_that_keeps_changing_holds_its_document(root: Path, after: After) -> None:
    sidecar = root / "docs" / "plan.txt.acl.yaml"
    sidecar.write_text("label: Internal")
    after.always = lambda n: sidecar.write_text("label: Internal" + " " * n)
    assert reason(root, "docs/plan.txt") is ReasonCode.CHANGED_WHILE_READ


@control("ingest:content-then-permissions")
def test_a_folder_that_is_swapped_between_content_and_permissions(root: Path, after: After) -> None:
    """Content of one folder must not meet the sidecar of another that took its place."""
    (root / "docs" / "plan.txt.acl.yaml").write_text("label: Confidential")
    (root / "open").mkdir()
    (root / "open" / "plan.txt").write_text("harmless")

    def swap() -> None:
        (root / "docs").rename(root / "old")
        (root / "open").rename(root / "docs")

    after.actions[1] = swap
    fetched = fetch(root, "docs/plan.txt")
    assert (fetched.content, fetched.sidecar) == (b"harmless", None)


@control("ingest:content-then-permissions")
def test_a_folder_that_is_swapped_and_swapped_back(root: Path, after: After) -> None:
    (root / "docs" / "plan.txt.acl.yaml").write_text("label: Confidential")
    (root / "open").mkdir()
    (root / "open" / "plan.txt").write_text("harmless")

    def swap() -> None:
        (root / "docs").rename(root / "old")
        (root / "open").rename(root / "docs")

    def back() -> None:
        (root / "docs").rename(root / "open")
        (root / "old").rename(root / "docs")

    after.actions[1] = swap
    after.actions[2] = back
    fetched = fetch(root, "docs/plan.txt")
    assert (fetched.content, fetched.sidecar) == (b"version 1", b"label: Confidential")


def test_a_file_that_vanished(root: Path) -> None:
    assert reason(root, "docs/gone.txt") is ReasonCode.VANISHED
    assert reason(root, "nowhere/gone.txt") is ReasonCode.VANISHED


def test_a_file_that_vanishes_while_it_is_read(root: Path, after: After) -> None:
    after.actions[1] = (root / "docs" / "plan.txt").unlink
    assert reason(root, "docs/plan.txt") is ReasonCode.VANISHED


def test_unreadable_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "plan.txt")
    assert reason(root, "docs/plan.txt") is ReasonCode.UNREADABLE


def test_a_read_error_in_the_middle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", fails)
    assert reason(root, "docs/plan.txt") is ReasonCode.UNREADABLE


@control("ingest:failure-withholds")
def test_a_sidecar_that_cannot_be_read_is_not_taken_for_absent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "docs" / "plan.txt.acl.yaml").write_text("label: Confidential")
    refuse(monkeypatch, "plan.txt.acl.yaml")
    assert reason(root, "docs/plan.txt") is ReasonCode.BAD_SIDECAR


@control("ingest:failure-withholds")
def test_an_unreadable_sidecar_that_appears_later_is_not_taken_for_absent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = filesystem._sidecar

    def look(folder: int, name: str) -> tuple[bytes | None, tuple[int, ...] | None]:
        found = real(folder, name)
        (root / "docs" / "plan.txt.acl.yaml").write_text("label: Confidential")
        refuse(monkeypatch, "plan.txt.acl.yaml")
        return found

    monkeypatch.setattr(filesystem, "_sidecar", look)
    assert reason(root, "docs/plan.txt") is ReasonCode.BAD_SIDECAR


@control("ingest:failure-withholds")
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "large"])
def test_a_sidecar_that_is_no_small_file_holds_its_document(root: Path, kind: str) -> None:
    sidecar = root / "docs" / "plan.txt.acl.yaml"
    if kind == "link":
        (root / "elsewhere.yaml").write_text("label: Public")
        sidecar.symlink_to(root / "elsewhere.yaml")
    elif kind == "folder":
        sidecar.mkdir()
    elif kind == "pipe":
        os.mkfifo(sidecar)
    else:
        sidecar.write_bytes(b"#" * (MAX_SIDECAR + 1))
    assert reason(root, "docs/plan.txt") is ReasonCode.BAD_SIDECAR


def test_a_large_file_is_refused_without_being_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (root / "large.txt").open("wb") as file:
        file.truncate(200 << 20)
    read: list[int] = []
    real = os.read

    def reads(descriptor: int, size: int) -> bytes:
        read.append(size)
        return real(descriptor, size)

    monkeypatch.setattr(os, "read", reads)
    assert reason(root, "large.txt") is ReasonCode.TOO_LARGE
    assert read == []


def test_a_file_that_grows_while_it_is_read_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = root / "docs" / "plan.txt"
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        if status.st_size == len("version 1"):
            with file.open("ab") as growing:
                growing.truncate(8 * LIMIT)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert reason(root, "docs/plan.txt") is ReasonCode.TOO_LARGE
