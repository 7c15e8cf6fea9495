"""Sizes, times and numbers of calls: what is over a limit is refused, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from secure_rag.errors import UnavailableError
from secure_rag_api.limits import LastResort, Limits
from secure_rag_api.routes.calls import Calls
from tests.controls import control
from tests.unit.api.world import JSON, World, ask, call, identity_headers, subject_token

ANSWER: list[Message] = [
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"whole"},
]


def scope() -> Scope:
    return {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [(b"content-type", b"application/json")],
    }


async def never() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


async def good(_scope: Scope, _receive: Receive, send: Send) -> None:
    for message in ANSWER:
        await send(message)


def run(app: ASGIApp, receive: Receive = never, request: Scope | None = None) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def go() -> None:
        await app(request or scope(), receive, send)

    asyncio.run(go())
    return sent


@control("api:bounded-requests")
def test_a_body_that_never_comes_ends_in_408() -> None:
    sent = run(Limits(good, body_seconds=0.01))
    assert sent[0]["status"] == 408


@control("api:bounded-requests")
def test_a_body_that_trickles_ends_in_408() -> None:
    async def trickle() -> Message:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    sent = run(Limits(good, body_seconds=0.02), trickle)
    assert sent[0]["status"] == 408


def test_a_caller_that_hangs_up_in_its_body_gets_nothing_and_reaches_nothing() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    assert run(Limits(good), gone) == []


def test_what_is_not_http_passes_untouched() -> None:
    seen: list[object] = []

    async def inner(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    run(LastResort(Limits(inner)), request={"type": "lifespan"})
    assert seen == ["lifespan"]


@control("api:errors-say-nothing")
def test_half_an_answer_breaks_the_connection_instead_of_looking_whole() -> None:
    async def half(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(ANSWER[0])
        raise RuntimeError("hunter2")

    with pytest.raises(ConnectionAbortedError) as caught:
        run(LastResort(half))
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)


@control("api:rate-before-audit")
def test_who_asks_too_often_does_not_reach_the_query_flow() -> None:
    world = World(per_minute=12)
    app = world.app()
    statuses = [ask(app).status for _ in range(5)]
    assert statuses == [200, 200, 429, 429, 429]
    assert len(world.retriever.asked) == 2
    refused = call(app, "GET", "/v1/chunks/chunk-0001", identity_headers())
    assert refused.status == 429
    assert refused.headers["retry-after"] == "5"
    assert world.retriever.fetched == []
    assert ask(app, headers=identity_headers(subject=subject_token("user:lin.okafor"))).status == 200
    world.clock.advance(5)
    assert ask(app).status == 200


@control("api:rate-before-audit")
def test_made_up_delegations_do_not_lift_the_limit() -> None:
    world = World(per_minute=6)
    app = world.app()
    for i in range(60):
        ask(app, headers=identity_headers(subject=f"delegation:made-up-{i:04}"))
    assert len(world.retriever.asked) == 20


@control("api:rate-before-audit", "api:authenticated-first")
def test_an_unauthenticated_flood_uses_up_nobodys_limit() -> None:
    world = World(per_minute=6)
    app = world.app()
    for _ in range(50):
        assert (
            ask(app, headers=[("Authorization", "Bearer a.b.c"), ("X-Subject-Token", subject_token())]).status
            == 401
        )
    assert ask(app).status == 200


@control("api:bounded-requests")
def test_calls_beyond_the_waiting_line_are_told_to_come_back() -> None:
    release, world = threading.Event(), World()

    async def go() -> list[int]:
        calls = Calls(world.served(), max_waiting=3)
        held = [asyncio.ensure_future(calls.decide(release.wait)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            await calls.decide(release.wait)
        release.set()
        await asyncio.gather(*held)
        done = [int(await calls.decide(lambda: 1))]
        await asyncio.to_thread(calls.close)
        return done

    assert asyncio.run(go()) == [1]
    assert world.closed == 1


@control("api:bounded-requests")
def test_a_decision_that_hangs_is_given_up_but_still_counted() -> None:
    release, world = threading.Event(), World()

    async def go() -> None:
        calls = Calls(world.served(), max_waiting=1, seconds=0.01)
        with pytest.raises(UnavailableError, match="too long"):
            await calls.decide(release.wait)
        with pytest.raises(UnavailableError, match="waiting"):
            await calls.decide(release.wait)
        release.set()
        await asyncio.to_thread(calls.close)

    asyncio.run(go())


def test_health_answers_while_decisions_wait() -> None:
    release, world = threading.Event(), World()
    busy = threading.Barrier(3)

    def hold() -> None:
        busy.wait()
        release.wait()

    async def go() -> tuple[int, int]:
        transport = httpx.ASGITransport(app=world.app())
        headers = dict([JSON, *identity_headers()])
        world.retriever.before = hold
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            posts = (client.post("/v1/retrieve", headers=headers, content=b'{"query":"x"}') for _ in range(2))
            asked = [asyncio.ensure_future(post) for post in posts]
            await asyncio.to_thread(busy.wait)
            health, ready = await client.get("/healthz"), await client.get("/readyz")
            release.set()
            assert [x.status_code for x in await asyncio.gather(*asked)] == [200, 200]
            return health.status_code, ready.status_code

    assert asyncio.run(go()) == (200, 200)
