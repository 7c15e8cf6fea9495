"""The application, its committed contract and the client's models say the same."""

from __future__ import annotations

import json

import pytest

from secure_rag import ChunkResponse, Filter, RetrieveResponse
from secure_rag.model.labels import Trust
from secure_rag.retrieval.request import MAX_K, MAX_QUERY
from secure_rag_api.problems import Problem
from tests.contract.api.contract import PATH, committed, rendered
from tests.unit.api.world import World, ask, call, chunk, identity_headers


def test_the_committed_contract_is_that_of_the_application() -> None:
    assert PATH.read_text(encoding="utf-8") == rendered(), "run: python -m tests.contract.api.contract"


def test_these_are_all_the_routes() -> None:
    paths = {(path, method) for path, operations in committed()["paths"].items() for method in operations}
    assert paths == {
        ("/v1/retrieve", "post"),
        ("/v1/chunks/{chunk_id}", "get"),
        ("/v1/explain", "get"),
        ("/v1/who-can", "get"),
        ("/v1/what-can", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
    }


def test_only_health_is_open() -> None:
    for path, operations in committed()["paths"].items():
        for operation in operations.values():
            expected: list[object] = (
                [] if path in {"/healthz", "/readyz"} else [{"caller": [], "subject": []}]
            )
            assert operation["security"] == expected


def test_every_problem_is_in_the_contract_and_used() -> None:
    document = committed()
    assert document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] == [
        x.type for x in Problem
    ]
    used = {
        int(status)
        for operations in document["paths"].values()
        for operation in operations.values()
        for status in operation["responses"]
    }
    assert used - {200} == {x.status for x in Problem} - {Problem.METHOD_NOT_ALLOWED.status}


def test_the_limits_of_the_kernel_are_in_the_contract() -> None:
    body = committed()["components"]["schemas"]["RetrieveBody"]
    assert body["properties"]["query"]["maxLength"] == MAX_QUERY
    assert body["properties"]["k"]["maximum"] == MAX_K
    assert body["additionalProperties"] is False
    assert committed()["components"]["schemas"]["FilterBody"]["additionalProperties"] is False


def test_the_clients_filter_has_the_fields_of_the_contract() -> None:
    assert set(Filter.model_fields) == set(committed()["components"]["schemas"]["FilterBody"]["properties"])


@pytest.mark.parametrize("trust", list(Trust))
def test_real_answers_have_exactly_the_fields_that_the_contract_names(trust: Trust) -> None:
    world = World()
    found = chunk("chunk-0001", "text", trust=trust, flags=("query_echo",), explanation={"rule": "read"})
    world.retriever.chunks["chunk-0001"] = (frozenset({"user:ada.marsh"}), found)
    app = world.app()
    answer = ask(app, b'{"query":"x","explain":true}').body
    single = call(app, "GET", "/v1/chunks/chunk-0001", identity_headers()).body
    assert json.loads(answer) == json.loads(
        RetrieveResponse.model_validate_json(answer).model_dump_json()
    ) | {"results": json.loads(answer)["results"]}
    assert set(json.loads(answer)) == set(RetrieveResponse.model_fields)
    assert set(json.loads(single)) == set(ChunkResponse.model_fields)
    assert set(json.loads(answer)["results"][0]) == set(
        committed()["components"]["schemas"]["Result"]["properties"]
    )


def test_the_contract_is_published_in_development_only() -> None:
    assert call(World().app(), "GET", "/openapi.json").status == 404
    published = call(World().app(publish_contract=True), "GET", "/openapi.json")
    assert json.loads(published.body) == committed()
    for path in ("/docs", "/redoc"):
        assert call(World().app(publish_contract=True), "GET", path).status == 404
