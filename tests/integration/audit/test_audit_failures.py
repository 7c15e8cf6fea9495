"""Full disks, locks, read-only and missing files: nothing is acknowledged, and the chain goes on properly."""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from secure_rag.audit.log import AuditLog, AuditOptions
from secure_rag.audit.schema import open_for_writing
from secure_rag.errors import ConfigError, UnavailableError
from tests.controls import control
from tests.integration.audit.audit_faults import Faulty, Hold, failing
from tests.unit.audit.audit_world import World, event_ids, raw


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "audit.db")


def _record(log: AuditLog, event_id: str) -> None:
    log.record("acme", "retrieve", event_id, {"filler": "x" * 500})


@control("audit:unavailable-refuses")
def test_a_full_disk_refuses_and_recovers(world: World) -> None:
    faults = Faulty()
    with world.log(AuditOptions(checkpoint_every=3), faults.connect) as log:
        _record(log, "before")
        (connection,) = faults.connections
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + 4}")
        kept, refused = ["before"], []
        for number in range(60):
            try:
                _record(log, f"full-{number}")
                kept.append(f"full-{number}")
            except UnavailableError:
                refused.append(number)
        assert len(refused) > 30
        assert not log.ready()
        connection.execute("PRAGMA max_page_count=1000000")
        assert log.ready()
        _record(log, "after")
        assert log.status.failures >= len(refused)
    assert event_ids(world.path) == {*kept, "after"}
    report = world.verify()
    assert (report.ok, report.unsigned_events) == (True, 0)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("BEGIN", "database is locked"),
        ("INSERT INTO writer", "database or disk is full"),
        ("INSERT INTO event", "database or disk is full"),
        ("INSERT INTO event", "attempt to write a readonly database"),
        ("INSERT INTO checkpoint", "database or disk is full"),
        ("COMMIT", "disk I/O error"),
    ],
)
@control("audit:unavailable-refuses")
def test_an_error_at_any_statement_refuses_the_group_only(world: World, statement: str, message: str) -> None:
    faults = Faulty()
    with world.log(AuditOptions(checkpoint_every=1), faults.connect) as log:
        faults.before = failing(statement, message)
        with pytest.raises(UnavailableError, match="not made durable"):
            _record(log, "refused-first")
        assert not log.ready() or statement in {
            "INSERT INTO writer",
            "INSERT INTO event",
            "INSERT INTO checkpoint",
        }
        faults.before = lambda _: None
        _record(log, "kept")
        faults.before = failing(statement, message)
        if statement != "INSERT INTO writer":
            with pytest.raises(UnavailableError, match="durable"):
                _record(log, "refused")
        faults.before = lambda _: None
        _record(log, "kept-2")
        assert log.ready()
    assert event_ids(world.path) == {"kept", "kept-2"}
    assert world.verify().ok


@control("audit:unavailable-refuses")
def test_a_commit_that_reports_an_error_but_happened_is_continued(world: World) -> None:
    """Otherwise the next event would take the same number and no event could be recorded any more."""
    faults = Faulty()
    with world.log(connect=faults.connect) as log:
        _record(log, "one")
        faults.after = failing("COMMIT", "disk I/O error")
        with pytest.raises(UnavailableError, match="durable"):
            _record(log, "unclear")
        faults.after = lambda _: None
        _record(log, "two")
    assert event_ids(world.path) == {"one", "unclear", "two"}
    report = world.verify()
    assert (report.ok, report.events) == (True, 3)


@control("audit:unavailable-refuses")
def test_a_first_commit_that_is_unclear_is_continued(world: World) -> None:
    faults = Faulty()
    with world.log(connect=faults.connect) as log:
        faults.after = failing("COMMIT", "disk I/O error")
        with pytest.raises(UnavailableError, match="durable"):
            _record(log, "unclear")
        faults.after = lambda _: None
        _record(log, "two")
    assert world.verify().ok
    assert world.rows("SELECT n, event_id FROM event ORDER BY n") == [(1, "unclear"), (2, "two")]


