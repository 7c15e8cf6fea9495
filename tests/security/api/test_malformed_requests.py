"""Every malformed request gets a problem of the closed set, which repeats nothing of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_rag_api.problems import Problem
from tests.controls import control
from tests.unit.api.world import JSON, Reply, World, call, identity_headers

MARK = "zq9xk"
GOOD = json.dumps({"query": f"{MARK} leave"}).encode()
WHO = identity_headers()

Request = tuple[str, str, list[tuple[str, str]], bytes | list[bytes], str]


def post(body: bytes | list[bytes], headers: list[tuple[str, str]] | None = None, query: str = "") -> Request:
    return ("POST", "/v1/retrieve", [JSON, *WHO] if headers is None else headers, body, query)


def get(path: str, query: str = "", headers: list[tuple[str, str]] | None = None) -> Request:
    return ("GET", path, WHO if headers is None else headers, b"", query)


def field(**fields: object) -> Request:
    return post(json.dumps({"query": MARK, **fields}).encode())


REQUESTS: dict[str, tuple[Request, int]] = {
    "empty body": (post(b""), 400),
    "not JSON": (post(f"query={MARK}".encode()), 400),
    "cut off": (post(GOOD[:-2]), 400),
    "two documents": (post(GOOD + GOOD), 400),
    "not UTF-8": (post(b'{"query":"\xff\xfe"}'), 400),
    "UTF-16": (post(GOOD.decode().encode("utf-16")), 400),
    "byte order mark": (post(b"\xef\xbb\xbf" + GOOD), 400),
    "half a surrogate pair": (post(b'{"query":"\\udc00"}'), 400),
    "NaN": (post(f'{{"query":"{MARK}","k":NaN}}'.encode()), 400),
    "5000 digits": (post(f'{{"query":"{MARK}","k":{"9" * 5000}}}'.encode()), 400),
    "deep nesting": (post(b'{"query":' + b"[" * 60_000), 400),
    "deep nesting in an unknown field": (
        post(b'{"query":"x","a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        400,
    ),
    "an array": (post(b"[]"), 400),
    "null": (post(b"null"), 400),
    "duplicate key": (post(f'{{"query":"a","query":"{MARK}"}}'.encode()), 400),
    "unknown field": (field(**{MARK: MARK}), 400),
    "prototype pollution": (field(__proto__={"k": MARK}), 400),
    "as somebody else": (field(subject=MARK), 400),
    "query missing": (post(b"{}"), 400),
    "query empty": (field(query=""), 400),
    "query blank": (field(query="  "), 400),
    "query 4097 characters": (field(query=MARK + "x" * 4092), 400),
    "query is a list": (field(query=[MARK]), 400),
    "k zero": (field(k=0), 400),
    "k 101": (field(k=101), 400),
    "k negative": (field(k=-1), 400),
    "k text": (field(k=MARK), 400),
    "k true": (field(k=True), 400),
    "k fraction": (field(k=1.5), 400),
    "filter is text": (field(filter=MARK), 400),
    "filter with OR": (field(filter={"or": [{"source": MARK}]}), 400),
    "filter on tenant": (field(filter={"tenant": MARK}), 400),
    "filter source empty": (field(filter={"source": []}), 400),
    "filter source is an object": (field(filter={"source": {"$ne": MARK}}), 400),
    "filter instant without offset": (field(filter={"modified_after": "2026-01-01T00:00:00"}), 400),
    "filter instant in year 0": (field(filter={"modified_after": "0000-01-01T00:00:00Z"}), 400),
    "purpose empty": (field(purpose=""), 400),
    "context too long": (field(context_id=MARK * 40), 400),
    "staleness negative": (field(max_staleness_s=-1), 400),
    "explain as text": (field(explain="yes"), 400),
    "form": (post(GOOD, [("Content-Type", "application/x-www-form-urlencoded"), *WHO]), 415),
    "text": (post(GOOD, [("Content-Type", f"text/{MARK}"), *WHO]), 415),
    "no content type": (post(GOOD, WHO), 415),
    "content type twice": (post(GOOD, [JSON, ("content-type", "text/plain"), *WHO]), 400),
    "other charset": (post(GOOD, [("Content-Type", "application/json; charset=utf-16"), *WHO]), 415),
    "compressed": (post(b"\x1f\x8b\x08\x00", [JSON, ("Content-Encoding", "gzip"), *WHO]), 400),
    "declared too long": (post(b"{}", [JSON, ("Content-Length", "65537"), *WHO]), 413),
    "declared absurdly long": (post(b"{}", [JSON, ("Content-Length", "9" * 400), *WHO]), 413),
    "declared length is text": (post(b"{}", [JSON, ("Content-Length", MARK), *WHO]), 400),
    "declared length negative": (post(b"{}", [JSON, ("Content-Length", "-1"), *WHO]), 400),
    "two lengths": (post(b"{}", [JSON, ("Content-Length", "2"), ("Content-Length", "9"), *WHO]), 400),
    "length and chunks": (
        post(b"{}", [JSON, ("Content-Length", "2"), ("Transfer-Encoding", "chunked"), *WHO]),
        400,
    ),
    "body longer than allowed": (post(b'{"query":"' + b"x" * 66_000 + b'"}'), 413),
    "chunked body longer than allowed": (post([b"x" * 1000] * 70), 413),
    "headers too large": (post(GOOD, [JSON, *WHO, *((f"x-{i}", MARK * 100) for i in range(60))]), 431),
    "unknown route": (get(f"/v1/{MARK}"), 404),
    "route with a slash at the end": (get("/v1/retrieve/"), 404),
    "old version": (get("/v0/retrieve"), 404),
    "contract is not served": (get("/openapi.json"), 404),
    "documentation is not served": (get("/docs"), 404),
    "wrong method": (("GET", "/v1/retrieve", WHO, b"", ""), 405),
    "invented method": (("ZQ9XK", "/v1/retrieve", WHO, b"", ""), 405),
    "delete": (("DELETE", "/v1/chunks/chunk-0001", WHO, b"", ""), 405),
    "chunk id too short": (get("/v1/chunks/a"), 404),
    "chunk id too long": (get("/v1/chunks/" + "a" * 65), 404),
    "chunk id with a quote": (get(f"/v1/chunks/{MARK}'--aa"), 404),
    "chunk id climbs": (get("/v1/chunks/../../etc/passwd"), 404),
    "chunk id with a newline": (get("/v1/chunks/chunk-0001\n"), 404),
    "chunk id missing": (get("/v1/chunks/"), 404),
    "purpose twice": (get("/v1/chunks/chunk-0001", "purpose=qa&purpose=audit"), 400),
    "purpose blank": (get("/v1/chunks/chunk-0001", "purpose="), 400),
    "unknown parameter": (get("/v1/chunks/chunk-0001", f"{MARK}=1"), 400),
}


def check_problem(reply: Reply, status: int) -> None:
    assert reply.status == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["cache-control"] == "no-store"
    body = json.loads(reply.body)
    problem = next(x for x in Problem if x.status == status)
    assert (body.pop("type"), body.pop("title"), body.pop("status")) == (problem.type, problem.title, status)
    assert set(body) <= {"errors"}
    assert all(set(x) == {"field", "code"} for x in body.get("errors", []))
    assert MARK not in (reply.body.decode() + str(reply.headers)).lower()


@control("api:one-meaning", "api:errors-say-nothing", "api:bounded-requests")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_gets_a_problem_that_repeats_nothing(name: str) -> None:
    (method, path, headers, body, query), status = REQUESTS[name]
    world = World()
    check_problem(call(world.app(), method, path, headers, body, query=query), status)
    assert (world.retriever.asked, world.retriever.fetched) == ([], [])


@control("api:authenticated-first")
@pytest.mark.parametrize(
    "name", [x for x, (_, status) in REQUESTS.items() if status == 400 and "twice" not in x]
)
def test_without_tokens_a_malformed_body_is_not_looked_at(name: str) -> None:
    (method, path, headers, body, query), _ = REQUESTS[name]
    anonymous = [x for x in headers if x not in WHO]
    reply = call(World().app(), method, path, anonymous, body, query=query)
    assert reply.status == (400 if "length" in name else 401), reply


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_no_body_whatever_makes_more_than_a_problem(body: bytes) -> None:
    reply = call(World().app(), "POST", "/v1/retrieve", [JSON, *WHO], body)
    if reply.status != 200:
        check_problem(reply, 400)


def test_a_good_request_still_passes() -> None:
    assert call(World().app(), "POST", "/v1/retrieve", [JSON, *WHO], GOOD).status == 200
    utf8 = ("Content-Type", 'Application/JSON; Charset="UTF-8"')
    assert call(World().app(), "POST", "/v1/retrieve", [utf8, *WHO], [GOOD[:5], b"", GOOD[5:]]).status == 200
