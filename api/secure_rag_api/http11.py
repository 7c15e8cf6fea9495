"""The HTTP/1.1 protocol of the server: uvicorn's on h11, with a time limit for request heads and problem details.

h11, because httptools has no limit on headers: a head of 200 MB would be taken into memory.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from secure_rag_api.problems import MEDIA_TYPE, Problem, problem_body

HEAD_SECONDS: Final = 10.0
MAX_HEAD_BYTES: Final = 32 * 1024


class BoundedH11(H11Protocol):
    """Closes a connection whose request head does not arrive in time; uvicorn itself would wait for ever."""

    head_seconds: float = HEAD_SECONDS
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Start waiting for the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; the timer runs from the first byte of a head to its last."""
        if self.conn.their_state is h11.IDLE and self._head_timer is None:
            self._wait_for_head()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature; its text is not ours
        """Answer what is not HTTP with a problem, like everything else."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem_body(Problem.INVALID_REQUEST)
            headers = [
                (b"content-type", MEDIA_TYPE.encode("ascii")),
                (b"content-length", str(len(body)).encode("ascii")),
                (b"cache-control", b"no-store"),
                (b"connection", b"close"),
            ]
            response = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_too_slow)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.close()