@control("audit:unavailable-refuses")
def test_a_database_locked_by_another_connection_refuses_and_recovers(world: World) -> None:
    with world.log(AuditOptions(busy_timeout_ms=10)) as log:
        _record(log, "one")
        with closing(raw(world.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(UnavailableError, match="durable"):
                _record(log, "locked-out")
            assert not log.ready()
            with pytest.raises(UnavailableError):
                log.prune(world.clock.now())
            other.execute("ROLLBACK")
        assert log.ready()
        _record(log, "two")
    assert event_ids(world.path) == {"one", "two"}
    assert world.verify().ok


@control("audit:unavailable-refuses")
def test_a_read_only_database_refuses_and_recovers(world: World) -> None:
    faults = Faulty()
    with world.log(connect=faults.connect) as log:
        _record(log, "one")
        faults.connections[0].execute("PRAGMA query_only=ON")
        with pytest.raises(UnavailableError, match="durable"):
            _record(log, "refused")
        faults.connections[0].execute("PRAGMA query_only=OFF")
        _record(log, "two")
    assert event_ids(world.path) == {"one", "two"}
    assert world.verify().ok


@pytest.mark.parametrize("name", ["audit.db", "audit.db-wal"])
@control("audit:unavailable-refuses")
def test_a_file_taken_away_under_a_running_log_refuses(world: World, name: str) -> None:
    """SQLite would go on writing to the file without a name, and nobody would ever find the events."""
    with world.log() as log:
        _record(log, "one")
        place = world.path.with_name(name)
        place.rename(place.with_name("aside"))
        with pytest.raises(UnavailableError, match="durable"):
            _record(log, "into-the-void")
        place.write_bytes(b"")
        with pytest.raises(UnavailableError, match="durable"):
            _record(log, "into-the-void")
        assert not log.ready()
        place.with_name("aside").rename(place)
        assert log.ready()
        _record(log, "two")
    assert event_ids(world.path) == {"one", "two"}
    assert world.verify().ok


@control("audit:unavailable-refuses")
def test_a_slow_disk_refuses_and_what_waited_is_not_written(world: World) -> None:
    faults = Faulty()
    hold = Hold("COMMIT")
    log = world.log(AuditOptions(timeout_s=0.05, max_queue=1), faults.connect)
    log.start()
    try:
        faults.before = hold
        with pytest.raises(UnavailableError, match="slow"):
            _record(log, "in-its-turn")
        assert hold.reached.wait(60)
        with pytest.raises(UnavailableError, match="slow"):
            _record(log, "taken-back")
        with pytest.raises(UnavailableError, match="too many"):
            _record(log, "no-room")
        assert not log.ready()
    finally:
        faults.before = lambda _: None
        hold.go.set()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(log, "_options", AuditOptions())
            log.close()
    assert event_ids(world.path) == {"in-its-turn"}
    assert world.verify().ok


@control("audit:unavailable-refuses")
def test_closing_does_not_wait_for_ever(world: World) -> None:
    faults = Faulty()
    hold = Hold("COMMIT")
    log = world.log(AuditOptions(timeout_s=0.01), faults.connect)
    log.start()
    faults.before = hold
    with pytest.raises(UnavailableError, match="slow"):
        _record(log, "held")
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "audit"]
    with pytest.raises(UnavailableError, match="still"):
        log.close()
    hold.go.set()
    thread.join(60)
    assert not thread.is_alive()
    assert event_ids(world.path) == {"held"}


@control("audit:unavailable-refuses")
def test_a_used_event_id_refuses_that_event_alone(world: World) -> None:
    faults = Faulty()
    hold = Hold("BEGIN")
    outcomes: dict[str, str] = {}

    def work(event_id: str) -> None:
        try:
            _record(log, event_id)
            outcomes[event_id] = "recorded"
        except UnavailableError as exc:
            outcomes[event_id] = str(exc)

    with world.log(AuditOptions(timeout_s=60), faults.connect) as log:
        _record(log, "used")
        faults.before = hold
        threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "used", "second")]
        threads[0].start()
        assert hold.reached.wait(60)
        for thread in threads[1:]:
            thread.start()
        faults.before = lambda _: None
        hold.go.set()
        for thread in threads:
            thread.join()
        assert log.ready()
    assert outcomes["first"] == outcomes["second"] == "recorded"
    assert "already" in outcomes["used"]
    assert world.verify().ok


