"""What stands before every route: sizes, content type, unambiguous headers, time to send, and the last resort.

Plain ASGI, so that nothing larger is ever held, chunked bodies are counted, and no exception passes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secure_rag_api.problems import Problem, describe, problem_of, problem_response

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
MAX_HEADER_BYTES: Final = 24 * 1024
"""All names and values together; two tokens of 8 KiB fit."""
BODY_SECONDS: Final = 10.0

_SINGLE: Final = frozenset(
    {b"authorization", b"x-subject-token", b"content-type", b"content-length", b"transfer-encoding", b"host"}
)
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class LastResort:
    """Outermost: an exception that nobody handled becomes a problem and goes no further.

    The framework would answer too, but then raise it again for the server to log with its text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, with every exception caught."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the last resort: denies, whatever it is
            if not started:
                await problem_of(error)(scope, receive, send)
                return
            _log.error("response broke off: %s", describe(error))
            broken = True
        else:
            broken = False
        if broken:
            # The server closes the connection, so that half an answer never looks like a whole one.
            raise ConnectionAbortedError("response broke off")


class Limits:
    """Refuses what is too large, too slow or ambiguous before anything reads it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_header_bytes: int = MAX_HEADER_BYTES,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, with its whole body read, or answer with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        problem = self._head_problem(scope)
        if problem is None and scope["method"] in _WITH_BODY:
            body = await self._body(receive)
            if body is None:
                return
            if isinstance(body, Problem):
                problem = body
            else:
                await self._app(scope, _replay(body, receive), send)
                return
        if problem is not None:
            await problem_response(problem)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _head_problem(self, scope: Scope) -> Problem | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(key) + len(value) for key, value in headers) > self._max_header_bytes:
            return Problem.HEADERS_TOO_LARGE
        single: dict[bytes, bytes] = {}
        for key, value in headers:
            name = key.lower()
            if name in _SINGLE and name in single:
                # Which of two identities counts would depend on who reads them.
                return Problem.INVALID_REQUEST
            single[name] = value
        if b"content-length" in single and b"transfer-encoding" in single:
            # A proxy in front may take the other one and see another request in the same bytes.
            return Problem.INVALID_REQUEST
        if scope["method"] not in _WITH_BODY:
            return None
        kind, _, parameters = single.get(b"content-type", b"").partition(b";")
        if kind.strip().lower() != b"application/json" or not _is_utf8(parameters):
            return Problem.UNSUPPORTED_MEDIA
        length = single.get(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 9):
            return Problem.INVALID_REQUEST if not length.isdigit() else Problem.TOO_LARGE
        if length is not None and int(length) > self._max_body_bytes:
            return Problem.TOO_LARGE
        return None

    async def _body(self, receive: Receive) -> bytes | Problem | None:
        """The whole body, a problem with it, or `None` when the caller has gone."""
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self._body_seconds):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._max_body_bytes:
                        return Problem.TOO_LARGE
                    more = message.get("more_body", False)
        except TimeoutError:
            return Problem.TIMEOUT
        return b"".join(parts)


def _is_utf8(parameters: bytes) -> bool:
    text = parameters.replace(b" ", b"").replace(b'"', b"").lower()
    return text in (b"", b"charset=utf-8")


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
