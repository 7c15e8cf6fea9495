"""The client against answers made by hand; `tests/integration/api` has it against the service."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import httpx
import pytest

import secure_rag
from secure_rag import (
    AuthenticationError,
    Client,
    Filter,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    SecureRagError,
    StaleSourceError,
    UnavailableError,
)
from tests.controls import control

TOKEN, SUBJECT = "caller-secret-aaa", "subject-secret-bbb"
RESULT: dict[str, object] = {
    "chunk_id": "chunk-0001",
    "document_id": "doc-1",
    "source": "handbook",
    "title": "Leave",
    "headings": ["People"],
    "text": "16 weeks",
    "score": 0.5,
    "label": "Internal",
    "trust": "internal",
    "acl_as_of": "2026-01-01T00:00:00.000000Z",
    "flags": [],
    "explanation": None,
}
ANSWER: dict[str, object] = {
    "decision_id": "d1",
    "policy_version": "p1",
    "effective_label": "Internal",
    "complete": True,
    "notices": [],
    "results": [RESULT],
}

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, **more: object) -> Client:
    values: dict[str, object] = {"token": TOKEN, "subject_token": SUBJECT, **more}
    transport = httpx.MockTransport(handler)
    return Client("https://rag.acme.example/api", transport=transport, **values)  # type: ignore[arg-type]  # by name


def answering(status: int = 200, body: object = ANSWER, **headers: str) -> Handler:
    return lambda _: httpx.Response(status, json=body, headers=headers)


def test_a_request_has_both_tokens_and_only_what_was_given() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    with client(handler) as asked:
        asked.retrieve("leave")
    (request,) = seen
    assert str(request.url) == "https://rag.acme.example/api/v1/retrieve"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["x-subject-token"] == SUBJECT
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"query": "leave", "k": 10, "purpose": "qa", "explain": False}


def test_every_argument_reaches_the_service() -> None:
    bodies: list[dict[str, object]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json=ANSWER)

    after = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    with client(handler) as asked:
        asked.retrieve(
            "ünï",
            k=3,
            filter=Filter(source=("hr", "wiki"), label_max="Internal", modified_after=after),
            purpose="audit",
            context_id="c1",
            max_staleness_s=60,
            explain=True,
        )
        asked.retrieve("x", filter={"source": "hr", "modified_after": datetime(2026, 1, 1, tzinfo=UTC)})
    assert bodies[0] == {
        "query": "ünï",
        "k": 3,
        "filter": {
            "source": ["hr", "wiki"],
            "label_max": "Internal",
            "modified_after": "2026-01-01T01:00:00+01:00",
        },
        "purpose": "audit",
        "context_id": "c1",
        "max_staleness_s": 60,
        "explain": True,
    }
    assert bodies[1]["filter"] == {"source": ["hr"], "modified_after": "2026-01-01T00:00:00Z"}


def test_an_answer_is_frozen_iterable_and_gives_records() -> None:
    with client(answering()) as asked:
        answer = asked.retrieve("leave")
    assert len(answer) == 1
    assert [x.text for x in answer] == ["16 weeks"]
    assert answer.results[0].acl_as_of == datetime(2026, 1, 1, tzinfo=UTC)
    (record,) = answer.to_records()
    assert record["title"] == "Leave"
    assert record["headings"] == ("People",)
    with pytest.raises(ValueError, match="frozen"):
        answer.complete = False
    assert not asked_empty()


def asked_empty() -> secure_rag.RetrieveResponse:
    with client(answering(body={**ANSWER, "results": [], "effective_label": None})) as asked:
        return asked.retrieve("leave")


def test_what_a_newer_service_adds_is_ignored() -> None:
    newer = {**ANSWER, "colour": "blue", "results": [{**RESULT, "shape": "round"}]}
    with client(answering(body=newer)) as asked:
        assert len(asked.retrieve("leave")) == 1


def test_a_chunk_is_fetched_by_its_quoted_id() -> None:
    urls: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(200, json={"decision_id": "d", "policy_version": "p", "result": RESULT})

    with client(handler) as asked:
        assert asked.chunk("chunk-0001").result.text == "16 weeks"
        asked.chunk("../../x?y", purpose="a b")
    assert urls == [
        "https://rag.acme.example/api/v1/chunks/chunk-0001?purpose=qa",
        "https://rag.acme.example/api/v1/chunks/..%2F..%2Fx%3Fy?purpose=a+b",
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, InvalidRequestError),
        (404, NotFoundError),
        (408, UnavailableError),
        (409, StaleSourceError),
        (413, InvalidRequestError),
        (429, RateLimitedError),
        (500, UnavailableError),
        (502, UnavailableError),
        (503, UnavailableError),
        (302, UnavailableError),
        (204, UnavailableError),
    ],
)
@pytest.mark.parametrize("body", ["problem", "html"])
def test_statuses_become_errors(status: int, kind: type[SecureRagError], body: str) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        if body == "html":
            return httpx.Response(
                status, text="<h1>proxy</h1>", headers={"Location": "https://evil.example/"}
            )
        problem = {"type": f"urn:secure-rag:problem:p{status}", "title": "t", "status": status}
        return httpx.Response(
            status, content=json.dumps(problem), headers={"Content-Type": "application/problem+json"}
        )

    with client(handler) as asked, pytest.raises(kind) as caught:
        asked.retrieve("leave")
    assert type(caught.value) is kind
    assert f"status {status}" in str(caught.value)
    assert (f"p{status}" in str(caught.value)) == (body == "problem")


def test_an_error_names_fields_and_when_to_try_again() -> None:
    problem = {
        "type": "urn:secure-rag:problem:invalid-request",
        "title": "t",
        "status": 400,
        "errors": [{"field": "k", "code": "less_than_equal"}],
    }
    headers = {"content-type": "application/problem+json", "retry-after": "7"}
    with (
        client(lambda _: httpx.Response(400, content=json.dumps(problem), headers=headers)) as asked,
        pytest.raises(InvalidRequestError, match=r"invalid-request; k: less_than_equal\); try again in 7 s"),
    ):
        asked.retrieve("leave", k=500)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", json.dumps({**ANSWER, "results": [{}]}).encode()]
)
def test_a_success_that_is_no_answer_is_unavailable(content: bytes) -> None:
    with client(lambda _: httpx.Response(200, content=content)) as asked, pytest.raises(UnavailableError):
        asked.retrieve("leave")


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (httpx.ConnectError, 1),
        (httpx.ReadTimeout, 1),
        (httpx.ReadError, 1),
        (httpx.ProxyError, 1),
        (httpx.RemoteProtocolError, 2),
    ],
)
def test_a_broken_connection_is_unavailable_and_a_closed_one_is_tried_again(
    error: type[httpx.TransportError], tries: int
) -> None:
    calls: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        raise error("broken", request=request)

    with client(handler) as asked, pytest.raises(UnavailableError, match=error.__name__) as caught:
        asked.retrieve("leave")
    assert len(calls) == tries
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_connection_closed_while_idle_is_not_noticed() -> None:
    calls: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        if len(calls) == 1:
            raise httpx.RemoteProtocolError("gone", request=request)
        return httpx.Response(200, json=ANSWER)

    with client(handler) as asked:
        assert len(asked.retrieve("leave")) == 1


def test_a_token_function_is_asked_for_each_request() -> None:
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers["authorization"])
        return httpx.Response(200, json=ANSWER)

    fresh = iter(["one", "two"])
    with client(handler, token=lambda: next(fresh)) as asked:
        asked.retrieve("a")
        asked.retrieve("b")
    assert sent == ["Bearer one", "Bearer two"]


@control("client:tokens-stay-private")
@pytest.mark.parametrize(
    "url",
    [
        "http://rag.acme.example",
        "http://10.0.0.7:8000",
        "http://127.0.0.1.acme.example",
        "http://localhost.acme.example",
        "http://[2001:db8::1]/",
        "ftp://rag.acme.example",
        "rag.acme.example",
        "https://",
        "https://user:secret@rag.acme.example",
        "https://rag.acme.example/?token=x",
        "https://rag.acme.example/#x",
        "http://\x00",
        "",
    ],
)
def test_tokens_go_over_https_or_loopback_only(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Client(url, TOKEN, SUBJECT)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1", "https://a.example/p"]
)
def test_these_addresses_are_fine(url: str) -> None:
    Client(url, TOKEN, SUBJECT).close()


@control("client:tokens-stay-private")
def test_a_proxy_of_the_environment_never_sees_plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    with Client("http://localhost:8080", TOKEN, SUBJECT) as local:
        assert not [x for x in local._http._mounts.values() if x is not None]


@control("client:tokens-stay-private")
@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünï", "nul\x00", "x" * 16_385])
@pytest.mark.parametrize("which", ["token", "subject_token"])
def test_a_token_that_no_header_can_carry_is_refused_without_being_quoted(token: str, which: str) -> None:
    with client(answering(), **{which: token}) as asked, pytest.raises(AuthenticationError) as caught:
        asked.retrieve("leave")
    assert not token or token not in str(caught.value)
    assert caught.value.__context__ is None


@control("client:tokens-stay-private")
def test_tokens_are_in_no_log_repr_or_error(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("broken", request=request)

    with caplog.at_level(logging.DEBUG):
        with client(answering()) as asked:
            asked.retrieve("leave")
        with client(handler) as broken, pytest.raises(UnavailableError) as failed:
            broken.retrieve("leave")
        with client(answering(401, {})) as refused, pytest.raises(AuthenticationError) as denied:
            refused.retrieve("leave")
    said = caplog.text + repr(asked) + repr(failed.value) + repr(denied.value)
    assert repr(asked) == "Client('https://rag.acme.example/api/')"
    assert "secret" not in said


@pytest.mark.parametrize(
    "wrong",
    [{"source": ()}, {"source": [1]}, {"or": []}, {"modified_after": datetime(2026, 1, 1)}],  # noqa: DTZ001 - the mistake
)
def test_a_filter_that_would_not_narrow_is_refused_before_it_is_sent(wrong: dict[str, object]) -> None:
    with client(answering()) as asked, pytest.raises(InvalidRequestError, match=r"^filter: "):
        asked.retrieve("leave", filter=wrong)


@pytest.mark.parametrize("wrong", [{"query": "\ud800"}, {"query": "x", "k": float("nan")}, {"query": b"x"}])
def test_what_is_no_json_is_refused_without_being_quoted(wrong: dict[str, object]) -> None:
    with client(answering()) as asked, pytest.raises(InvalidRequestError) as caught:
        asked.retrieve(**wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert caught.value.__context__ is None
