from __future__ import annotations

import os
import platform
import signal
import sys
from pathlib import Path

import pytest

from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.process import ENVIRONMENT
from secure_rag_ingestion.parsing.sandbox import NOBODY
from tests.controls import control
from tests.security.parsing.attacks import SYSTEM_CALLS
from tests.security.parsing.hostile import PLAIN_USER, HostileParser

DENIED = {"EACCES", "EPERM", "ENOSYS"}


@control("parsing:no-files")
@pytest.mark.parametrize("file", ["environ", "mem", "maps", "cmdline"])
def test_no_other_process_is_looked_into(hostile: HostileParser, file: str) -> None:
    zygote = hostile._zygote
    assert zygote is not None
    for process in (os.getpid(), zygote.pid, 1, "self"):
        assert hostile.run("read_file", f"/proc/{process}/{file}") in DENIED


@control("parsing:no-files")
@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/hostname", sys.executable, os.__file__])
def test_no_file_is_read(hostile: HostileParser, path: str) -> None:
    assert hostile.run("read_file", path) in DENIED


@control("parsing:no-files")
def test_a_world_readable_secret_is_not_read(hostile: HostileParser, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret", encoding="utf-8")
    secret.chmod(0o644)
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder.owner() == Path.home().owner():
            folder.chmod(folder.stat().st_mode | 0o111)
    assert hostile.run("read_file", str(secret)) in DENIED


@control("parsing:no-files")
@pytest.mark.parametrize("path", ["/", "/tmp", "/proc", "/dev/shm"])
def test_no_folder_is_listed(hostile: HostileParser, path: str) -> None:
    assert hostile.run("list_folder", path) in DENIED


@control("parsing:no-files")
@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "/var/tmp", "{scratch}"])
def test_nothing_is_written(hostile: HostileParser, folder: str) -> None:
    zygote = hostile._zygote
    assert zygote is not None
    place = Path(folder.format(scratch=zygote.scratch))
    target = place / f"taken-over-{os.getpid()}"
    assert hostile.run("write_file", str(target)) in DENIED
    assert hostile.run("make_folder", str(target)) in DENIED | {"EEXIST"}
    assert hostile.run("link", "/etc/passwd", str(target)) in DENIED
    assert hostile.run("change_mode", str(place)) in DENIED
    assert hostile.run("remove", "/etc/hostname") in DENIED
    assert not target.exists()
    assert Path("/etc/hostname").exists()


@control("parsing:no-network")
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"])
def test_no_socket_is_made(hostile: HostileParser, family: str, kind: str) -> None:
    assert hostile.run("connect", family, kind) in DENIED


@control("parsing:no-network")
def test_a_socket_pair_does_not_reach_a_named_socket(hostile: HostileParser) -> None:
    assert hostile.run("send_to_a_named_socket", "/dev/log") in DENIED
    assert hostile.run("send_from_a_stream_pair", "/dev/log") in DENIED


@control("parsing:no-processes")
def test_no_process_is_started_signalled_or_become(hostile: HostileParser) -> None:
    zygote = hostile._zygote
    assert zygote is not None
    assert hostile.run("fork") in DENIED
    assert hostile.run("execute") in DENIED
    assert hostile.run("signal_process", os.getpid()) in DENIED
    assert hostile.run("signal_process", zygote.pid) in DENIED
    assert hostile.run("signal_process", -1) in DENIED
    assert hostile.run("become_root") in DENIED
    assert hostile.run("raise_limits") in DENIED
    assert hostile.run("become_dumpable") in DENIED
    assert zygote.alive


@control("parsing:no-processes")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls by their number on this processor")
@pytest.mark.parametrize("name", sorted(SYSTEM_CALLS))
def test_ways_around_the_usual_calls_are_closed(hostile: HostileParser, name: str) -> None:
    assert hostile.run("call", name, 1, 0, 0, 0) in DENIED


@control("parsing:no-processes")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code for this processor")
def test_calls_of_another_architecture_end_the_process(hostile: HostileParser) -> None:
    with pytest.raises(ParseFailure) as caught:
        hostile.run("run_foreign_code")
    assert caught.value.reason is ParseReason.CRASH


