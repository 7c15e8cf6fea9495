"""Whatever breaks, the caller learns one of a dozen titles, and the log no content."""

from __future__ import annotations

import json
import logging
import sqlite3

import pytest

from secure_rag import errors
from tests.controls import control
from tests.unit.api.world import World, ask, call, chunk, identity_headers

SECRET = "hunter2 /srv/payroll/board.xlsx user:ada.marsh"


class Panic(BaseException):
    """As libraries in Rust raise: no `except Exception` catches it."""


def raising(error: BaseException) -> World:
    world = World()

    def fail() -> None:
        raise error

    world.retriever.before = fail
    return world


@control("api:errors-say-nothing")
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.AuthenticationError(SECRET), 401),
        (errors.InvalidRequestError(SECRET), 400),
        (errors.NotFoundError(SECRET), 404),
        (errors.StaleSourceError(SECRET), 409),
        (errors.RateLimitedError(SECRET), 429),
        (errors.UnavailableError(SECRET), 503),
        (errors.StoreError(SECRET), 503),
        (errors.PolicyError(SECRET), 500),
        (errors.ConfigError(SECRET), 500),
        (errors.ModelError(SECRET), 500),
        (RuntimeError(SECRET), 500),
        (sqlite3.OperationalError(SECRET), 500),
        (KeyError(SECRET), 500),
        (ExceptionGroup(SECRET, [errors.UnavailableError(SECRET)]), 500),
        (RecursionError(SECRET), 500),
        (MemoryError(SECRET), 500),
        (StopIteration(SECRET), 500),
        (Panic(SECRET), 500),
        (SystemExit(SECRET), 500),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else str(x),
)
def test_an_exception_becomes_a_problem_without_its_text(
    error: BaseException, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = raising(error).app()
    with caplog.at_level(logging.DEBUG):
        replies = [ask(app), call(app, "GET", "/v1/chunks/chunk-0001", identity_headers())]
    for reply in replies:
        assert reply.status == status
        assert reply.headers["content-type"] == "application/problem+json"
        assert set(json.loads(reply.body)) == {"type", "title", "status"}
        assert ("retry-after" in reply.headers) == (status in (429, 503))
    said = caplog.text + "".join(map(str, replies))
    assert not [word for word in SECRET.split() if word in said]
    if status in (500, 503):
        assert type(error).__name__ in caplog.text


@control("api:errors-say-nothing")
def test_an_answer_that_cannot_be_written_does_not_leave_in_part(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    broken = chunk("chunk-0001", "text", explanation={"lock": object(), SECRET: 1})
    world.retriever.chunks["chunk-0001"] = (frozenset({"user:ada.marsh"}), broken)
    with caplog.at_level(logging.DEBUG):
        reply = ask(world.app())
    assert reply.status == 500
    assert "hunter2" not in caplog.text + str(reply)


@control("api:errors-say-nothing")
def test_a_text_that_is_no_unicode_does_not_leave_in_part() -> None:
    world = World()
    world.retriever.chunks["chunk-0001"] = (frozenset({"user:ada.marsh"}), chunk("chunk-0001", "\ud800"))
    assert ask(world.app()).status == 500


@control("api:errors-say-nothing")
def test_refused_tokens_are_logged_with_fixed_words_only(caplog: pytest.LogCaptureFixture) -> None:
    headers = [("Authorization", f"Bearer {SECRET}"), ("X-Subject-Token", "hunter2")]
    with caplog.at_level(logging.DEBUG):
        assert ask(World().app(), headers=headers).status == 401
    assert "authentication refused: caller: not a signed token" in caplog.text
    assert "hunter2" not in caplog.text


@control("api:errors-say-nothing")
def test_a_query_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert ask(World().app(), b'{"query":"hunter2"}').status == 200
        assert ask(World().app(), b'{"query":"hunter2","k":0}').status == 400
    assert "hunter2" not in caplog.text
