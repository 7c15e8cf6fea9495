"""Faults planted into the reader of live files: a handful of planted folders must notice each."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from types import ModuleType

import pytest

from secure_rag_acl.formats import posix_live
from secure_rag_acl.formats.native import ItemProblem, NativePermissions
from tests.controls import control
from tests.support.native_readers import may_read

STRANGER = ["posix-uid:61009", "posix-other"]
FILE, FOLDER = (
    "_FILE: Final = os.O_PATH | os.O_NOFOLLOW",
    "_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW",
)
MUTANTS: dict[str, tuple[tuple[str, str], ...]] = {
    "links to files are followed": ((FILE, "_FILE: Final = os.O_PATH"),),
    "links to folders are followed": ((FOLDER, "_FOLDER: Final = os.O_PATH | os.O_DIRECTORY"),),
    "folders are documents": (("yield _seen(file, path, is_folder=False)", "yield _seen(file, path)"),),
    "one reading is enough": (("below_root=below_root)) != first:", "below_root=below_root)) is first:"),),
    "changes back and forth are missed": (("0 if is_folder else status.st_ctime_ns", "0"),),
    "folders above never count": (("if not below_root:", "if False:"),),
    "folders above always count": (("if not below_root:", "if True:"),),
    "only the nearest folder above counts": (("            current = parent\n", "            return\n"),),
    "folders are read, not searched": (("guard(SEARCH,", "guard(READ,"),),
    "files are searched, not read": (("guard(READ,", "guard(SEARCH,"),),
    "lists are ignored": (("if seen.access is None:", "if True:"),),
    "a list against the mode counts": (("!= seen.mode & 0o777:", "== -1:"),),
    "lists of servers are passed over": (("if _attribute(descriptor, name, path) is not None:", "if False:"),),
    "unreadable lists are none": (("if error.errno in _ABSENT:", "if True:"),),
    "hidden accounts have names": (("if number == (self.hidden_user", "if -1 == (self.hidden_user"),),
}  # fmt: skip


@pytest.fixture
def root() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        for name, mode in (
            ("plain", 0o644),
            ("a/f", 0o644),
            ("shut/in/deep/f", 0o644),
            ("own", 0o600),
            ("run", 0o111),
        ):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text("text", encoding="utf-8")
            (path / name).chmod(mode)
        (path / "shut").chmod(0o744)  # its names can be read, and nobody else gets through
        (path / "link").symlink_to("plain")
        (path / "way").symlink_to("a")
        yield path


def unnoticed(module: ModuleType, root: Path) -> bool:
    """Whether a reader passes for the real one."""
    numbers = module.Accounts()

    def read(path: str, below: Path = root, **options: object) -> object:
        return module.read_live(below, path, **{"accounts": numbers, "below_root": True, **options})

    def admits(found: object) -> bool:
        return isinstance(found, NativePermissions) and may_read(found, STRANGER, 0)

    def withheld(found: object) -> bool:
        return isinstance(found, ItemProblem)

    return (
        admits(read("plain"))
        and admits(read("f", root / "shut" / "in" / "deep"))
        and not any(admits(read(x)) for x in ("own", "run", "shut/in/deep/f"))
        and not admits(read("f", root / "shut" / "in" / "deep", below_root=False))
        and all(withheld(read(x)) for x in ("link", "way/f", "a"))
        and withheld(_while(root, read, "fstat", _changed_for_good))
        and withheld(_while(root, read, "fstat", _changed_back_and_forth))
        and withheld(_with_attribute(read, "system.nfs4_acl", b"x"))
        and withheld(_with_attribute(read, "system.posix_acl_access", _list(4, 4, 4)))
        and not admits(_with_attribute(read, "system.posix_acl_access", _list(6, 4, 4, user=61_009)))
        and withheld(_with_attribute(read, "system.posix_acl_access", None))
        and _refuses_hidden(module, root)
    )


def _refuses_hidden(module: ModuleType, root: Path) -> bool:
    (root / "plain").chmod(0o604)
    found = module.read_live(
        root, "plain", below_root=True, accounts=module.Accounts(hidden_group=os.getgid())
    )
    (root / "plain").chmod(0o644)
    return bool(found.locks[0].closed)


def _list(owner: int, group: int, other: int, user: int | None = None) -> bytes:
    entries = [(1, owner, 0xFFFFFFFF), (4, group, 0xFFFFFFFF), (32, other, 0xFFFFFFFF)]
    if user is not None:
        entries[1:1] = [(2, 0, user)]
        entries.append((16, 4, 0xFFFFFFFF))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in entries)


def _with_attribute(read: Callable[[str], object], name: str, value: bytes | None) -> object:
    real = os.getxattr

    def getxattr(path: str, wanted: str) -> bytes:
        if wanted != name:
            return real(path, wanted)
        if value is None:
            raise PermissionError(13, "Permission denied")
        return value

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getxattr", getxattr)
        return read("plain")


def _while(root: Path, read: Callable[[str], object], name: str, change: Callable[[Path], None]) -> object:
    """Read `a/f`, changing it when root, folder and file have been looked at once."""
    real, calls = os.fstat, 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        found = real(descriptor)
        if calls == 3:
            change(root / "a" / "f")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, fstat)
        return read("a/f")


def _changed_for_good(path: Path) -> None:
    path.chmod(0o640)


def _changed_back_and_forth(path: Path) -> None:
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.chmod(mode)


def _mutate(replacements: tuple[tuple[str, str], ...]) -> ModuleType:
    source = Path(posix_live.__file__).read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in source, f"the reader no longer holds: {old}"
        source = source.replace(old, new)
    module = ModuleType("mutated_posix_live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102 -- our own source, changed
    return module


def test_the_reader_passes(root: Path) -> None:
    assert unnoticed(posix_live, root)


@control("acl:posix-live")
@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_planted_fault_is_noticed(name: str, root: Path) -> None:
    assert not unnoticed(_mutate(MUTANTS[name]), root)
