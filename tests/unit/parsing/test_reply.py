from __future__ import annotations

import json
import os
import signal

import pytest

from secure_rag_ingestion.parsing.layers import Layer, unmet
from secure_rag_ingestion.parsing.model import HiddenKind, ParsedDocument, ParseFailure, ParseReason
from secure_rag_ingestion.parsing.process import ChildEnd
from secure_rag_ingestion.parsing.protocol import EXIT_MEMORY, EXIT_UNCONFINED, NO_CHILD
from secure_rag_ingestion.parsing.reply import read_answer, read_layers
from tests.controls import control


def document(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "text": "One\ntwo",
        "title": "T",
        "metadata": {"author": "A"},
        "hidden": [],
        "headings": [],
    }
    return {"document": {**base, **changes}}


def read(message: object) -> ParsedDocument:
    return read_answer(json.dumps(message).encode(), "text/plain")


def test_a_well_formed_answer_becomes_a_document() -> None:
    hidden = {"kind": "vanish", "place": "body", "excerpt": "x", "sha256": "0" * 64}
    found = read(document(hidden=[hidden], headings=[{"level": 1, "text": "two", "offset": 4}]))
    assert found.hidden[0].kind is HiddenKind.VANISH
    assert (found.headings[0].text, found.mime, dict(found.metadata)) == (
        "two",
        "text/plain",
        {"author": "A"},
    )


@control("parsing:untrusted-answer")
@pytest.mark.parametrize(
    "message",
    [
        [],
        {},
        {"document": None},
        {"failure": {"reason": "timeout", "detail": "only the parent can say that"}},
        {"failure": {"reason": "no such reason", "detail": ""}},
        {"failure": {"reason": "corrupt", "detail": "\x1b[31m"}},
        {"failure": {"reason": "corrupt", "detail": "x" * 121}},
        {**document(), "failure": {"reason": "corrupt", "detail": "both"}},
        {**document(), "extra": 1},
        document(text=1),
        document(text=""),
        document(title=""),
        document(title="x" * 501),
        document(metadata={"a": 1}),
        document(metadata={str(number): "" for number in range(201)}),
        document(hidden=[{"kind": "unknown", "place": "", "excerpt": "", "sha256": "0" * 64}]),
        document(hidden=[{"kind": "vanish", "place": "", "excerpt": "x" * 201, "sha256": "0" * 64}]),
        document(hidden=[{"kind": "vanish", "place": "", "excerpt": "", "sha256": "short"}]),
        document(headings=[{"level": 0, "text": "One", "offset": 0}]),
        document(headings=[{"level": 1, "text": "One", "offset": -1}]),
        document(headings=[{"level": 1, "text": "One", "offset": 1}]),
        document(headings=[{"level": 1, "text": "One", "offset": 10**9}]),
        document(
            headings=[{"level": 1, "text": "two", "offset": 4}, {"level": 1, "text": "One", "offset": 0}]
        ),
    ],
)
def test_an_answer_outside_the_schema_is_refused(message: object) -> None:
    with pytest.raises(ParseFailure) as caught:
        read(message)
    assert caught.value.reason is ParseReason.BAD_OUTPUT


@control("parsing:untrusted-answer")
@pytest.mark.parametrize("frame", [b"", b"{", b"\xff", b'{"document":{"text":"\\ud800"}}', b"[" * 5000])
def test_an_answer_that_is_no_json_is_refused(frame: bytes) -> None:
    with pytest.raises(ParseFailure) as caught:
        read_answer(frame, "text/plain")
    assert caught.value.reason is ParseReason.BAD_OUTPUT


def test_white_space_alone_is_an_empty_extraction() -> None:
    with pytest.raises(ParseFailure) as caught:
        read(document(text=" \n"))
    assert caught.value.reason is ParseReason.EMPTY_EXTRACTION


def test_the_failure_of_the_child_is_passed_on() -> None:
    with pytest.raises(ParseFailure, match="a part is odd") as caught:
        read({"failure": {"reason": "archive_limit", "detail": "a part is odd"}})
    assert caught.value.reason is ParseReason.ARCHIVE_LIMIT


def test_layers_are_read_and_compared_with_what_is_required() -> None:
    frame = json.dumps({"layers": [{"name": "netns", "holds": True, "note": ""}]}).encode()
    layers = read_layers(frame)
    assert layers == (Layer("netns", holds=True),)
    assert unmet({"seccomp|netns"}, layers) == []
    assert unmet({"seccomp", "landlock", "netns"}, layers) == ["landlock", "seccomp"]
    assert unmet({"netns"}, [Layer("netns", holds=False)]) == ["netns"]
    with pytest.raises(ParseFailure):
        read_layers(b'{"layers": 1}')


def status(*, code: int = 0, by: int = 0) -> int:
    return code << 8 | by


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (ChildEnd(NO_CHILD, 0.0), ParseReason.SANDBOX_UNAVAILABLE),
        (ChildEnd(status(by=signal.SIGXCPU), 2.0), ParseReason.CPU_LIMIT),
        (ChildEnd(status(by=signal.SIGKILL), 20.4), ParseReason.CPU_LIMIT),
        (ChildEnd(status(by=signal.SIGKILL), 1.0), ParseReason.CRASH),
        (ChildEnd(status(by=signal.SIGSEGV), 1.0), ParseReason.CRASH),
        (ChildEnd(status(code=EXIT_MEMORY), 1.0), ParseReason.MEMORY_LIMIT),
        (ChildEnd(status(code=EXIT_UNCONFINED), 0.0), ParseReason.SANDBOX_UNAVAILABLE),
        (ChildEnd(status(code=1), 1.0), ParseReason.CRASH),
        (ChildEnd(status(code=0), 1.0), ParseReason.CRASH),
    ],
)
def test_the_end_of_a_child_says_why_no_answer_came(end: ChildEnd, reason: ParseReason) -> None:
    assert os.WIFEXITED(end.status) or os.WIFSIGNALED(end.status) or end.status == NO_CHILD
    assert end.diagnosis(20).reason is reason
