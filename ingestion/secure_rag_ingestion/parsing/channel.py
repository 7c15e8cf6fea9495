"""The two pipes to one child, read and written against a deadline and a size limit."""

from __future__ import annotations

import os
import select
import time
from collections import deque

from secure_rag_ingestion.parsing.model import ParseFailure, ParseReason
from secure_rag_ingestion.parsing.protocol import FRAME

_PIECE = 1 << 20


class ChildGoneError(Exception):
    """The child closed its answer before it was complete; its exit status tells why."""


class Channel:
    """Frames from a child, a document to it.

    Reads exactly what a frame announces and never more than its limit, so a child that floods the pipe fills the
    kernel's buffer and no memory here.
    """

    def __init__(self, document: int, reply: int, deadline: float) -> None:
        self._document = document
        self._reply = reply
        self._deadline = deadline
        self._pending: deque[memoryview] = deque()
        os.set_blocking(document, False)
        os.set_blocking(reply, False)

    def send(self, *pieces: bytes) -> None:
        """Queue bytes for the child; they go out while its answer is awaited."""
        self._pending.extend(memoryview(piece) for piece in pieces if piece)

    def receive(self, limit: int) -> bytes:
        """Read one frame.

        Raises:
            ChildGoneError: the pipe ended first.
            ParseFailure: `timeout`, or `output_too_large` when the frame announces more than `limit` bytes.
        """
        (size,) = FRAME.unpack(self._exactly(FRAME.size))
        if size > limit:
            raise ParseFailure(ParseReason.OUTPUT_TOO_LARGE, "the parser's answer is larger than allowed")
        return self._exactly(size)

    def expect_end(self) -> None:
        """Wait for the child to close its answer.

        Raises:
            ParseFailure: `timeout`, or `bad_output` when there is more.
        """
        if self._some(1):
            raise ParseFailure(ParseReason.BAD_OUTPUT, "the parser sent more than one answer")

    def close(self) -> None:
        """Close both pipes."""
        os.close(self._document)
        os.close(self._reply)

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = self._some(min(_PIECE, size - len(received)))
            if not piece:
                raise ChildGoneError
            received += piece
        return bytes(received)

    def _some(self, size: int) -> bytes:
        """Bytes as they come, writing meanwhile; empty at the end of the pipe."""
        poll = select.poll()
        poll.register(self._reply, select.POLLIN)
        if self._pending:
            poll.register(self._document, select.POLLOUT)
        while True:
            left = self._deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in poll.poll(max(left, 0) * 1000)}
            if left <= 0:
                raise ParseFailure(ParseReason.TIMEOUT, "the parser took too long")
            if self._document in ready:
                self._write()
                if not self._pending:
                    poll.unregister(self._document)
            if self._reply in ready:
                return os.read(self._reply, size)

    def _write(self) -> None:
        try:
            while self._pending:
                written = os.write(self._document, self._pending[0][:_PIECE])
                self._pending[0] = self._pending[0][written:]
                if not self._pending[0]:
                    self._pending.popleft()
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._pending.clear()  # it answers without reading on, or it is gone, which the answer shows
