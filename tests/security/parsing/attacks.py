"""What a parser does after a document has taken it over. Imported by the template process of hostile tests only.

A text document `attack:{"name": …, "arguments": […]}` runs the function of that name inside the walls. What a
function returns comes back as the text of the document; an error that the walls caused comes back as its errno.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from secure_rag_ingestion.parsing import extract as honest
from secure_rag_ingestion.parsing.extracted import Extracted

MARK = b"attack:"
_honest_extract = honest.extract
_libc = ctypes.CDLL(None, use_errno=True)
SYSTEM_CALLS = {  # by their numbers on x86-64
    "ptrace": 101,
    "rt_sigqueueinfo": 129,
    "keyctl": 250,
    "shmget": 29,
    "process_vm_readv": 310,
    "memfd_create": 319,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "pidfd_open": 434,
    "clone3": 435,
}


def install() -> None:
    """Take the place of the extractor."""
    honest.extract = extract


def extract(mime: str, data: bytes) -> Extracted:
    if not data.startswith(MARK):
        return _honest_extract(mime, data)
    order = json.loads(data.removeprefix(MARK))
    attack: Callable[..., object] = globals()[order["name"]]
    try:
        outcome = attack(*order["arguments"])
    except OSError as error:
        outcome = errno.errorcode.get(error.errno or 0, str(error))
    return Extracted(text=json.dumps(outcome))


# ---- files and other processes


def read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace")


def list_folder(path: str) -> list[str]:
    return sorted(entry.name for entry in Path(path).iterdir())


def write_file(path: str) -> str:
    Path(path).write_text("taken over", encoding="utf-8")
    return "written"


def make_folder(path: str) -> str:
    Path(path).mkdir()
    return "made"


def change_mode(path: str) -> str:
    Path(path).chmod(0o777)
    return "changed"


def link(old: str, new: str) -> str:
    Path(new).symlink_to(old)
    return "linked"


def remove(path: str) -> str:
    Path(path).unlink()
    return "removed"


# ---- network


def connect(family: str, kind: str) -> str:
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as open_socket:
        return f"socket {open_socket.fileno()}"


def send_to_a_named_socket(path: str) -> str:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        one.sendto(b"log line", path)
    return "sent"


def send_from_a_stream_pair(path: str) -> str:
    one, other = socket.socketpair()
    with one, other:
        one.sendto(b"x", path)
    return "sent"


# ---- processes


def fork() -> str:
    process = os.fork()
    if process == 0:
        os._exit(0)
    return "forked"


def execute() -> NoReturn:
    os.execv("/bin/true", ["true"])  # noqa: S606 - the point of the attack


def signal_process(process: int) -> str:
    os.kill(process, signal.SIGKILL)
    return "signalled"


def become_root() -> str:
    os.setuid(0)
    return "root"


def raise_limits() -> str:
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"


def become_dumpable() -> str:
    if _libc.prctl(4, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return "dumpable"


def call(name: str, *arguments: int) -> str:
    result = _libc.syscall(SYSTEM_CALLS[name], *(ctypes.c_long(argument) for argument in arguments))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return f"{name} gave {result}"


def start_thread() -> str:
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append("ran"))
    thread.start()
    thread.join()
    return seen[0]


def run_foreign_code() -> str:
    """Machine code of 32 bit programs, for which the filter has no rules: `int 0x80` with getpid."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return f"pid {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"


# ---- secrets


def environment() -> dict[str, str]:
    return dict(os.environ)


def descriptors() -> list[int]:
    found: list[int] = []
    for descriptor in range(256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        found.append(descriptor)
    return found


def identity() -> list[int]:
    return [os.getuid(), os.geteuid(), os.getgid(), os.getegid()]


def loaded_modules() -> list[str]:
    import sys

    return sorted(sys.modules)


# ---- resources and answers


def allocate(size: int) -> int:
    return len(bytearray(size))


def busy() -> NoReturn:
    while True:
        pass


def busy_and_deaf() -> NoReturn:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    busy()


def wait_forever() -> NoReturn:
    threading.Event().wait()
    raise AssertionError("unreachable")


def crash(number: int) -> NoReturn:
    if number == signal.SIGSEGV:
        ctypes.string_at(0)
    os.abort()


def leave(status: int) -> NoReturn:
    os._exit(status)


def _raw(data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(1, left) :]


def flood() -> NoReturn:
    while True:
        _raw(b"x" * 65536)


def announce(size: int) -> NoReturn:
    _raw(struct.pack(">Q", size))
    wait_forever()


def flood_a_frame(size: int) -> NoReturn:
    _raw(struct.pack(">Q", size))
    flood()


def answer_with(body: str) -> NoReturn:
    raw = body.encode("latin-1")
    _raw(struct.pack(">Q", len(raw)) + raw)
    os._exit(0)


def answer_twice() -> NoReturn:
    body = json.dumps(
        {"document": {"text": "t", "title": None, "metadata": {}, "hidden": [], "headings": []}}
    ).encode()
    frame = struct.pack(">Q", len(body)) + body
    _raw(frame + frame)
    os._exit(0)


def answer_and_stay() -> NoReturn:
    body = json.dumps(
        {"document": {"text": "t", "title": None, "metadata": {}, "hidden": [], "headings": []}}
    ).encode()
    _raw(struct.pack(">Q", len(body)) + body)
    wait_forever()


def close_and_stay() -> NoReturn:
    os.close(1)
    busy()


def half_an_answer() -> NoReturn:
    _raw(struct.pack(">Q", 1000) + b'{"document":')
    os._exit(0)
