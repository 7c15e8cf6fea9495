"""The readers against the kernel: what another user may really open, and what `getfacl` says of the same files."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from secure_rag_acl.formats import posix_acl
from secure_rag_acl.formats.native import NativeLock, NativePermissions
from secure_rag_acl.formats.posix_live import Accounts, read_live
from tests.controls import control
from tests.support.native_readers import may_read

USERS = (61_001, 61_002, 61_003)
GROUPS = (62_001, 62_002)
PEOPLE = [(user, groups) for user in USERS for groups in ((), (62_001,), (62_002,), GROUPS)]
NUMBERS = Accounts()
_UNSET = 0xFFFFFFFF

CHOWN, FOWNER, SETGID, SETUID = 0, 3, 6, 7


def _capable() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    return all(effective >> bit & 1 for bit in (CHOWN, FOWNER, SETGID, SETUID))


pytestmark = pytest.mark.skipif(not _capable(), reason="only root can become other users")


@pytest.fixture(scope="module")
def root() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        (path / "open").write_text("text", encoding="utf-8")
        (path / "open").chmod(0o644)
        if opened_by(USERS[0], (), path, ["open"]) != [True]:
            pytest.skip("other users do not reach the folder for temporary files")
        yield path


def put_list(path: Path, rng: random.Random, rights: Sequence[int]) -> None:
    """A random owner, group and mode, at times with a list."""
    os.chown(path, rng.choice(USERS), rng.choice(GROUPS))
    path.chmod(rng.choice(rights) << 6 | rng.choice(rights) << 3 | rng.choice(rights))
    if rng.random() < 0.3:
        return
    users = [(2, rng.choice(rights), x) for x in sorted(rng.sample(USERS, rng.randrange(3)))]
    groups = [(8, rng.choice(rights), x) for x in sorted(rng.sample(GROUPS, rng.randrange(3)))]
    entries = [
        (1, rng.choice(rights), _UNSET), *users, (4, rng.choice(rights), _UNSET), *groups,
        (16, rng.choice((7, 7, 5, 4, 1, 0)), _UNSET), (32, rng.choice(rights), _UNSET),
    ]  # fmt: skip
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"this file system keeps no access lists: {error.strerror}")


def plant(root: Path, number: int, rng: random.Random) -> str:
    folder = root / f"d{number}" / "e"
    folder.mkdir(parents=True)
    file = folder / "f"
    file.write_text("text", encoding="utf-8")
    put_list(file, rng, (6, 4, 4, 0, 2))
    put_list(folder, rng, (7, 5, 1, 1, 4))
    if rng.random() < 0.5:
        put_list(folder.parent, rng, (7, 5, 1, 1, 4))
    return f"d{number}/e/f"


def opened_by(user: int, groups: Sequence[int], root: Path, paths: Sequence[str]) -> list[bool]:
    """Which files somebody can open, asked of the kernel by a child that becomes that user for good."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            os.setgroups(groups)
            os.setresgid(63_000, 63_000, 63_000)
            os.setresuid(user, user, user)
            os.write(writer, json.dumps([_opens(root / x) for x in paths]).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        found = answers.read()
    assert os.waitpid(child, 0)[1] == 0
    result: list[bool] = json.loads(found)
    return result


def _opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


def names(user: int, groups: Sequence[int]) -> list[str]:
    return [f"posix-uid:{user}", "posix-gid:63000", *(f"posix-gid:{x}" for x in groups), "posix-other"]


@control("acl:posix-subset")
def test_whom_the_kernel_refuses_no_lock_admits(root: Path) -> None:
    rng = random.Random(7)  # noqa: S311 -- files for a test
    (root / "kernel").mkdir()
    base = root / "kernel"
    paths = [plant(base, n, rng) for n in range(150)]
    found = [read_live(base, x, accounts=NUMBERS) for x in paths]
    seen = Counter[str]()
    for user, groups in PEOPLE:
        for path, permissions, theirs in zip(paths, found, opened_by(user, groups, base, paths), strict=True):
            assert isinstance(permissions, NativePermissions), permissions
            ours = may_read(permissions, names(user, groups), 0)
            assert theirs or not ours, (path, user, groups, permissions)
            assert permissions.narrowed or ours is theirs, (path, user, groups, permissions)
            denied = any(x.principal.name in names(user, groups) for y in permissions.locks for x in y.deny)
            seen.update(all=1, allowed=ours, narrowed=ours is not theirs, denied=denied)
    assert seen["allowed"] >= 0.10 * seen["all"], seen
    assert seen["denied"] >= 0.05 * seen["all"], seen
    assert seen["narrowed"] <= 0.15 * seen["all"], seen


@control("acl:posix-subset")
def test_linux_passes_over_a_list_with_an_empty_mask(root: Path) -> None:
    file = root / "mask"
    file.write_text("text", encoding="utf-8")
    os.chown(file, USERS[0], GROUPS[0])
    entries = [(1, 6, _UNSET), (2, 4, USERS[1]), (4, 0, _UNSET), (16, 0, _UNSET), (32, 4, _UNSET)]
    try:
        os.setxattr(
            file,
            "system.posix_acl_access",
            struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *x) for x in entries),
        )
    except OSError as error:
        pytest.skip(f"this file system keeps no access lists: {error.strerror}")
    assert opened_by(USERS[1], (), root, ["mask"]) == [True], "acl(5) says that she is refused"
    found = read_live(root, "mask", accounts=NUMBERS)
    assert isinstance(found, NativePermissions)
    assert not may_read(found, names(USERS[1], ()), 0)
    assert found.narrowed


