"""The template process: it has everything imported and forks one child for each document.

It never sees a document. Parent and child talk over pipes that the parent sends along; all that passes here is
"fork" with two descriptors and "reap". That keeps it as it was started: one thread, an empty environment, no key
and no path of the product.

It ends when the parent does. The kernel's parent-death signal follows the *thread* that started a process, so a
worker made by a short-lived thread would die with it; a process descriptor of the parent, and the end of the
control channel, do not have that trap. The children use the signal: their parent is this process's only thread.
"""

from __future__ import annotations

import encodings
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

from secure_rag_ingestion.parsing import child, extract
from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.confine import Confinement, Walls, thread_count
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.pdf import PdfScan
from secure_rag_ingestion.parsing.protocol import FORK, NO_CHILD, READY, REAP, REAPED

_CONTROL_FD = 0
_SMALLEST_PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Resources<<>>>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
_SAMPLES = (
    ("text/plain", "r\xe9sum\xe9 na\xefve caf\xe9 \xfcber".encode("latin-1")),
    ("text/markdown", b"# T\n\n<b style='color:var(--x)'>x</b> <!-- c -->\n"),
    ("text/html", b"<style>@media screen{.x{color:#fff}}</style><p class=x style='font-size:1em'>x<p>y"),
    (
        "message/rfc822",
        b"From: =?utf-8?q?A?= <a@b.example>\nSubject: =?utf-8?b?w6k=?=\nDate: Tue, 3 Nov 2026 10:00:00 +0000\n"
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n"
        b"Content-Transfer-Encoding: quoted-printable\n\n<p>x=3D\n--b\nContent-Type: text/plain\n"
        b"Content-Disposition: attachment; filename*=utf-8''x\nContent-Transfer-Encoding: base64\n\neA==\n--b--\n",
    ),
)


def main(settings: str) -> None:
    """Serve until the parent is gone. The control channel is descriptor 0.

    Args:
        settings: JSON with `parent`, `require`, `memory_bytes`, `cpu_seconds` and `user_id`.
    """
    control = socket.socket(fileno=_CONTROL_FD)
    try:
        config = json.loads(settings)
        confinement = Confinement(
            Walls(
                memory_bytes=config["memory_bytes"],
                cpu_seconds=config["cpu_seconds"],
                user_id=config["user_id"],
                parent=os.getpid(),
            )
        )
        os.environ.pop("LD_LIBRARY_PATH", None)  # kreuzberg adds its folder when it is imported
        _load_everything()
        _refuse_threads()
        parent = _watch(config["parent"])
    except Exception as error:  # noqa: BLE001 - the parent gets to know and decides
        _say(control, {"error": f"{type(error).__name__}: {error}"[:500]})
        return
    gc.freeze()  # so that collecting in a child does not copy every page
    _say(control, {"threads": thread_count()})
    try:
        _serve(control, parent, confinement, frozenset(config["require"]))
    finally:
        with suppress(OSError):
            Path(os.environ["TMPDIR"]).rmdir()


def _serve(
    control: socket.socket, parent: int | None, confinement: Confinement, require: frozenset[str]
) -> None:
    running = NO_CHILD
    poll = select.poll()
    poll.register(control, select.POLLIN)
    if parent is not None:
        poll.register(parent, select.POLLIN)
    while True:
        events = {descriptor for descriptor, _ in poll.poll()}
        if parent is not None and parent in events:
            break
        order, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if order == FORK and running == NO_CHILD and len(descriptors) == 2:
            running = _fork(descriptors, confinement, require)
        elif order == REAP:
            control.sendall(REAPED.pack(*_reap(running)))
            running = NO_CHILD
        else:
            break
    if running != NO_CHILD:
        _reap(running)


def _fork(descriptors: list[int], confinement: Confinement, require: frozenset[str]) -> int:
    document, reply = descriptors
    try:
        process = os.fork()
    except OSError:
        process = NO_CHILD  # the parent sees its pipe close and asks what happened
    if process == 0:
        child.live(document, reply, confinement, require)
    os.close(document)
    os.close(reply)
    return process


def _reap(process: int) -> tuple[int, float]:
    """End a child if it has not ended, and tell its wait status and processor seconds."""
    if process == NO_CHILD:
        return NO_CHILD, 0.0
    with suppress(ProcessLookupError):
        # Harmless to one that has ended: its status is fixed before its pipes close.
        os.kill(process, signal.SIGKILL)
    _, status, usage = os.wait4(process, 0)
    return status, usage.ru_utime + usage.ru_stime


def _watch(parent: int) -> int | None:
    """A descriptor that becomes readable when the parent ends, where the system has one."""
    watch = os.pidfd_open(parent) if hasattr(os, "pidfd_open") else None
    if os.getppid() != parent:
        raise RuntimeError("the parent is gone")
    return watch


def _load_everything() -> None:
    """Import what is imported at first use, because no file can be opened behind the walls.

    The samples are ours, and the extractor, which would start threads, has no part in reading them.
    """
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):  # those of other systems
            importlib.import_module(f"encodings.{module.name}")
    for mime, sample in _SAMPLES:
        extract.extract(mime, sample)
    for mime, scanner in extract.SCANNERS.items():
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as office:
            office.writestr(extract.MAIN_PARTS[mime], "<r/>")
        scanner(OfficeArchive(archive.getvalue()), Concealed())
    PdfScan(_SMALLEST_PDF, Concealed())
    extract.kreuzberg_config()


def _refuse_threads() -> None:
    if thread_count() != 1:
        raise RuntimeError("the imports started a thread, which would stay outside the walls")


def _say(control: socket.socket, message: dict[str, object]) -> None:
    body = json.dumps(message).encode()
    control.sendall(READY.pack(len(body)) + body)


if __name__ == "__main__":
    main(sys.argv[1])