def test_threads_still_start(hostile: HostileParser) -> None:
    assert hostile.run("start_thread") == "ran"


@control("parsing:no-secrets")
def test_environment_descriptors_and_identity_hold_nothing(hostile: HostileParser) -> None:
    zygote = hostile._zygote
    assert zygote is not None
    environment = hostile.run("environment")
    assert isinstance(environment, dict)
    # Python and the C library may add the character encoding that they settled on.
    assert environment.keys() - {"LC_CTYPE"} == {*ENVIRONMENT, "TMPDIR"}
    assert environment["TMPDIR"] == str(zygote.scratch)
    assert hostile.run("descriptors") == [0, 1, 2]
    identity = hostile.run("identity")
    assert isinstance(identity, list)
    if os.geteuid() == 0:
        assert set(identity) <= {NOBODY, PLAIN_USER}


@control("parsing:no-secrets")
def test_nothing_of_the_server_is_loaded(hostile: HostileParser) -> None:
    modules = hostile.run("loaded_modules")
    assert isinstance(modules, list)
    tops = {str(module).partition(".")[0] for module in modules}
    assert (
        tops & {"secure_rag", "secure_rag_api", "secure_rag_acl", "sqlalchemy", "casbin", "httpx", "pydantic"}
        == set()
    )


@control("parsing:bounded", "parsing:one-process-per-document")
@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("allocate", [20 << 30], ParseReason.MEMORY_LIMIT),
        ("crash", [int(signal.SIGSEGV)], ParseReason.CRASH),
        ("crash", [int(signal.SIGABRT)], ParseReason.CRASH),
        ("leave", [0], ParseReason.CRASH),
        ("leave", [3], ParseReason.CRASH),
        ("flood", [], ParseReason.OUTPUT_TOO_LARGE),
        ("announce", [10 << 30], ParseReason.OUTPUT_TOO_LARGE),
        ("announce", [1 << 63], ParseReason.OUTPUT_TOO_LARGE),
        ("flood_a_frame", [(1 << 20) + 1], ParseReason.OUTPUT_TOO_LARGE),
        ("flood_a_frame", [1 << 19], ParseReason.BAD_OUTPUT),
        ("answer_with", ["{"], ParseReason.BAD_OUTPUT),
        ("answer_with", [""], ParseReason.BAD_OUTPUT),
        ("answer_with", ["[" * 100_000], ParseReason.BAD_OUTPUT),
        ("answer_with", ['{"document": {"text": "x"}}'], ParseReason.BAD_OUTPUT),
        ("answer_twice", [], ParseReason.BAD_OUTPUT),
        ("close_and_stay", [], ParseReason.CRASH),
        ("half_an_answer", [], ParseReason.CRASH),
    ],
)
def test_a_hostile_answer_fails_its_document_and_no_other(
    hostile: HostileParser, name: str, arguments: list[object], reason: ParseReason
) -> None:
    zygote = hostile._zygote
    before = _resident()
    with pytest.raises(ParseFailure) as caught:
        hostile.run(name, *arguments)
    assert caught.value.reason is reason
    assert hostile.parse("next.txt", b"the next document").text == "the next document"
    assert hostile._zygote is zygote
    assert _resident() - before < 8 << 20
    assert zygote is not None
    assert _children(zygote.pid) == []


@control("parsing:bounded")
@pytest.mark.parametrize("name", ["busy", "busy_and_deaf"])
def test_processor_time_is_limited(patient: HostileParser, name: str) -> None:
    with pytest.raises(ParseFailure) as caught:
        patient.run(name)
    assert caught.value.reason is ParseReason.CPU_LIMIT
    assert patient.parse("next.txt", b"the next document").text == "the next document"


@control("parsing:bounded")
@pytest.mark.parametrize(
    ("name", "arguments"), [("wait_forever", []), ("announce", [1000]), ("answer_and_stay", [])]
)
def test_waiting_is_limited(impatient: HostileParser, name: str, arguments: list[object]) -> None:
    with pytest.raises(ParseFailure) as caught:
        impatient.run(name, *arguments)
    assert caught.value.reason is ParseReason.TIMEOUT
    assert impatient.parse("next.txt", b"the next document").text == "the next document"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _children(process: int) -> list[str]:
    return Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
