"""From an error response to the exception that a caller may catch."""

from __future__ import annotations

from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from secure_rag.errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    SecureRagError,
    StaleSourceError,
    UnavailableError,
)

_PREFIX: Final = "urn:secure-rag:problem:"
_MAX_BODY: Final = 64 * 1024
_BY_STATUS: Final[dict[int, tuple[type[SecureRagError], str]]] = {
    400: (InvalidRequestError, "the service refused the request as invalid"),
    401: (AuthenticationError, "the service did not accept the token or the subject token"),
    404: (NotFoundError, "there is no such thing, or the subject may not know of it"),
    408: (UnavailableError, "the request did not arrive in time"),
    409: (StaleSourceError, "permissions of a source open to the subject are older than max_staleness_s"),
    429: (RateLimitedError, "too many requests of this caller and subject"),
}


class _Field(BaseModel):
    model_config = ConfigDict(extra="ignore")
    field: str
    code: str


class _Problem(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: str
    errors: tuple[_Field, ...] = ()


def error_of(response: httpx.Response) -> SecureRagError:
    """The exception for a response that is no answer. Its text never holds a token or the request."""
    status = response.status_code
    known = _BY_STATUS.get(status)
    if known is not None:
        kind, text = known
    elif 400 <= status < 500:
        kind, text = InvalidRequestError, "the service refused the request"
    elif status >= 500:
        kind, text = UnavailableError, "the service could not answer safely now; try again"
    else:
        kind, text = UnavailableError, "this is not an answer of the service; is the base URL right?"
    return kind(f"{text} (status {status}{_problem_name(response)}){_retry_after(response)}")


def _problem_name(response: httpx.Response) -> str:
    if response.headers.get("content-type", "").split(";")[0].strip() != "application/problem+json":
        return ""
    if len(response.content) > _MAX_BODY:
        return ""
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:
        return ""
    fields = "".join(f"; {error.field}: {error.code}" for error in problem.errors[:20])
    return f", {problem.type.removeprefix(_PREFIX)}{fields}"


def _retry_after(response: httpx.Response) -> str:
    seconds = response.headers.get("retry-after", "")
    return f"; try again in {seconds} s" if seconds.isascii() and seconds.isdigit() else ""
