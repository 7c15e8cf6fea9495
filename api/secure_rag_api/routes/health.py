"""`/healthz` and `/readyz`: for load balancers; they tell an anonymous caller nothing but yes or no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from secure_rag_api.openapi import Status, problems
from secure_rag_api.problems import Problem, describe, problem_response
from secure_rag_api.routes.calls import json_response

_log = logging.getLogger(__name__)
_FRESH_SECONDS: Final = 1.0


class Readiness:
    """Asks what keeps the home from serving, at most once a second, and logs it when it changes."""

    def __init__(self, reasons: Callable[[], list[str]]) -> None:
        self._reasons = reasons
        self._lock = asyncio.Lock()
        self._asked_at = float("-inf")
        self._last: list[str] = ["not asked yet"]

    async def ready(self) -> bool:
        """Whether it may serve."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at >= _FRESH_SECONDS:
                found = await asyncio.to_thread(self._ask)
                if found != self._last:
                    _log.warning("not ready: %s", ", ".join(found)) if found else _log.info("ready")
                self._last, self._asked_at = found, now
            return not self._last

    def _ask(self) -> list[str]:
        try:
            return self._reasons()
        except Exception as error:  # noqa: BLE001 - who cannot say that it is ready is not
            return [describe(error)]


def router(reasons: Callable[[], list[str]]) -> APIRouter:
    """Both routes."""
    routes = APIRouter()
    readiness = Readiness(reasons)

    @routes.get(
        "/healthz",
        operation_id="healthz",
        summary="The process answers",
        response_model=Status,
        responses=problems(400, 431),
    )
    async def healthz() -> Response:
        return json_response(b'{"status":"ok"}')

    @routes.get(
        "/readyz",
        operation_id="readyz",
        summary="The service may answer queries",
        response_model=Status,
        responses=problems(400, 431, 503),
    )
    async def readyz() -> Response:
        if await readiness.ready():
            return json_response(b'{"status":"ready"}')
        return problem_response(Problem.UNAVAILABLE)

    return routes