@control("audit:unavailable-refuses")
def test_a_row_that_somebody_put_into_a_running_chain_stops_it(world: World) -> None:
    with world.log() as log:
        _record(log, "one")
        world.sql(
            "INSERT INTO event SELECT writer_id, 2, at, tenant, kind, 'forged', body, prev_hash, hash FROM event"
        )
        for event_id in ("two", "three"):
            with pytest.raises(UnavailableError, match="durable"):
                _record(log, event_id)
        assert not log.ready()
    assert event_ids(world.path) == {"one", "forged"}
    assert not world.verify().ok
    with world.log() as log:
        _record(log, "a-new-chain-begins")


@control("audit:unavailable-refuses")
def test_a_log_that_does_not_run_refuses(world: World) -> None:
    log = world.log()
    with pytest.raises(UnavailableError, match="not running"):
        _record(log, "too-early")
    log.start()
    with pytest.raises(UnavailableError, match="already"):
        log.start()
    _record(log, "in-time")
    log.close()
    log.close()
    with pytest.raises(UnavailableError, match="not running"):
        _record(log, "too-late")
    assert not log.ready()
    log.start()
    _record(log, "a-second-chain")
    log.close()
    report = world.verify()
    assert (report.ok, report.writers, report.events) == (True, 2, 2)


def test_a_run_without_events_leaves_no_chain(world: World) -> None:
    with world.log() as log:
        assert log.ready()
    report = world.verify()
    assert (report.ok, report.writers) == (True, 0)


def test_the_end_of_a_chain_that_cannot_be_signed_is_signed_later(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    faults = Faulty()
    with caplog.at_level(logging.ERROR), world.log(connect=faults.connect) as log:
        _record(log, "one")
        faults.before = failing("INSERT INTO checkpoint", "database or disk is full")
    assert "without a signature" in caplog.text
    assert world.verify().unsigned_events == 1
    assert world.log().checkpoint().signed == 1
    assert world.verify().unsigned_events == 0


def test_an_outage_is_logged_once_and_its_end_too(world: World, caplog: pytest.LogCaptureFixture) -> None:
    faults = Faulty()
    with caplog.at_level(logging.WARNING), world.log(connect=faults.connect) as log:
        faults.before = failing("INSERT INTO event", "database or disk is full")
        for number in range(5):
            with pytest.raises(UnavailableError, match="durable"):
                _record(log, f"secret-{number}")
        faults.before = lambda _: None
        _record(log, "again")
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "disk is full" in caplog.text
    assert "secret" not in caplog.text


def test_a_place_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        World(tmp_path / "absent" / "audit.db").log().start()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnavailableError):
        World(tmp_path / "folder").log().start()


def test_a_file_of_another_program_or_version_is_refused(tmp_path: Path) -> None:
    other = World(tmp_path / "other.db")
    with closing(sqlite3.connect(other.path)) as connection:
        connection.execute("CREATE TABLE t(a)")
    with pytest.raises(ConfigError, match="not an audit log"):
        other.log().start()
    newer = World(tmp_path / "newer.db")
    newer.write(1)
    newer.sql("PRAGMA user_version=2")
    with pytest.raises(ConfigError, match="version 2"):
        newer.log().start()


def test_a_creation_that_was_interrupted_is_finished(world: World) -> None:
    world.path.touch(0o600)
    world.write(1)
    assert world.verify().ok


def test_the_file_is_private_and_every_commit_reaches_the_disk(world: World) -> None:
    with closing(open_for_writing(world.path, 1000)) as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete", "trusted_schema")
        }
    assert pragmas == {"journal_mode": b"wal", "synchronous": 2, "secure_delete": 1, "trusted_schema": 0}
    assert world.path.stat().st_mode & 0o777 == 0o600
    with closing(raw(world.path)) as connection:
        tables = [
            row[:6] for row in connection.execute("PRAGMA table_list") if not row[1].startswith("sqlite_")
        ]
    assert all(row[5] == 1 for row in tables), "every table is STRICT"
