"""Parsing documents in a process that can do nothing else.

    parent ──start──▶ zygote (imports done, one thread, empty environment)
      │                  └─fork─▶ child: walls, then the document, then one answer, then its end
      └── document and answer over pipes of their own ──▲

A parser that a document has taken over can read no file, reach no network, start no process, and never sees the
next document. What it answers is checked like any foreign input (`reply`).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from secure_rag_ingestion.parsing.channel import ChildGoneError
from secure_rag_ingestion.parsing.layers import Layer, unmet
from secure_rag_ingestion.parsing.media import HEAD_BYTES, is_encrypted_office, media_type
from secure_rag_ingestion.parsing.model import ParsedDocument, ParseFailure, ParseReason
from secure_rag_ingestion.parsing.process import PROGRAM, Zygote
from secure_rag_ingestion.parsing.protocol import DOCUMENT, PROBE
from secure_rag_ingestion.parsing.reply import MAX_LAYERS_BYTES, read_answer, read_layers

__all__ = ["NOBODY", "Layer", "SandboxLimits", "SandboxedParser", "default_requirements"]

MIB = 1 << 20
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one document may cost.

    Attributes:
        memory_bytes: address space of the parsing process.
        cpu_seconds: processor time of all its threads.
        wall_seconds: from the fork to the end of the answer.
        input_bytes: size of the document.
        output_bytes: size of the answer.
    """

    memory_bytes: int = 2 << 30
    cpu_seconds: int = 20
    wall_seconds: float = 30.0
    input_bytes: int = 64 * MIB
    output_bytes: int = 64 * MIB


def default_requirements() -> frozenset[str]:
    """Walls without which nothing is parsed on this system.

    On Linux: Landlock against files, seccomp or a network namespace against the network, no new privileges, and
    the limits. Elsewhere only limits exist, which is enough for development and for nothing else.
    """
    if sys.platform != "linux":
        return frozenset({"rlimits"})
    needed = {"landlock", "seccomp|netns", "no_new_privs", "rlimits", "capabilities", "dumpable", "pdeathsig"}
    return frozenset(needed | {"uid"} if os.geteuid() == 0 else needed)


class SandboxedParser:
    """Parses one document after the other, each in a confined process of its own.

    Use it as a context manager. Threads may share one: they take turns. A process that was forked from the owner
    needs a parser of its own.

    Args:
        limits: what one document may cost.
        require: walls whose failure is fatal, names as in `layers`; `a|b` asks for one of the two. A wall that is
            not named is put up when the system has it, and its failure is accepted.
        user_id: whom the parsing process becomes when this one is root.

    Raises:
        ParseFailure: `sandbox_unavailable`, on entering, when a required wall does not hold.
    """

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        require: frozenset[str] | None = None,
        user_id: int = NOBODY,
    ) -> None:
        self.limits = limits or SandboxLimits()
        self._require = default_requirements() if require is None else require
        self._user_id = user_id
        self._lock = threading.Lock()
        self._zygote: Zygote | None = None
        self._owner: int | None = None
        self._layers: tuple[Layer, ...] = ()

    def __enter__(self) -> Self:
        with self._lock:
            self._owner = os.getpid()
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The walls of this system, each with whether it holds."""
        return self._layers

    def close(self) -> None:
        """End the processes and remove the private folder."""
        with self._lock:
            if self._owner == os.getpid() and self._zygote is not None:
                self._zygote.close()
            self._zygote = self._owner = None

    def parse(self, name: str, data: bytes) -> ParsedDocument:
        """Parse a document.

        Args:
            name: file name or path, for its extension.
            data: the whole file.

        Raises:
            ParseFailure: with the reason that a run records. The next document is not affected.
        """
        mime = self._admit(name, data)
        with self._lock:
            answer = self._exchange(self._running(), mime, data)
        return read_answer(answer, mime)

    def _admit(self, name: str, data: bytes) -> str:
        if not data:
            raise ParseFailure(ParseReason.EMPTY_EXTRACTION, "the file is empty")
        if len(data) > self.limits.input_bytes:
            raise ParseFailure(ParseReason.TOO_LARGE, "the file is larger than allowed")
        try:
            return media_type(name, data[:HEAD_BYTES])
        except ParseFailure:
            if is_encrypted_office(name, data):
                raise ParseFailure(ParseReason.ENCRYPTED, "the file has a password") from None
            raise

    def _running(self) -> Zygote:
        if self._owner != os.getpid():
            raise ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, "the parser was not started in this process")
        if self._zygote is None or not self._zygote.alive:
            return self._start()
        return self._zygote

    def _start(self) -> Zygote:
        if self._zygote is not None:
            self._zygote.close()
        settings: dict[str, object] = {
            "require": sorted(self._require),
            "memory_bytes": self.limits.memory_bytes,
            "cpu_seconds": self.limits.cpu_seconds,
            "user_id": self._user_id,
        }
        self._zygote = zygote = Zygote(settings, self._program())
        try:
            self._exchange(zygote, PROBE, b"")
        except ParseFailure:
            zygote.close()
            self._zygote = None
            raise
        return zygote

    def _program(self) -> str:
        """What the template process runs."""
        return PROGRAM

    def _exchange(self, zygote: Zygote, mime: str, data: bytes) -> bytes:
        """Have a child parse, and see to its end whatever it does."""
        channel = zygote.fork(time.monotonic() + self.limits.wall_seconds)
        gone = False
        answer = b""
        try:
            self._layers = read_layers(channel.receive(MAX_LAYERS_BYTES))
            self._demand()
            channel.send(DOCUMENT.pack(len(data), len(mime)) + mime.encode("ascii"), data)
            if mime != PROBE:
                answer = channel.receive(self.limits.output_bytes)
            channel.expect_end()
        except ChildGoneError:
            gone = True
        finally:
            channel.close()
            end = zygote.reap()
        if gone or end.status != 0:
            raise end.diagnosis(self.limits.cpu_seconds)
        return answer

    def _demand(self) -> None:
        missing = unmet(self._require, self._layers)
        if missing:
            notes = ", ".join(f"{layer.name}: {layer.note}" for layer in self._layers if not layer.holds)
            detail = f"required walls do not hold: {', '.join(missing)} ({notes})"
            raise ParseFailure(ParseReason.SANDBOX_UNAVAILABLE, detail)
