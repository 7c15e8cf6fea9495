"""The parent's end of the template process: starting it, having it fork, ending it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import secure_rag_ingestion
from secure_rag_ingestion.parsing.channel import Channel
from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.protocol import (
    EXIT_MEMORY,
    EXIT_UNCONFINED,
    FORK,
    NO_CHILD,
    READY,
    REAP,
    REAPED,
)

_START_SECONDS = 60.0
_REAP_SECONDS = 10.0
_MAX_READY = 4096

PROGRAM = (
    "import sys; sys.path[:0] = [folder for folder in sys.argv[2:] if folder not in sys.path]; "
    "from secure_rag_ingestion.parsing.boot import main; main(sys.argv[1])"
)
# Nothing of the parent's environment. The rest keeps the threads of a child few and its address space small.
ENVIRONMENT = {"TOKIO_WORKER_THREADS": "1", "RAYON_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """How a child ended.

    Attributes:
        status: wait status, or `NO_CHILD` when there was none.
        cpu_seconds: that it used.
    """

    status: int
    cpu_seconds: float

    def diagnosis(self, cpu_limit: int) -> ParseFailure:
        """Say why no answer came."""
        if self.status == NO_CHILD:
            return ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, "no process could be started")
        code = os.waitstatus_to_exitcode(self.status)
        if code == -signal.SIGXCPU or (code == -signal.SIGKILL and self.cpu_seconds >= cpu_limit):
            return ParseFailure(ParseReason.CPU_LIMIT, "the parser used up its processor time")
        if code == EXIT_MEMORY:
            return ParseFailure(ParseReason.MEMORY_LIMIT, "the parser used up its memory")
        if code == EXIT_UNCONFINED:
            return ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, "the walls could not be put up")
        how = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
        return ParseFailure(ParseReason.CRASH, f"the parser ended without an answer ({how})")


class Zygote:
    """A running template process with its private folder.

    Raises:
        ParseFailure: `sandbox_unavailable` when it does not come up.
    """

    def __init__(self, settings: dict[str, object], program: str) -> None:
        # kreuzberg would unpack a PDF library into $TMPDIR/kreuzberg-pdfium and load whatever lies there already, if
        # its size fits. It is given no PDF, and the folder is one that nobody else can put anything into.
        self.scratch = Path(tempfile.mkdtemp(prefix="secure-rag-parser-")).resolve()
        self._control, other = socket.socketpair()
        root = str(Path(secure_rag_ingestion.__file__).resolve().parent.parent)
        options = json.dumps({**settings, "parent": os.getpid()})
        try:
            with other:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, arguments of ours
                    [sys.executable, "-I", "-B", "-X", "utf8", "-c", program, options, root],
                    stdin=other.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**ENVIRONMENT, "TMPDIR": str(self.scratch)},
                    cwd="/",
                    start_new_session=True,
                )
        except OSError as error:
            self._control.close()
            shutil.rmtree(self.scratch, ignore_errors=True)
            raise ParseFailure(
                ParseReason.SANDBOX_UNAVAILABLE, "the template process cannot be started"
            ) from error
        try:
            self._await_ready()
        except ParseFailure:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        pid: int = self._process.pid
        return pid

    def fork(self, deadline: float) -> Channel:
        """Have it fork a child and open the pipes to it.

        Raises:
            ParseFailure: `sandbox_unavailable` when the template process is gone.
        """
        document_out, document_in = os.pipe()
        reply_out, reply_in = os.pipe()
        try:
            socket.send_fds(self._control, [FORK], [document_out, reply_in])
        except OSError as error:
            os.close(document_in)
            os.close(reply_out)
            raise ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, "the template process is gone") from error
        finally:
            os.close(document_out)
            os.close(reply_in)
        return Channel(document_in, reply_out, deadline)

    def reap(self) -> ChildEnd:
        """End the child if it has not ended, and learn how it did. A template that does not answer is ended too."""
        try:
            self._control.settimeout(_REAP_SECONDS)
            self._control.sendall(REAP)
            return ChildEnd(*REAPED.unpack(self._exactly(REAPED.size)))
        except OSError:
            self.close()
            return ChildEnd(NO_CHILD, 0.0)

    def close(self) -> None:
        """End it, and with it any child, and remove its folder."""
        self._control.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _await_ready(self) -> None:
        try:
            self._control.settimeout(_START_SECONDS)
            (size,) = READY.unpack(self._exactly(READY.size))
            message = json.loads(self._exactly(min(size, _MAX_READY)))
        except (OSError, ValueError) as error:
            raise ParseFailure(
                ParseReason.SANDBOX_UNAVAILABLE, "the template process does not come up"
            ) from error
        if message.get("threads") != 1:
            detail = f"the template process refuses: {message.get('error', 'more than one thread')}"
            raise ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, detail)

    def _exactly(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            piece = self._control.recv(size - len(received))
            if not piece:
                raise ConnectionResetError
            received += piece
        return received
