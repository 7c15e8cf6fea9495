"""Ask a running service over HTTP."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from secure_rag.client.models import ChunkResponse, Filter, RetrieveResponse
from secure_rag.client.problems import error_of
from secure_rag.errors import AuthenticationError, InvalidRequestError, UnavailableError

Token: TypeAlias = str | Callable[[], str]
"""A token, or a function that gives a fresh one; it is called once per request."""

_SENDABLE: Final = re.compile(r"[\x21-\x7e]{1,16384}")
_T = TypeVar("_T", bound=BaseModel)


class Client:
    """A connection to the service for one caller and one subject. Safe to share between threads.

    Args:
        base_url: `https://…`; plain `http` only to this machine.
        token: vouches for the caller: the application, or the agent that is the last hop.
        subject_token: vouches for the person or agent it asks for, or `delegation:<id>` of a delegation whose
            last hop is the caller.
        timeout: seconds for each of connecting, sending, waiting and reading.
        transport: another way to reach the service, as in tests.

    Raises:
        InvalidRequestError: the URL is not one that tokens may be sent to.
    """

    def __init__(
        self,
        base_url: str,
        token: Token,
        subject_token: Token,
        timeout: float = 30.0,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        url = _checked_url(base_url)
        self._token = token
        self._subject_token = subject_token
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
            # A proxy named in the environment would read tokens that go over plain http.
            trust_env=url.scheme == "https",
        )

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def retrieve(
        self,
        query: str,
        *,
        k: int = 10,
        filter: Filter | Mapping[str, object] | None = None,
        purpose: str = "qa",
        context_id: str | None = None,
        max_staleness_s: int | None = None,
        explain: bool = False,
    ) -> RetrieveResponse:
        """The chunks nearest to a query among those that the subject and everybody in between may read.

        Args:
            query: 1 to 4096 characters.
            k: 1 to 100 results wanted.
            filter: narrows the answer.
            purpose: must be among the purposes of every grant in the chain.
            context_id: names one conversation; external and confidential content are then kept apart in it.
            max_staleness_s: refuse when permissions of a source open to the subject are older, in seconds.
            explain: add to each result why it was allowed.

        Raises:
            AuthenticationError: a token is missing, broken, expired or of another tenant.
            InvalidRequestError: a field is out of its range.
            StaleSourceError: permissions are older than `max_staleness_s`.
            RateLimitedError: too many requests.
            UnavailableError: the service cannot be reached or cannot answer safely now.
        """
        body: dict[str, object] = {"query": query, "k": k, "purpose": purpose, "explain": explain}
        if filter is not None:
            body["filter"] = _filter(filter)
        if context_id is not None:
            body["context_id"] = context_id
        if max_staleness_s is not None:
            body["max_staleness_s"] = max_staleness_s
        return self._ask(RetrieveResponse, "POST", "v1/retrieve", content=_json(body))

    def chunk(self, chunk_id: str, *, purpose: str = "qa") -> ChunkResponse:
        """One chunk by id, decided anew.

        Raises:
            NotFoundError: there is no such chunk, or the subject may not read it.
            AuthenticationError: a token is missing, broken, expired or of another tenant.
            RateLimitedError: too many requests.
            UnavailableError: the service cannot be reached or cannot answer safely now.
        """
        path = f"v1/chunks/{quote(chunk_id, safe='')}"
        return self._ask(ChunkResponse, "GET", path, params={"purpose": purpose})

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self,
        model: type[_T],
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
    ) -> _T:
        response = self._send(method, path, content, params)
        if response.status_code != 200:
            raise error_of(response)
        try:
            return model.model_validate_json(response.content)
        except ValidationError:
            broken = "the service answered something that is not an answer; is the base URL right?"
        raise UnavailableError(broken)

    def _send(
        self, method: str, path: str, content: bytes | None, params: dict[str, str] | None
    ) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {_sendable(self._token, 'token')}",
            "X-Subject-Token": _sendable(self._subject_token, "subject token"),
        }
        if content is not None:
            headers["Content-Type"] = "application/json"
        failure = ""
        for _ in range(2):
            try:
                return self._http.request(method, path, headers=headers, content=content, params=params)
            except httpx.RemoteProtocolError as error:
                # A kept-alive connection that the server closed meanwhile; asking again changes nothing.
                failure = type(error).__name__
            except httpx.HTTPError as error:
                failure = type(error).__name__
                break
        # Raised out here: the exceptions of httpx carry the request, and with it the tokens.
        raise UnavailableError(f"cannot reach the service ({failure})")


def _json(body: dict[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError):
        pass
    # Raised out here: an encoding error quotes the query.
    raise InvalidRequestError("a field cannot be sent as JSON in UTF-8")


def _sendable(token: Token, what: str) -> str:
    text = token if isinstance(token, str) else token()
    # The HTTP library would quote an illegal header value in its exception.
    if not _SENDABLE.fullmatch(text):
        raise AuthenticationError(f"the {what} is empty, too long or holds what a header cannot carry")
    return text


def _filter(given: Filter | Mapping[str, object]) -> dict[str, object]:
    try:
        checked = given if isinstance(given, Filter) else Filter.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise InvalidRequestError(f"filter: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return checked.model_dump(mode="json", exclude_none=True)


def _checked_url(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidRequestError("base_url is not a URL") from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidRequestError("base_url must start with https:// and name a host")
    if url.userinfo or url.query or url.fragment:
        raise InvalidRequestError("base_url must not hold a user, a query or a fragment")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise InvalidRequestError("tokens go over https only, except to this machine")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
