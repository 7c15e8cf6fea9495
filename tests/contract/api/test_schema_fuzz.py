"""Requests made from the contract, right and wrong ones: every answer is one that the contract names."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.api.contract import committed
from tests.unit.api.world import SyncAsgi, World, chunk, identity_headers

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    positive_data_acceptance,
]
SEEN: Counter[tuple[str, int]] = Counter()


def _without_security(document: dict[str, Any]) -> dict[str, Any]:
    """Every request gets good tokens: hostile ones have tests of their own, and would hide all else behind a 401."""
    document = copy.deepcopy(document)
    del document["components"]["securitySchemes"]
    for operations in document["paths"].values():
        for operation in operations.values():
            del operation["security"]
    return document


def _integers(value: Any) -> Any:
    """JSON Schema takes 10.0 for an integer; the service does not."""
    if isinstance(value, dict):
        return {name: _integers(item) for name, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _client() -> httpx.Client:
    world = World(per_minute=600_000)
    found = chunk("chunk-0001", "text", explanation={"rule": "read"})
    world.retriever.chunks["chunk-0001"] = (frozenset({"user:ada.marsh"}), found)
    return httpx.Client(transport=SyncAsgi(world.app()), base_url="http://service.example")


schema = schemathesis.openapi.from_dict(_without_security(committed()))
client = _client()


@pytest.fixture(scope="module", autouse=True)
def both_kinds() -> Iterator[None]:
    """Right and wrong requests must both have been among them."""
    yield
    for path, good in (("/v1/retrieve", 200), ("/v1/chunks/{chunk_id}", 404)):
        statuses = {status for seen, status in SEEN if seen == path}
        assert not statuses or {400, good} <= statuses, statuses


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]  # schemathesis leaves it untyped
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_every_answer_is_in_the_contract(case: schemathesis.Case[Any]) -> None:
    request = case.as_transport_kwargs(base_url="http://service.example")
    response = client.request(
        request["method"],
        request["url"],
        headers=[*request["headers"].items(), *identity_headers()],
        params=request["params"],
        json=_integers(request.get("json")),
        content=request.get("data"),
    )
    SEEN[case.path, response.status_code] += 1
    case.validate_response(response, checks=CHECKS)
