"""Transactions beside the preparation of the next document: in order, one at a time, reported when committed."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from secure_rag.errors import UnavailableError
from secure_rag_ingestion.lane import WriteLane
from secure_rag_ingestion.runs import Outcome, ReasonCode, RunItem


def item(name: str) -> RunItem:
    return RunItem(name, Outcome.ADDED, ReasonCode.NEW.value)


def test_in_order_and_reported_in_the_thread_of_the_caller() -> None:
    reported: list[tuple[str, int]] = []
    written: list[tuple[str, int]] = []

    def step(name: str) -> Sequence[RunItem]:
        written.append((name, threading.get_ident()))
        return [item(name)]

    with WriteLane(lambda x: reported.append((x.native_id, threading.get_ident()))) as lane:
        for name in "abc":
            lane.submit(lambda name=name: step(name))  # type: ignore[misc]  # a default argument binds the name
        assert [name for name, _ in reported] == ["a", "b"]
        lane.settle()
    assert [name for name, _ in written] == [name for name, _ in reported] == ["a", "b", "c"]
    assert {thread for _, thread in reported} == {threading.get_ident()}
    assert threading.get_ident() not in {thread for _, thread in written}


def test_a_failure_reaches_the_next_call_and_nothing_follows() -> None:
    reported: list[str] = []
    written: list[str] = []

    def fails() -> Sequence[RunItem]:
        raise UnavailableError("full")

    def second() -> Sequence[RunItem]:
        written.append("second")
        return []

    with WriteLane(lambda x: reported.append(x.native_id)) as lane:
        lane.submit(fails)
        with pytest.raises(UnavailableError, match="full"):
            lane.submit(second)
    assert written == reported == []


def test_what_was_committed_is_reported_even_when_the_run_fails() -> None:
    reported: list[str] = []

    def run() -> None:
        with WriteLane(lambda x: reported.append(x.native_id)) as lane:
            lane.submit(lambda: [item("a")])
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert reported == ["a"]