def dumped(root: Path, *options: str) -> bytes:
    if shutil.which("getfacl") is None:
        pytest.skip("getfacl is not installed (Debian package acl)")
    above = ["/", *(str(x) for x in reversed(root.parents) if str(x) != "/")]
    head = f"# source-root: {root}\n\n".encode()
    first = subprocess.run(["getfacl", "-n", "-p", *above], check=True, capture_output=True).stdout
    return head + first + subprocess.run(
        ["getfacl", "-n", "-p", "-R", *options, str(root)], check=True, capture_output=True
    ).stdout  # fmt: skip


def sense(locks: Sequence[NativeLock]) -> list[tuple[set[str], set[str]]]:
    return [({x.principal.name for x in y.allow}, {x.principal.name for x in y.deny}) for y in locks]


@pytest.mark.parametrize("options", [(), ("-e",), ("-E",)])
def test_a_dump_says_the_same_as_the_live_files(root: Path, options: tuple[str, ...]) -> None:
    rng = random.Random(8)  # noqa: S311 -- files for a test
    base = root / f"dump{''.join(options)}"
    base.mkdir()
    paths = [plant(base, n, rng) for n in range(40)]
    # `-E` leaves out what is effective, `-e` says it of every entry; neither changes what is granted.
    dump = posix_acl.read(dumped(base, *options), "dump")
    assert set(dump.items) == set(paths)
    for path in paths:
        live = read_live(base, path, accounts=NUMBERS)
        text = dump.items[path]
        assert isinstance(live, NativePermissions), live
        assert isinstance(text, NativePermissions), text
        assert sense(text.locks) == sense(live.locks)
        assert len(text.narrowed) == len(live.narrowed)


def test_names_that_getfacl_escapes(root: Path) -> None:
    base = root / "names"
    for folder, name in (
        (".", "a b"),
        ("x y\\z", "é"),
        ("x y\\z", "new\nline"),
        (".", "tab\t"),
        (".", " # file: x"),
    ):
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / name).write_text("text", encoding="utf-8")
    (Path(os.fsdecode(os.fsencode(base) + b"/\xff"))).write_text("text", encoding="utf-8")
    dump = posix_acl.read(dumped(base), "dump")
    good = {x for x, found in dump.items.items() if isinstance(found, NativePermissions)}
    assert good == {"a b", "x y\\z/é", " # file: x"}
    assert all(x.startswith("./") for x in dump.items if x not in good)
    assert len(dump.items) == 6


def test_lists_that_setfacl_sets(root: Path) -> None:
    if shutil.which("setfacl") is None:
        pytest.skip("setfacl is not installed (Debian package acl)")
    base = root / "set"
    base.mkdir()
    (base / "f").write_text("text", encoding="utf-8")
    (base / "f").chmod(0o640)
    set_list = ["setfacl", "-m", f"u:{USERS[0]}:r,u:{USERS[1]}:-,g:{GROUPS[0]}:rw", "f"]
    done = subprocess.run(set_list, cwd=base, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this file system keeps no access lists")
    subprocess.run(["setfacl", "-d", "-m", f"u:{USERS[2]}:rwx", "."], cwd=base, check=True)
    found = posix_acl.read(dumped(base), "dump").items["f"]
    assert isinstance(found, NativePermissions)
    assert sense(found.locks)[-1] == (
        {"posix-uid:0", "posix-gid:0", f"posix-uid:{USERS[0]}", f"posix-gid:{GROUPS[0]}"},
        {f"posix-uid:{USERS[1]}"},
    )
