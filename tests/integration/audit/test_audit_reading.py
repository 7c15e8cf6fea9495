from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.audit.reading import AuditEvent, find, tail
from secure_rag.errors import InvalidRequestError, NotFoundError, UnavailableError
from tests.unit.audit.audit_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "audit.db")
    with world.log() as left, world.log() as right:
        for number in range(1, 5):
            left.record("acme", "retrieve", f"left-{number}", {"number": number})
            right.record("globex", "fetch" if number % 2 else "retrieve", f"right-{number}", {})
    return world


def _ids(events: tuple[AuditEvent, ...]) -> list[str]:
    return [event.event_id for event in events]


def test_tail_gives_the_newest_in_the_order_of_their_times(world: World) -> None:
    assert _ids(tail(world.path, 3)) == ["right-3", "left-4", "right-4"]
    assert len(tail(world.path, 100)) == 8


def test_tail_narrows_by_tenant_and_kind(world: World) -> None:
    assert _ids(tail(world.path, 2, tenant="acme")) == ["left-3", "left-4"]
    assert _ids(tail(world.path, 9, kind="fetch")) == ["right-1", "right-3"]
    assert _ids(tail(world.path, 9, tenant="acme", kind="fetch")) == []
    assert _ids(tail(world.path, 9, tenant="' OR 1=1 --")) == []


def test_find_gives_the_event_or_nothing(world: World) -> None:
    event = find(world.path, "left-2")
    assert event is not None
    assert (event.tenant, event.kind, event.n, event.body) == ("acme", "retrieve", 2, {"number": 2})
    assert event.writer in world.writers()
    assert len(event.hash) == 64
    assert find(world.path, "left-9") is None


def test_reading_while_the_log_is_written(world: World) -> None:
    with world.log() as log:
        log.record("acme", "retrieve", "live", {})
        assert find(world.path, "live") is not None


@pytest.mark.parametrize("n", [0, -1, 100_001])
def test_a_silly_number_is_refused(world: World, n: int) -> None:
    with pytest.raises(InvalidRequestError):
        tail(world.path, n)


def test_a_missing_log_is_said_so_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no audit log"):
        tail(tmp_path / "audit.db", 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("body", [b"[]", b"not json", b"\xff"])
def test_an_event_that_cannot_be_read_is_an_error(world: World, body: bytes) -> None:
    world.sql("UPDATE event SET body = CAST(? AS TEXT) WHERE event_id = 'left-4'", body)
    with pytest.raises(UnavailableError, match="verify"):
        find(world.path, "left-4")
    with pytest.raises(UnavailableError, match="verify"):
        tail(world.path, 8)
    assert find(world.path, "left-3") is not None
