"""Permissions read from real files: owner, group, mode, the attribute, folders up to `/`, links and changes."""

from __future__ import annotations

import os
import pwd
import struct
import tempfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from secure_rag.errors import ConfigError
from secure_rag_acl.formats.native import ItemProblem, Limits, NativePermissions
from secure_rag_acl.formats.posix_live import Accounts, read_live, system_accounts
from tests.controls import control
from tests.support.native_readers import may_read

ME, MINE = os.getuid(), os.getgid()
NUMBERS = Accounts()
_UNSET = 0xFFFFFFFF


@pytest.fixture
def root() -> Generator[Path]:
    """A folder that everybody may search, in folders that everybody may search."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path


def plant(path: Path, mode: int, entries: list[tuple[int, int, int]] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text", encoding="utf-8")
    path.chmod(mode)
    if entries is not None:
        put_list(path, entries)
    return path


def put_list(path: Path, entries: list[tuple[int, int, int]]) -> None:
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"this file system keeps no access lists: {error.strerror}")


def live(root: Path | int, path: str, *, below_root: bool = True) -> NativePermissions:
    found = read_live(root, path, below_root=below_root, accounts=NUMBERS)
    assert isinstance(found, NativePermissions), found
    return found


def why(root: Path | int, path: str, **options: object) -> str:
    found = read_live(root, path, accounts=NUMBERS, below_root=True, **options)  # type: ignore[arg-type]  # one option of several types
    assert isinstance(found, ItemProblem), found
    return found.why


def names(permissions: NativePermissions) -> list[tuple[str, set[str], set[str]]]:
    return [
        (x.what, {y.principal.name for y in x.allow}, {y.principal.name for y in x.deny})
        for x in permissions.locks
    ]


def test_mode_bits(root: Path) -> None:
    plant(root / "f", 0o640)
    assert names(live(root, "f")) == [("read on f", {f"posix-uid:{ME}", f"posix-gid:{MINE}"}, set())]
    (lock,) = live(root, "f").locks
    assert [(x.entry, x.place) for x in lock.allow] == [("user::rw-", "f mode"), ("group::r--", "f mode")]


def test_the_list_in_the_attribute(root: Path) -> None:
    base = [(1, 6, _UNSET), (2, 4, 61_001), (2, 0, 61_002), (4, 0, _UNSET)]
    plant(root / "f", 0o600, [*base, (8, 4, 62_001), (16, 4, _UNSET), (32, 0, _UNSET)])
    assert names(live(root, "f")) == [
        ("read on f", {f"posix-uid:{ME}", "posix-uid:61001", "posix-gid:62001"}, {"posix-uid:61002"})
    ]


def test_a_default_list_grants_nothing(root: Path) -> None:
    folder = root / "d"
    plant(folder / "f", 0o600)
    folder.chmod(0o711)
    try:
        value = struct.pack("<I", 2) + b"".join(
            struct.pack("<HHI", *x)
            for x in ((1, 7, _UNSET), (2, 7, 61_001), (4, 7, _UNSET), (16, 7, _UNSET), (32, 7, _UNSET))
        )
        os.setxattr(folder, "system.posix_acl_default", value)
    except OSError as error:
        pytest.skip(f"this file system keeps no access lists: {error.strerror}")
    assert names(live(root, "d/f")) == [("read on d/f", {f"posix-uid:{ME}"}, set())]


def test_search_on_every_folder_is_a_lock(root: Path) -> None:
    plant(root / "d" / "e" / "f", 0o644)
    (root / "d").chmod(0o750)
    (root / "d" / "e").chmod(0o700)
    assert [x[0] for x in names(live(root, "d/e/f"))] == ["search on d", "search on d/e", "read on d/e/f"]


def test_folders_above_the_root_count_unless_readers_enter_below(root: Path) -> None:
    plant(root / "shared" / "hr" / "f", 0o644)
    (root / "shared").chmod(0o700)
    below = live(root / "shared" / "hr", "f")
    assert may_read(below, ["posix-uid:1", "posix-other"], 0)
    whole = live(root / "shared" / "hr", "f", below_root=False)
    assert not may_read(whole, ["posix-uid:1", "posix-other"], 0)
    assert f"search on {root / 'shared'}" in ", ".join(x.what for x in whole.locks)


def test_the_real_folders_above_count_when_the_root_is_reached_through_a_link(root: Path) -> None:
    plant(root / "closed" / "hr" / "f", 0o644)
    (root / "closed").chmod(0o700)
    (root / "link").symlink_to(root / "closed" / "hr")
    assert not may_read(live(root / "link", "f", below_root=False), ["posix-uid:1", "posix-other"], 0)


def test_the_root_may_be_a_descriptor(root: Path) -> None:
    plant(root / "f", 0o640)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert names(live(descriptor, "f")) == names(live(root, "f"))
        assert names(live(descriptor, "f", below_root=False))
    finally:
        os.close(descriptor)


def test_the_root_may_be_the_top() -> None:
    found = read_live(Path("/"), "etc/passwd", accounts=NUMBERS)
    assert isinstance(found, NativePermissions), found
    assert may_read(found, ["posix-other"], 0)


def test_no_descriptor_stays_open(root: Path) -> None:
    plant(root / "d" / "f", 0o644)
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- names of descriptors, not paths
    for path in ("d/f", "d/none", "d", "none/f"):
        read_live(root, path)
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- names of descriptors, not paths


# ---- what is withheld


@control("acl:posix-live")
def test_links_are_not_followed(root: Path) -> None:
    plant(root / "d" / "f", 0o644)
    (root / "file").symlink_to(root / "d" / "f")
    (root / "folder").symlink_to(root / "d")
    assert "a link" in why(root, "file")
    assert "without following links" in why(root, "folder/f")


@control("acl:posix-live")
@pytest.mark.parametrize("path", ["", ".", "..", "/", "/f", "d/../f", "d//f", "./f", "f/", "a\nb", "a\udcff"])
def test_paths_that_are_none(root: Path, path: str) -> None:
    plant(root / "f", 0o644)
    assert "not a path" in why(root, path)


def test_what_is_no_file(root: Path) -> None:
    (root / "d").mkdir()
    os.mkfifo(root / "pipe")
    assert "no plain file" in why(root, "pipe")
    assert "No such file" in why(root, "none")
    assert "Not a directory" in why(root, "pipe/f")
    assert "no plain file" in why(root, "d")


def test_deep_files(root: Path) -> None:
    plant(root / "d" / "e" / "f", 0o644)
    assert "more than 1 folders" in why(root, "d/e/f", limits=Limits(max_depth=1))


def test_a_root_that_cannot_be_opened(root: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_live(root / "none", "f")


@control("acl:posix-live")
@pytest.mark.parametrize(
    "change", ["file mode", "folder mode", "other file", "other folder", "back and forth"]
)
def test_what_changes_while_it_is_read_is_withheld(
    root: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root / "d" / "f", 0o644)
    plant(root / "spare" / "f", 0o644)
    real, calls = os.fstat, 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        found = real(descriptor)
        if calls == 3:  # root, folder, file: the end of the first reading
            _change(root, change)
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    assert "changed" in why(root, "d/f")


def _change(root: Path, change: str) -> None:
    match change:
        case "file mode":
            (root / "d" / "f").chmod(0o600)
        case "folder mode":
            (root / "d").chmod(0o700)
        case "other file":
            (root / "spare" / "f").rename(root / "d" / "f")
        case "other folder":
            (root / "d").rename(root / "old")
            (root / "spare").rename(root / "d")
        case _:
            (root / "d" / "f").chmod(0o600)
            (root / "d" / "f").chmod(0o644)


def test_files_created_in_a_folder_change_no_permission(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root / "d" / "f", 0o644)
    real, calls = os.fstat, 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        (root / "d" / f"new{calls}").touch()
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    live(root, "d/f")


@control("acl:posix-live")
@pytest.mark.parametrize("name", ["system.nfs4_acl", "system.cifs_acl", "system.richacl"])
def test_a_server_with_lists_of_its_own_is_refused(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(root / "f", 0o644)
    real = os.getxattr
    monkeypatch.setattr(os, "getxattr", lambda path, wanted: b"x" if wanted == name else real(path, wanted))
    assert f"decides by {name}" in why(root, "f")


def test_an_attribute_that_cannot_be_read_withholds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root / "f", 0o644)

    def refuses(path: str, name: str) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "getxattr", refuses)
    assert "cannot be read: Permission denied" in why(root, "f")


def test_a_list_that_disagrees_with_the_mode_withholds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root / "f", 0o600)
    wide = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", x, 4, _UNSET) for x in (1, 4, 32))
    real = os.getxattr
    monkeypatch.setattr(
        os, "getxattr", lambda path, name: wide if name == "system.posix_acl_access" else real(path, name)
    )
    assert "disagree" in why(root, "f")


# ---- who the numbers are


def test_names_of_this_system(root: Path) -> None:
    plant(root / "f", 0o600)
    found = read_live(root, "f", below_root=True)
    assert isinstance(found, NativePermissions)
    known = system_accounts().user(ME)
    expected = f"posix-uid:{ME}" if known is None else f"posix-user:{known}"
    assert [x.principal.name for x in found.locks[0].allow] == [expected]


@pytest.mark.parametrize("name", ["", "1234", "a\nb", " a"])
def test_a_name_that_cannot_be_one_leaves_the_number(name: str) -> None:
    found = replace(NUMBERS, user=lambda _: name).principal("user", 7)
    assert found is not None
    assert found.name == "posix-uid:7"


def test_a_name_that_leads_to_another_number_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = pwd.getpwuid(0)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    assert system_accounts().user(4711) is None
    assert system_accounts().user(0) == entry.pw_name


def test_the_number_for_all_whom_this_system_cannot_see_names_nobody(root: Path) -> None:
    plant(root / "f", 0o604)
    hidden = replace(NUMBERS, hidden_user=ME)
    plant(root / "g", 0o644)
    granting = read_live(root, "g", below_root=True, accounts=hidden)
    assert isinstance(granting, NativePermissions)
    assert granting.narrowed
    (root / "g").chmod(0o044)
    refusing = read_live(root, "g", below_root=True, accounts=hidden)
    assert isinstance(refusing, NativePermissions)
    assert refusing.locks[0].closed, "somebody is refused, and nobody knows who"
    group = read_live(root, "f", below_root=True, accounts=replace(NUMBERS, hidden_group=MINE))
    assert isinstance(group, NativePermissions)
    assert group.locks[0].closed
