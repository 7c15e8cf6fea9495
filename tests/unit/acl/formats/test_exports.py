"""Exports as files: formats by name, limits, age, and what changes while it is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from secure_rag_acl.formats import exports, registry
from secure_rag_acl.formats.exports import read_export
from secure_rag_acl.formats.native import (
    LIMITS,
    Limits,
    NativeEntry,
    NativeLock,
    NativePermissions,
    NativePrincipal,
    PermissionDump,
)
from secure_rag_ingestion.sources import SourcePermissions, load_manifest

MTIME = 1_700_000_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dump.json"
    path.write_bytes(b"{}")
    os.utime(path, ns=(MTIME * 1_000, MTIME * 1_000))
    return path


def reads(monkeypatch: pytest.MonkeyPatch, dump: PermissionDump) -> None:
    monkeypatch.setattr(exports, "reader", lambda *_, **__: lambda *_: dump)


def test_the_formats_of_manifests_and_readers_are_the_same() -> None:
    assert set(get_args(SourcePermissions.model_fields["format"].annotation)) == set(registry.FORMATS)


@pytest.mark.parametrize("name", [x for x in registry.FORMATS if x != registry.LIVE])
def test_every_format_has_a_reader_that_refuses_rubbish(name: str, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(b"\x00\xffnothing of ours")
    with pytest.raises(ConfigError, match=str(path)):
        read_export(path, name)


@pytest.mark.parametrize("name", ["posix-live", "xml", ""])
def test_another_format_is_refused(name: str, file: Path) -> None:
    with pytest.raises(ConfigError, match="no format of exported permissions"):
        read_export(file, name)


def test_folders_above_the_root_are_of_some_formats_only(file: Path) -> None:
    with pytest.raises(ConfigError, match="below_root"):
        read_export(file, "graph", below_root=True)
    registry.reader("posix", below_root=True)


def test_an_export_is_as_old_as_it_says_or_as_its_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, PermissionDump())
    assert read_export(file, "graph").as_of == MTIME
    reads(monkeypatch, PermissionDump(as_of=Micros(5)))
    assert read_export(file, "graph").as_of == 5


def test_what_is_too_large_is_not_read_apart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, PermissionDump())
    with pytest.raises(ConfigError, match="larger than 1 bytes"):
        read_export(file, "graph", limits=Limits(max_bytes=1))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_export(file.with_name("none"), "graph")


def test_limits_hold_whatever_the_reader_lets_through(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = NativeLock("x", tuple(NativeEntry(NativePrincipal(f"t:{n}"), "e", "p") for n in range(3)))
    shared = NativePermissions((lock,))
    reads(monkeypatch, PermissionDump({"a": shared, "b": shared}))
    assert len(read_export(file, "graph", limits=Limits(max_items=2, max_entries=3)).dump.items) == 2
    with pytest.raises(ConfigError, match="more than 1 items"):
        read_export(file, "graph", limits=Limits(max_items=1))
    with pytest.raises(ConfigError, match="more than 2 entries"):
        read_export(file, "graph", limits=Limits(max_entries=2))


def test_what_changes_while_it_is_read_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads(monkeypatch, PermissionDump())
    real, seen = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        seen.append(descriptor)
        if len(seen) == 2:
            file.write_bytes(b"{} and more")
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(ConfigError, match="changed while it was read"):
        read_export(file, "graph", limits=LIMITS)


MANIFEST = """\
id: share
tenant: acme
kind: filesystem
root: documents
mapping: mapping.yaml
trust: internal
max_acl_age: 1d
"""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("permissions: {format: ntfs}", "`file` names the export"),
        ("permissions: {format: posix-live, file: x}", "only posix-live has none"),
        ("permissions: {format: graph, file: x, below_root: true}", "knows no folders above the root"),
        ("permissions: {format: acl, file: x}", "permissions.format"),
        ("permissions: {format: graph, file: x, limit: 3}", "permissions.limit"),
        ('permissions: {format: graph, file: "a\\u0007"}', "control characters"),
        ("sidecars: authoritative\npermissions: {format: posix-live}", "leave out one"),
    ],
)
def test_a_malformed_manifest_is_refused(more: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "source.yaml"
    path.write_text(MANIFEST + more, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_manifest(path)
    assert said in str(caught.value)


def test_the_export_of_a_manifest_starts_at_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "source.yaml"
    path.write_text(
        MANIFEST + "permissions: {format: posix, file: acl.txt, below_root: true}", encoding="utf-8"
    )
    found = load_manifest(path).permissions
    assert found is not None
    assert (found.format, found.file, found.below_root) == ("posix", tmp_path / "acl.txt", True)
    path.write_text(MANIFEST, encoding="utf-8")
    assert load_manifest(path).permissions is None
