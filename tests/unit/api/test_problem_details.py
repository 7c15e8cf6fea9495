from __future__ import annotations

import json
import logging

import pytest
from starlette.exceptions import HTTPException

from secure_rag import errors
from secure_rag_api.problems import (
    FieldError,
    Problem,
    RequestRefusedError,
    SlowDownError,
    describe,
    problem_of,
    problem_response,
)

SECRET = "user:ada.marsh asked for project-heron"

EXPECTED = {
    "AuthenticationError": 401,
    "InvalidRequestError": 400,
    "NotFoundError": 404,
    "RateLimitedError": 429,
    "StaleSourceError": 409,
    "StoreError": 503,
    "UnavailableError": 503,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_of_ours_has_one_problem_and_none_of_its_text(name: str) -> None:
    kind: type[errors.SecureRagError] = getattr(errors, name)
    response = problem_of(kind(SECRET))
    assert response.status_code == EXPECTED.get(name, 500)
    assert "heron" not in bytes(response.body).decode()


@pytest.mark.parametrize("problem", list(Problem))
def test_a_problem_has_type_title_and_status_and_may_not_be_kept(problem: Problem) -> None:
    response = problem_response(problem)
    assert json.loads(bytes(response.body)) == {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
    }
    assert response.status_code == problem.status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert ("www-authenticate" in response.headers) == (problem is Problem.UNAUTHENTICATED)
    assert ("retry-after" in response.headers) == (problem.status in (429, 503))


def test_types_statuses_and_titles_are_each_unique() -> None:
    for values in ({x.type for x in Problem}, {x.status for x in Problem}, {x.title for x in Problem}):
        assert len(values) == len(Problem)


@pytest.mark.parametrize(("status", "expected"), [(404, 404), (405, 405), (418, 400), (451, 400), (507, 500)])
def test_statuses_of_the_framework_become_problems_without_detail(status: int, expected: int) -> None:
    response = problem_of(HTTPException(status, detail=SECRET, headers={"X-Secret": SECRET, "Allow": "GET"}))
    assert response.status_code == expected
    assert "heron" not in str(response.headers) + bytes(response.body).decode()


def test_fields_are_listed_and_bounded() -> None:
    response = problem_of(RequestRefusedError([FieldError("k", "int_type")] * 50))
    assert json.loads(bytes(response.body))["errors"] == [{"field": "k", "code": "int_type"}] * 20


def test_slow_down_says_when() -> None:
    assert problem_of(SlowDownError(7)).headers["retry-after"] == "7"


def test_what_is_not_ours_is_internal_and_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    def deep() -> None:
        try:
            dict[str, str]()[SECRET]
        except KeyError as error:
            raise RuntimeError(SECRET) from error

    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError) as caught:
        deep()
    with caplog.at_level(logging.DEBUG):
        assert problem_of(caught.value).status_code == 500
    assert "builtins.RuntimeError" in caplog.text
    assert "builtins.KeyError" in caplog.text
    assert "deep:" in caplog.text
    assert "heron" not in caplog.text


def test_a_chain_that_loops_is_described_and_ends() -> None:
    first, second = ValueError(SECRET), TypeError(SECRET)
    first.__context__, second.__context__ = second, first
    assert describe(first).count("builtins.ValueError") == 3
