"""How a call reaches the query flow: authenticated, counted, then run on a thread of its own pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from fastapi import Request
from starlette.responses import Response

from secure_rag.errors import UnavailableError
from secure_rag.model.subject import CallerIdentity
from secure_rag_api.problems import SlowDownError
from secure_rag_api.served import ServedHome

DECISION_THREADS: Final = 2
"""Decisions are bound by the interpreter lock: more threads make each slower. Scale by processes."""
MAX_WAITING: Final = 64
DECISION_SECONDS: Final = 30.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Value(Generic[_T]):
    value: _T


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class Calls:
    """The way from a request to an answer.

    Args:
        served: the open home.
        max_waiting: calls being decided or waiting for a thread; one more is told to come back.
        seconds: an answer that takes longer does not leave.
    """

    def __init__(
        self, served: ServedHome, *, max_waiting: int = MAX_WAITING, seconds: float = DECISION_SECONDS
    ) -> None:
        self._served = served
        self._pool = ThreadPoolExecutor(DECISION_THREADS, thread_name_prefix="decision")
        self._max_waiting = max_waiting
        self._waiting = 0
        self._seconds = seconds

    def admit(self, request: Request) -> CallerIdentity:
        """Who calls, unless it calls too often. Comes before the body is looked at.

        Raises:
            AuthenticationError: the tokens are not in order.
            SlowDownError: too many requests.
        """
        headers = request.headers
        who = self._served.tokens.identity(headers.get("authorization"), headers.get("x-subject-token"))
        wait_s = self._served.limiter.wait_s(who)
        if wait_s > 0:
            raise SlowDownError(wait_s)
        return who

    async def decide(self, work: Callable[[], _T]) -> _T:
        """Run blocking work on a decision thread.

        Raises:
            UnavailableError: too much is waiting, or it took too long.
            SecureRagError: whatever the work raises.
        """
        if self._waiting >= self._max_waiting:
            raise UnavailableError("too many calls are waiting")
        self._waiting += 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, _outcome, work)
        running.add_done_callback(self._done)
        try:
            async with asyncio.timeout(self._seconds):
                # Shielded: a thread cannot be cancelled, and counts as waiting until it ends.
                outcome = await asyncio.shield(running)
        except TimeoutError:
            outcome = None
        if outcome is None:
            raise UnavailableError("the decision took too long")
        if not isinstance(outcome, _Failed):
            return outcome.value
        if isinstance(outcome.error, Exception):
            raise outcome.error
        raise RuntimeError("the decision broke off") from outcome.error

    def close(self) -> None:
        """Wait for the last decision, then close the home."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._served.close()

    def _done(self, _: object) -> None:
        self._waiting -= 1


def _outcome(work: Callable[[], _T]) -> _Value[_T] | _Failed:
    """Run work and return even its failure.

    A future takes no StopIteration (whoever waits would wait for ever), and anything beyond `Exception`, as
    libraries in Rust raise when they panic, would end the event loop.
    """
    try:
        return _Value(work())
    except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
        return _Failed(error)


def json_response(body: bytes) -> Response:
    """An answer that no cache may keep."""
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})
