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
import os
import pkgutil
import select
import signal
import socket
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from secure_rag_ingestion.parsing import child, extract
from secure_rag_ingestion.parsing.archive import OfficeArchive
from secure_rag_ingestion.parsing.confine import Confinement, Walls, thread_count
from secure_rag_ingestion.parsing.extracted import Concealed
from secure_rag_ingestion.parsing.hidden.pdf import PdfScan
from secure_rag_ingestion.parsing.protocol import FORK, NO_CHILD, REAP, REAPED

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


class Template:
    """The template process once everything is in memory.

    Attributes:
        threads: of this process; it is one.

    Raises:
        RuntimeError: an import started a thread, or the parent is gone.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._confinement = Confinement(
            Walls(
                memory_bytes=settings["memory_bytes"],
                cpu_seconds=settings["cpu_seconds"],
                user_id=settings["user_id"],
                parent=os.getpid(),
            )
        )
        self._require = frozenset(settings["require"])
        os.environ.pop("LD_LIBRARY_PATH", None)  # kreuzberg adds its folder when it is imported
        _load_everything()
        self.threads = thread_count()
        if self.threads != 1:
            raise RuntimeError("the imports started a thread, which would stay outside the walls")
        self._parent = _watch(settings["parent"])
        gc.freeze()  # so that collecting in a child does not copy every page

    def serve(self, control: socket.socket) -> None:
        """Fork and reap until the parent is gone."""
        running = NO_CHILD
        try:
            while (order := self._next(control)) is not None:
                if order:
                    running = _fork(order, self._confinement, self._require)
                else:
                    control.sendall(REAPED.pack(*_reap(running)))
                    running = NO_CHILD
        finally:
            _reap(running)
            with suppress(OSError):
                Path(os.environ["TMPDIR"]).rmdir()

    def _next(self, control: socket.socket) -> list[int] | None:
        """Wait for an order: two descriptors to fork with, none to reap, None when the parent is gone."""
        poll = select.poll()
        poll.register(control, select.POLLIN)
        if self._parent is not None:
            poll.register(self._parent, select.POLLIN)
        if self._parent in {descriptor for descriptor, _ in poll.poll()}:
            return None
        order, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if order == REAP:
            return []
        return descriptors if order == FORK and len(descriptors) == 2 else None


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
