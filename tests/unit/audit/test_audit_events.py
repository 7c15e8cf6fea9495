from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_rag.audit.events import (
    ALARMS,
    CONTENT_KEYS,
    MAX_BODY_BYTES,
    QUERY_KEY,
    Entry,
    Head,
    StoredRow,
    canonical_json,
    chained,
    entry,
    frame,
    query_digest,
    query_fields,
    writer_message,
)
from secure_rag.audit.log import AuditLog
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.ports import AuditSink
from tests.unit.audit.audit_world import SIGNER, StepClock

ROW = StoredRow(b"w1", 3, 17, b"acme", b"retrieve", b"dec-3", b'{"k":10}', bytes(32), b"")


class Colour(StrEnum):
    RED = "red"


def test_hash_of_an_event_never_changes_between_versions() -> None:
    assert ROW.digest().hex() == "c3f1498c26f3dcaaba09f39e70e1653277a76e2fc702f4dc43ba8c3f1d5acd06"


def test_hash_that_the_first_event_follows_never_changes_between_versions() -> None:
    assert (
        hashlib.sha256(writer_message(b"w1", 17, b"0.1.0", b"ab")).hexdigest()
        == "6d2ca07335f547626960fa93c35cf73cea49206263ac66d792e7f6f0b809c319"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"writer": b"w2"},
        {"n": 4},
        {"at": 18},
        {"tenant": b"acmf"},
        {"kind": b"retrievf"},
        {"event_id": b"dec-4"},
        {"body": b'{"k":11}'},
        {"prev_hash": b"\1" + bytes(31)},
        {"tenant": b"acmer", "kind": b"etrieve"},
    ],
)
def test_hash_covers_every_column_and_where_it_ends(change: dict[str, object]) -> None:
    assert replace(ROW, **change).digest() != ROW.digest()  # type: ignore[arg-type]  # names and types above are the row's


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=12), max_size=5),
    st.lists(st.binary(max_size=12), max_size=5),
)
def test_frames_of_different_fields_differ(left: list[bytes], right: list[bytes]) -> None:
    assert (frame(b"t", *left) == frame(b"t", *right)) == (left == right)


def test_the_log_is_an_audit_sink(tmp_path: Path) -> None:
    sink: AuditSink = AuditLog(tmp_path / "audit.db", SIGNER, StepClock())
    with pytest.raises(UnavailableError, match="not running"):
        sink.record("acme", "retrieve", "dec-1", {})
    assert not list(tmp_path.iterdir())


def test_an_entry_gets_the_place_after_the_head() -> None:
    row = chained(Entry(Micros(5), "acme", "k", "e", "{}"), "w", Head(6, bytes(32)))
    assert (row.n, row.prev_hash, row.hash) == (7, bytes(32), row.digest())


KEYS = st.text(max_size=5).filter(lambda key: key.lower() not in CONTENT_KEYS | {QUERY_KEY})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b", "c", "\u00e9"]), JSON, max_size=4))
def test_canonical_json_is_ascii_has_one_spelling_and_reads_back(body: dict[str, object]) -> None:
    text = canonical_json(body)
    assert text.isascii()
    assert "\0" not in text
    assert json.loads(text) == body
    assert canonical_json(dict(reversed(body.items()))) == text


def test_canonical_json_takes_enums_tuples_and_lone_surrogates() -> None:
    assert (
        canonical_json({"c": Colour.RED, "t": (1, 2), "s": "\ud800"}) == r'{"c":"red","s":"\ud800","t":[1,2]}'
    )


@pytest.mark.parametrize(
    "body",
    [
        {"a": math.nan},
        {"a": math.inf},
        {"a": {1, 2}},
        {"a": b"bytes"},
        {"a": object()},
        {"a": {1: "number and text would be one key"}},
        {"a": "x" * MAX_BODY_BYTES},
    ],
)
def test_a_body_that_is_not_json_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(UnavailableError):
        canonical_json(body)


def test_a_body_nested_too_deeply_is_refused() -> None:
    body: dict[str, object] = {}
    for _ in range(2_000):
        body = {"a": body}
    with pytest.raises(UnavailableError, match="deeply"):
        canonical_json(body)


@pytest.mark.parametrize(
    ("tenant", "kind", "event_id"),
    [
        ("ac me", "retrieve", "e"),
        ("a" * 65, "retrieve", "e"),
        ("acme", "", "e"),
        ("acme", "Retrieve", "e"),
        ("acme", "retrieve\n", "e"),
        ("acme", "retrieve", ""),
        ("acme", "retrieve", "e\0"),
        ("acme", "retrieve", "\u00e9"),
        ("acme", "retrieve", "e" * 129),
    ],
)
def test_names_outside_their_form_are_refused(tenant: str, kind: str, event_id: str) -> None:
    with pytest.raises(UnavailableError, match="invalid"):
        entry(Micros(1), tenant, kind, event_id, {})


@pytest.mark.parametrize("kind", sorted(ALARMS))
def test_an_alarm_has_exactly_the_fields_of_its_kind(kind: str) -> None:
    body = dict.fromkeys(ALARMS[kind], 1)
    assert entry(Micros(1), "acme", kind, "id-1", body).kind == kind
    for other in (body | {"more": 1}, dict.fromkeys(sorted(body)[1:], 1)):
        with pytest.raises(UnavailableError, match=kind):
            entry(Micros(1), "acme", kind, "id-1", other)


def test_query_digest_is_keyed_and_exact() -> None:
    key = bytes(range(32))
    assert (
        query_digest(key, "parental leave")
        == "2b4f40237d6bf0bd4c328d732d6ebe8eb8024f70c05297a1cf7719b3d8f4453e"
    )
    assert query_digest(key, "parental leave ") != query_digest(key, "parental leave")
    assert query_digest(bytes(32), "parental leave") != query_digest(key, "parental leave")
    assert query_digest(key, "\ud800")


def test_query_text_is_kept_only_on_request() -> None:
    key = bytes(32)
    assert query_fields(key, "q") == {"query_digest": query_digest(key, "q")}
    assert query_fields(key, "q", keep_query_text=True) == {
        "query_digest": query_digest(key, "q"),
        "query": "q",
    }
