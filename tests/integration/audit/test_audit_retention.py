# ruff: noqa: S608 - the statement is a constant and question marks

from __future__ import annotations

import dataclasses
from contextlib import closing
from pathlib import Path

import pytest

from secure_rag.audit.log import PRUNE_KIND, AuditOptions
from secure_rag.audit.retention import BATCH, DAY, cutoff
from secure_rag.audit.schema import open_for_reading
from secure_rag.errors import InvalidRequestError
from secure_rag.model.ids import Micros
from tests.controls import control
from tests.unit.audit.audit_world import World, kinds, named

OPTIONS = AuditOptions(checkpoint_every=5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "audit.db")


def _aged(world: World) -> Micros:
    """An old chain, a chain across the border (4 old, 6 new events); the border is returned."""
    world.write(12, "old", OPTIONS)
    with world.log(OPTIONS) as log:
        for number in range(4):
            log.record("acme", "retrieve", f"mixed-old-{number}", {"who": "user:erased.person"})
        border = world.clock.now()
        for number in range(6):
            log.record("acme", "retrieve", f"mixed-new-{number}", {})
    return border


@control("audit:retention-signed")
def test_old_events_go_and_the_rest_verifies(world: World) -> None:
    border = _aged(world)
    before = world.path.with_name("before.json")
    with world.log(OPTIONS) as log:
        log.export_checkpoint(before)
        result = log.prune(border)
    assert dataclasses.astuple(result) == (16, 2, True, ())
    ids = [row[0] for row in world.rows("SELECT event_id FROM event WHERE kind <> ?", PRUNE_KIND)]
    assert sorted(map(str, ids)) == [f"mixed-new-{number}" for number in range(6)]
    report = world.verify()
    assert (report.ok, report.writers, report.events, report.pruned_chains) == (True, 3, 7, 2)
    # The head of the old chain is where its cut is, so even that one is compared.
    report = world.verify(before)
    assert (report.ok, report.exported_heads, report.exported_heads_pruned) == (True, 2, 0)


@control("audit:retention-signed")
def test_an_export_of_what_is_gone_is_counted_as_not_comparable(world: World) -> None:
    exported = world.path.with_name("out.json")
    with world.log(OPTIONS) as log:
        log.record("acme", "retrieve", "one", {})
        log.export_checkpoint(exported)
        log.record("acme", "retrieve", "two", {})
        log.prune(world.clock.now())
    report = world.verify(exported)
    assert (report.ok, report.exported_heads, report.exported_heads_pruned) == (True, 0, 1)


@control("audit:retention-signed")
def test_the_bytes_of_pruned_events_are_gone(world: World) -> None:
    border = _aged(world)
    marker = b"erased.person"
    files = [world.path, world.path.with_name("audit.db-wal")]
    assert any(marker in path.read_bytes() for path in files if path.exists())
    with world.log() as log:
        assert log.prune(border).erased
        assert not any(marker in path.read_bytes() for path in files)


