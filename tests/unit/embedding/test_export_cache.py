from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secure_rag.embedding import export_cache
from secure_rag.embedding.export_cache import cache_root, obtain_export, private_directory
from secure_rag.errors import ModelError
from tests.controls import control

KEY = "mini-r1"
SOURCE = {"weights": "aa", "runtime": "1"}
CONTENT = b"graph" * 1000

# Builds slowly and says so, as a process of its own: `python -c BUILDER DIRECTORY LOG MODE`.
BUILDER = """
import os, signal, sys
from pathlib import Path
from secure_rag.embedding.export_cache import obtain_export
directory, log, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def build(path):
    with log.open("a") as file:
        file.write("built\\n")
    path.write_bytes(b"graph" * 500)
    if mode == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_bytes(b"graph" * 1000)
print(len(obtain_export(directory, "mini-r1", {"weights": "aa", "runtime": "1"}, build)))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return private_directory(tmp_path / "models")


class Build:
    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.calls = 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(self.content)


def run(directory: Path, log: Path, mode: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", BUILDER, str(directory), str(log), mode]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def test_is_built_once_and_then_read(directory: Path) -> None:
    build = Build()
    assert obtain_export(directory, KEY, SOURCE, build) == CONTENT
    assert obtain_export(directory, KEY, SOURCE, build) == CONTENT
    assert build.calls == 1


@control("model:private-cache")
def test_only_the_owner_can_touch_the_cache(directory: Path) -> None:
    obtain_export(directory, KEY, SOURCE, Build())
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def _flip(directory: Path) -> None:
    path = directory / f"{KEY}.onnx"
    content = bytearray(path.read_bytes())
    content[17] ^= 1
    path.write_bytes(content)


def _truncate(directory: Path) -> None:
    (directory / f"{KEY}.onnx").write_bytes(CONTENT[:100])


def _no_record(directory: Path) -> None:
    (directory / f"{KEY}.json").unlink()


def _no_model(directory: Path) -> None:
    (directory / f"{KEY}.onnx").unlink()


def _half_record(directory: Path) -> None:
    path = directory / f"{KEY}.json"
    path.write_bytes(path.read_bytes()[:20])


def _binary_record(directory: Path) -> None:
    (directory / f"{KEY}.json").write_bytes(b"\xff\x00")


def _other_record_type(directory: Path) -> None:
    (directory / f"{KEY}.json").write_text("[]", encoding="utf-8")


def _other_source(directory: Path) -> None:
    path = directory / f"{KEY}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["source"]["weights"] = "bb"
    path.write_text(json.dumps(record), encoding="utf-8")


@control("model:cache-integrity")
@pytest.mark.parametrize(
    "damage",
    [
        _flip,
        _truncate,
        _no_record,
        _no_model,
        _half_record,
        _binary_record,
        _other_record_type,
        _other_source,
    ],
)
def test_what_does_not_match_its_record_is_built_again(
    damage: Callable[[Path], None], directory: Path
) -> None:
    obtain_export(directory, KEY, SOURCE, Build())
    damage(directory)
    again = Build()
    assert obtain_export(directory, KEY, SOURCE, again) == CONTENT
    assert again.calls == 1
    assert obtain_export(directory, KEY, SOURCE, Build(b"never")) == CONTENT


@control("model:cache-integrity")
def test_damage_is_logged_and_refused_when_it_cannot_be_repaired(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obtain_export(directory, KEY, SOURCE, Build())
    _flip(directory)

    def fails(path: Path) -> None:
        raise ModelError("no torch here")

    with caplog.at_level(logging.WARNING), pytest.raises(ModelError, match="no torch here"):
        obtain_export(directory, KEY, SOURCE, fails)
    assert "does not match its record" in caplog.text


def test_failed_build_leaves_nothing_behind_and_can_be_repeated(directory: Path) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="No space left on device"):
        obtain_export(directory, KEY, SOURCE, full)
    assert [p.name for p in directory.iterdir()] == [f"{KEY}.lock"]
    assert obtain_export(directory, KEY, SOURCE, Build()) == CONTENT


def test_build_that_writes_nothing_is_a_model_error(directory: Path) -> None:
    with pytest.raises(ModelError):
        obtain_export(directory, KEY, SOURCE, lambda path: None)


def test_killed_build_is_repeated_and_its_leftovers_go(directory: Path, tmp_path: Path) -> None:
    died = run(directory, tmp_path / "log", "die")
    died.communicate()
    assert died.returncode == -signal.SIGKILL
    assert list(directory.glob(f".{KEY}.*"))
    assert not (directory / f"{KEY}.onnx").exists()
    assert obtain_export(directory, KEY, SOURCE, Build()) == CONTENT
    assert not list(directory.glob(f".{KEY}.*"))


def test_processes_that_start_together_build_once(directory: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [run(directory, log, "build") for _ in range(4)]
    outputs = [process.communicate()[0] for process in processes]
    assert outputs == [b"5000\n"] * 4
    assert log.read_text(encoding="utf-8") == "built\n"


def test_who_waited_for_the_lock_does_not_build_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, second_has_looked = threading.Event(), threading.Event()
    read = export_cache._read
    looked: Counter[int] = Counter()

    def watched_read(directory: Path, key: str, source: Mapping[str, str]) -> bytes | None:
        found = read(directory, key, source)
        looked[threading.get_ident()] += 1
        if len(looked) > 1:
            second_has_looked.set()
        return found

    def build(path: Path) -> None:
        building.set()
        assert second_has_looked.wait(30)
        path.write_bytes(CONTENT)

    def second() -> bytes:
        assert building.wait(30)
        return obtain_export(directory, KEY, SOURCE, never)

    never = Build(b"never")
    monkeypatch.setattr(export_cache, "_read", watched_read)
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(obtain_export, directory, KEY, SOURCE, build), pool.submit(second)]
        assert [x.result() for x in results] == [CONTENT, CONTENT]
    assert never.calls == 0


@control("model:private-cache")
def test_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(ModelError, match="others can write to it"):
        private_directory(tmp_path)


@control("model:private-cache")
def test_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 54_321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    with pytest.raises(ModelError, match="belongs to another user"):
        private_directory(tmp_path)


def test_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("", encoding="utf-8")
    with pytest.raises(ModelError, match="SECURE_RAG_CACHE"):
        private_directory(tmp_path / "models")


def test_cache_root_prefers_argument_then_own_variable_then_xdg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SECURE_RAG_CACHE", "/var/cache/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/xdg")
    assert cache_root(tmp_path / "given") == tmp_path / "given"
    assert cache_root() == Path("/var/cache/own")
    monkeypatch.delenv("SECURE_RAG_CACHE")
    assert cache_root() == Path("/var/cache/xdg/secure-rag")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    assert cache_root() == tmp_path / ".cache/secure-rag"
