from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_rag.errors import InvalidRequestError, NotFoundError
from secure_rag.model.decisions import Answer, Filter, Notice
from secure_rag.model.ids import NEVER, Micros
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api.problems import RequestRefusedError
from secure_rag_api.schemas import answer_body, chunk_body, parse_request
from tests.unit.api.world import chunk

YEAR_2026 = 1_767_225_600_000_000


def test_defaults() -> None:
    assert parse_request(b'{"query":"leave"}') == RetrievalRequest(query="leave")


def test_every_field() -> None:
    body = {
        "query": "x" * 4096,
        "k": 100,
        "filter": {
            "source": ["hr", "wiki"],
            "label_max": "Internal",
            "modified_after": "2026-01-01T00:00:00Z",
        },
        "purpose": "audit",
        "context_id": "c1",
        "max_staleness_s": 0,
        "explain": True,
    }
    assert parse_request(json.dumps(body).encode()) == RetrievalRequest(
        query="x" * 4096,
        k=100,
        filter=Filter(frozenset({"hr", "wiki"}), "Internal", Micros(YEAR_2026)),
        purpose="audit",
        context_id="c1",
        max_staleness_s=0,
        explain=True,
    )


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-01T01:00:00+01:00", YEAR_2026),
        ("2025-12-31T19:00:00.000001-05:00", YEAR_2026 + 1),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
    ],
)
def test_instants_are_exact_to_the_microsecond_at_any_offset(text: str, micros: int) -> None:
    request = parse_request(json.dumps({"query": "x", "filter": {"modified_after": text}}).encode())
    assert request.filter.modified_after == micros


def refused(raw: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        parse_request(raw)
    assert isinstance(caught.value, RequestRefusedError)
    return [(x.field, x.code) for x in caught.value.fields]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, [("query", "missing")]),
        ({"query": ""}, [("query", "string_too_short")]),
        ({"query": " \t\n"}, [("query", "value_error")]),
        ({"query": "x" * 4097}, [("query", "string_too_long")]),
        ({"query": 5}, [("query", "string_type")]),
        ({"query": None}, [("query", "string_type")]),
        ({"query": "x", "k": 0}, [("k", "greater_than_equal")]),
        ({"query": "x", "k": 101}, [("k", "less_than_equal")]),
        ({"query": "x", "k": "10"}, [("k", "int_type")]),
        ({"query": "x", "k": 10.0}, [("k", "int_type")]),
        ({"query": "x", "k": True}, [("k", "int_type")]),
        ({"query": "x", "filter": []}, [("filter", "model_type")]),
        ({"query": "x", "filter": {"source": "hr"}}, [("filter.source", "tuple_type")]),
        ({"query": "x", "filter": {"source": []}}, [("filter.source", "too_short")]),
        ({"query": "x", "filter": {"source": ["hr"] * 65}}, [("filter.source", "too_long")]),
        (
            {"query": "x", "filter": {"source": ["hr", ""]}},
            [("filter.source.1", "string_too_short")],
        ),
        ({"query": "x", "filter": {"label_max": ""}}, [("filter.label_max", "string_too_short")]),
        ({"query": "x", "filter": {"or": [1]}}, [("filter", "extra_forbidden")]),
        ({"query": "x", "filter": {"modified_after": 1}}, [("filter.modified_after", "string_type")]),
        (
            {"query": "x", "filter": {"modified_after": "1700000000"}},
            [("filter.modified_after", "string_pattern_mismatch")],
        ),
        (
            {"query": "x", "filter": {"modified_after": "2026-01-01T00:00:00"}},
            [("filter.modified_after", "string_pattern_mismatch")],
        ),
        (
            {"query": "x", "filter": {"modified_after": "2026-13-01T00:00:00Z"}},
            [("filter.modified_after", "value_error")],
        ),
        ({"query": "x", "purpose": ""}, [("purpose", "string_too_short")]),
        ({"query": "x", "purpose": "p" * 65}, [("purpose", "string_too_long")]),
        ({"query": "x", "context_id": "c" * 129}, [("context_id", "string_too_long")]),
        ({"query": "x", "max_staleness_s": -1}, [("max_staleness_s", "greater_than_equal")]),
        ({"query": "x", "max_staleness_s": 2**31}, [("max_staleness_s", "less_than_equal")]),
        ({"query": "x", "explain": 1}, [("explain", "bool_type")]),
        ({"query": "x", "as_user": "user:ceo"}, [("body", "extra_forbidden")]),
    ],
)
def test_a_field_out_of_range_is_named_with_a_code(
    body: dict[str, object], fields: list[tuple[str, str]]
) -> None:
    assert refused(json.dumps(body).encode()) == fields


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null-ish",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"query":"\\ud800"}',
        b'{"query":"x","k":1e999999}',
        b"[" * 60_000,
        b'{"query":"x"}{"query":"y"}',
        b"{'query':'x'}",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    assert len(refused(raw)) == 1


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"7", b"null", b"true"])
def test_json_that_is_no_object_is_refused(raw: bytes) -> None:
    assert [field for field, _ in refused(raw)] == ["body"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"query":"x","query":"y"}',
        b'{"query":"x","k":1,"k":100}',
        b'{"query":"x","filter":{"label_max":"Public","label_max":"Restricted"}}',
    ],
)
def test_a_key_given_twice_is_refused(raw: bytes) -> None:
    assert refused(raw) == [("body", "duplicate_key")]


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_nothing_that_was_sent_comes_back(key: str, value: str) -> None:
    marked = {f"zq{key}": f"zq{value}", "query": 7, "filter": {f"zq{key}": 1, "source": [7]}}
    assert "zq" not in str(refused(json.dumps(marked).encode()))


def test_an_answer_has_the_same_keys_with_and_without_results() -> None:
    full = json.loads(
        answer_body(
            Answer("d1", "v1", "Internal", False, (Notice.EXTERNAL_WITHHELD,), (chunk("chunk-0001", "text"),))
        )
    )
    empty = json.loads(answer_body(Answer("d2", "v2", None, True, (), ())))
    assert full.keys() == empty.keys()
    assert full["notices"] == ["external_withheld"]
    assert full["complete"] is False
    assert full["results"][0]["headings"] == ["People", "Leave"]
    assert full["results"][0]["explanation"] is None
    assert empty["results"] == []


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (YEAR_2026 + 1, "2026-01-01T00:00:00.000001Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
        (-5, "1970-01-01T00:00:00.000000Z"),
        (NEVER, "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_times_leave_as_rfc3339_in_utc(instant: int, text: str) -> None:
    answer = Answer("d", "v", None, True, (), (chunk("chunk-0001", "t", acl_as_of=Micros(instant)),))
    assert json.loads(answer_body(answer))["results"][0]["acl_as_of"] == text


@pytest.mark.parametrize("count", [0, 2])
def test_a_chunk_answer_holds_exactly_one(count: int) -> None:
    answer = Answer("d", "v", None, True, (), (chunk("chunk-0001", "t"),) * count)
    with pytest.raises(NotFoundError):
        chunk_body(answer)