@control("audit:retention-signed")
def test_a_reader_that_holds_the_old_bytes_is_reported(world: World) -> None:
    border = _aged(world)
    with world.log(AuditOptions(busy_timeout_ms=10)) as log:
        with closing(open_for_reading(world.path)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM event").fetchone()
            assert not log.prune(border).erased
            reader.execute("ROLLBACK")
        assert log.prune(border).erased


@control("audit:retention-signed")
def test_pruning_is_recorded_and_goes_on_from_the_last_cut(world: World) -> None:
    _aged(world)
    with world.log(OPTIONS) as log:
        first = log.prune(Micros(world.clock.time - 12_000_000))
        second = log.prune(world.clock.now())
        third = log.prune(world.clock.now())
        log.record("acme", "retrieve", "after", {})
    # Each pruning leaves its own event, which the next one finds old enough.
    assert first.events > 0
    assert first.events + second.events == 22 + 1
    assert third.events == 1
    report = world.verify()
    assert (report.ok, report.pruned_chains) == (True, 3)
    assert world.rows("SELECT kind, tenant FROM event ORDER BY at") == [
        (PRUNE_KIND, ""),
        ("retrieve", "acme"),
    ]


@control("audit:retention-signed")
def test_a_long_chain_is_cut_in_steps_each_of_which_verifies(world: World) -> None:
    count = 2 * BATCH + 7
    with world.log() as log:
        for number in range(count):
            log.record("acme", "retrieve", f"e-{number}", {})
        result = log.prune(world.clock.now())
    assert (result.events, result.chains) == (count, 1)
    assert world.verify().ok


@control("audit:retention-signed")
def test_a_cut_by_anybody_else_is_found(world: World) -> None:
    _aged(world)
    old = world.writers()[0]
    world.sql("DELETE FROM event WHERE writer_id = ? AND n <= 3", old)
    assert named(world.verify()) == [("removed", 1)]
    (digest,) = world.rows("SELECT prev_hash FROM event WHERE writer_id = ? AND n = 4", old)[0]
    world.sql("INSERT INTO pruned VALUES (?, 3, ?, 1, 1, zeroblob(64))", old, digest)
    assert kinds(world.verify()) == ["bad_signature", "removed"]


@control("audit:retention-signed")
def test_a_cut_that_is_taken_away_or_replaced_by_an_older_one_is_found(world: World) -> None:
    border = _aged(world)
    mixed = world.writers()[1]
    with world.log() as log:
        log.prune(border)
    older = world.rows("SELECT * FROM pruned WHERE writer_id = ?", mixed)[0]
    with world.log() as log:
        log.prune(Micros(border + 2_500_000))
    newer = world.rows("SELECT * FROM pruned WHERE writer_id = ?", mixed)[0]
    assert newer != older
    assert world.verify().ok
    world.sql("DELETE FROM pruned WHERE writer_id = ?", mixed)
    assert named(world.verify()) == [("removed", 1)]
    world.sql("INSERT INTO pruned VALUES (?, ?, ?, ?, ?, ?)", *older)
    assert named(world.verify()) == [("removed", 5)]


@control("audit:retention-signed")
def test_rows_left_before_a_cut_are_found(world: World) -> None:
    border = _aged(world)
    mixed = world.writers()[1]
    (row,) = world.rows("SELECT * FROM event WHERE writer_id = ? AND n = 2", mixed)
    with world.log() as log:
        log.prune(border)
    world.sql(f"INSERT INTO event VALUES ({', '.join('?' * len(row))})", *row)
    assert named(world.verify()) == [("added", 4)]


@pytest.mark.parametrize("recomputed", [False, True])
@control("audit:retention-signed")
def test_an_altered_prefix_is_kept_as_evidence(world: World, recomputed: bool) -> None:
    border = _aged(world)
    old = world.writers()[0]
    if recomputed:
        world.rechain(old, 3, lambda row: dataclasses.replace(row, body=b"{}"))
    else:
        world.sql("UPDATE event SET body = '{}' WHERE writer_id = ? AND n = 3", old)
    with world.log() as log:
        result = log.prune(border)
    assert result.events == 4
    assert [(p.kind.value, p.writer) for p in result.problems] == [("changed", old)]
    assert world.rows("SELECT count(*) FROM event WHERE writer_id = ?", old) == [(12,)]
    assert "changed" in kinds(world.verify())


@control("audit:retention-signed")
def test_a_chain_without_a_good_start_is_kept_as_evidence(world: World) -> None:
    border = _aged(world)
    old = world.writers()[0]
    world.sql("UPDATE writer SET version = 'other' WHERE id = ?", old)
    with world.log() as log:
        result = log.prune(border)
    assert [(p.kind.value, p.writer) for p in result.problems] == [("bad_signature", old)]
    assert world.rows("SELECT count(*) FROM event WHERE writer_id = ?", old) == [(12,)]


@control("audit:retention-signed")
def test_only_a_prefix_goes_when_the_clock_jumped(world: World) -> None:
    """An event with a time from a wrong clock keeps what follows it, rather than leaving a hole."""
    with world.log() as log:
        log.record("acme", "retrieve", "one", {})
        world.clock.time += DAY
        log.record("acme", "retrieve", "from-the-future", {})
        world.clock.time -= DAY
        log.record("acme", "retrieve", "two", {})
        assert log.prune(world.clock.now()).events == 1
    assert world.verify().ok


def test_only_the_past_can_be_pruned(world: World) -> None:
    with world.log() as log, pytest.raises(InvalidRequestError, match="past"):
        log.prune(Micros(world.clock.time + DAY))


def test_the_cutoff_is_whole_days_back() -> None:
    assert cutoff(Micros(100 * DAY), 30) == 70 * DAY
    with pytest.raises(InvalidRequestError):
        cutoff(Micros(100 * DAY), 0)
