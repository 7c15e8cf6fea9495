"""Errors as RFC 9457 problem details. The only place that writes one; no exception text ever reaches a caller.

A problem is one of a closed set. Beside its type, title and status it holds at most the names of request fields
(ours, never the caller's spelling) with fixed codes.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import orjson
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from secure_rag.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    SecureRagError,
    StaleSourceError,
    StoreError,
    UnavailableError,
)

_log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:secure-rag:problem:"
MAX_FIELDS: Final = 20
_FRAMES: Final = 6


class Problem(Enum):
    """Every problem: name of the type, status, title."""

    INVALID_REQUEST = ("invalid-request", 400, "The request is not valid")
    UNAUTHENTICATED = ("unauthenticated", 401, "Authentication required")
    NOT_FOUND = ("not-found", 404, "Not found")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "Method not allowed")
    TIMEOUT = ("request-timeout", 408, "The request did not arrive in time")
    STALE_SOURCE = ("stale-source", 409, "Permissions are older than accepted")
    TOO_LARGE = ("content-too-large", 413, "Request too large")
    UNSUPPORTED_MEDIA = ("unsupported-media-type", 415, "The body must be application/json")
    RATE_LIMITED = ("rate-limited", 429, "Too many requests")
    HEADERS_TOO_LARGE = ("headers-too-large", 431, "Request headers too large")
    INTERNAL = ("internal", 500, "Internal error")
    UNAVAILABLE = ("unavailable", 503, "Temporarily unavailable")

    def __init__(self, kind: str, status: int, title: str) -> None:
        self.type = TYPE_PREFIX + kind
        self.status = status
        self.title = title


_BY_STATUS: Final = {problem.status: problem for problem in Problem}
_BY_ERROR: Final[Mapping[type[SecureRagError], Problem]] = {
    AuthenticationError: Problem.UNAUTHENTICATED,
    InvalidRequestError: Problem.INVALID_REQUEST,
    NotFoundError: Problem.NOT_FOUND,
    RateLimitedError: Problem.RATE_LIMITED,
    StaleSourceError: Problem.STALE_SOURCE,
    StoreError: Problem.UNAVAILABLE,
    UnavailableError: Problem.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """A field of the request with what is wrong with it, both in words of ours."""

    field: str
    code: str


class RequestRefusedError(InvalidRequestError):
    """A request is malformed in fields that can be named."""

    def __init__(self, fields: Iterable[FieldError]) -> None:
        super().__init__("malformed request")
        self.fields = tuple(fields)


class SlowDownError(RateLimitedError):
    """Too many requests; when to come back."""

    def __init__(self, wait_s: int) -> None:
        super().__init__("rate limit")
        self.wait_s = wait_s


def problem_body(problem: Problem, fields: Sequence[FieldError] = ()) -> bytes:
    """The JSON of a problem."""
    body: dict[str, object] = {"type": problem.type, "title": problem.title, "status": problem.status}
    if fields:
        body["errors"] = [{"field": x.field, "code": x.code} for x in fields[:MAX_FIELDS]]
    return orjson.dumps(body)


def problem_response(
    problem: Problem, *, fields: Sequence[FieldError] = (), retry_after_s: int = 1, allow: str | None = None
) -> Response:
    """A complete response for a problem."""
    headers = {"Cache-Control": "no-store"}
    if problem is Problem.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="secure-rag"'
    if problem in (Problem.RATE_LIMITED, Problem.UNAVAILABLE):
        headers["Retry-After"] = str(retry_after_s)
    if allow is not None:
        headers["Allow"] = allow
    return Response(problem_body(problem, fields), problem.status, headers, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Response:
    """The response for an exception. What is not one of ours for callers is an internal error, logged without text."""
    if isinstance(error, RequestRefusedError):
        return problem_response(Problem.INVALID_REQUEST, fields=error.fields)
    if isinstance(error, SlowDownError):
        return problem_response(Problem.RATE_LIMITED, retry_after_s=error.wait_s)
    if isinstance(error, HTTPException):
        known = _BY_STATUS.get(error.status_code)
        problem = known or (Problem.INVALID_REQUEST if error.status_code < 500 else Problem.INTERNAL)
        return problem_response(problem, allow=(error.headers or {}).get("Allow"))
    for kind, problem in _BY_ERROR.items():
        if isinstance(error, kind):
            if problem is Problem.UNAVAILABLE:
                _log.error("unavailable: %s", describe(error))
            return problem_response(problem)
    _log.error("internal error: %s", describe(error))
    return problem_response(Problem.INTERNAL)


def describe(error: BaseException) -> str:
    """Types and places of an exception and its causes, without messages: those may quote queries or documents."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < _FRAMES:
        frames = traceback.extract_tb(seen.__traceback__)[-_FRAMES:]
        places = " ".join(f"{frame.name}:{frame.lineno}" for frame in frames)
        parts.append(f"{type(seen).__module__}.{type(seen).__qualname__} at {places or '?'}")
        seen = seen.__cause__ or seen.__context__
    return " <- ".join(parts)


def install_problems(app: FastAPI) -> None:
    """Make every exception that a route raises a problem response."""

    async def handle(_: Request, error: Exception) -> Response:
        return problem_of(error)

    app.add_exception_handler(HTTPException, handle)
    app.add_exception_handler(SecureRagError, handle)
