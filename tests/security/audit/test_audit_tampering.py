"""Somebody with the file, and in some tests with the signing key, alters the log. What is found, and its name."""

# ruff: noqa: S608 - table and column names are constants of these tests

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from secure_rag.audit.chains import MAX_SEARCHES, ChainWalk, Problem
from secure_rag.audit.events import Head, StoredRow
from secure_rag.audit.log import AuditOptions
from secure_rag.audit.records import signed_checkpoint
from secure_rag.audit.signing import Signer
from secure_rag.audit.verify import MAX_PROBLEMS, VerificationReport, verify
from secure_rag.errors import ConfigError, NotFoundError, UnavailableError
from secure_rag.model.ids import Micros
from tests.controls import control
from tests.unit.audit.audit_world import World, kinds, named, raw

EVENTS = 12


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One chain with checkpoints at 5, 10 and its end, 12."""
    world = World(tmp_path / "audit.db")
    world.write(EVENTS, options=AuditOptions(checkpoint_every=5))
    return world


def _export(world: World, name: str = "checkpoint.json") -> Path:
    path = world.path.with_name(name)
    with world.log() as log:
        assert log.export_checkpoint(path).problems == ()
    return path


@control("audit:tamper-evident")
def test_an_untouched_log_verifies(world: World) -> None:
    report = world.verify(_export(world))
    assert report == VerificationReport(
        problems=(),
        further_problems=0,
        writers=1,
        events=EVENTS,
        checkpoints=report.checkpoints,
        unsigned_events=0,
        pruned_chains=0,
        exported_heads=1,
        exported_heads_pruned=0,
    )
    assert report.ok


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", '{"reason":"allowed","results":99}'),
        ("tenant", "globex"),
        ("kind", "fetch"),
        ("event_id", "dec-other"),
        ("at", 1),
        ("hash", b"\1" * 32),
        ("prev_hash", b"\1" * 32),
    ],
)
@pytest.mark.parametrize("n", [1, 4, 5, 12])
@control("audit:tamper-evident")
def test_a_changed_column_is_found(world: World, column: str, value: object, n: int) -> None:
    assert world.sql(f"UPDATE event SET {column} = ? WHERE n = ?", value, n) == 1
    assert named(world.verify()) == [("changed", n)]


@pytest.mark.parametrize("removed", [[1], [4], [5], [6, 7], [1, 4, 11]])
@control("audit:tamper-evident")
def test_removed_rows_are_found(world: World, removed: list[int]) -> None:
    for n in removed:
        world.sql("DELETE FROM event WHERE n = ?", n)
    firsts = [n for n in removed if n - 1 not in removed]
    assert named(world.verify()) == [("removed", n) for n in firsts]


@control("audit:tamper-evident")
def test_removed_rows_are_found_when_later_ones_are_renumbered(world: World) -> None:
    world.sql("DELETE FROM event WHERE n IN (3, 4)")
    for n in range(5, EVENTS + 1):
        world.sql("UPDATE event SET n = ? WHERE n = ?", n - 2, n)
    assert named(world.verify()) == [("removed", 3), ("truncated_tail", 11)]
    world.sql("DELETE FROM checkpoint")
    report = world.verify()
    assert named(report) == [("removed", 3)]
    assert report.problems[0].detail.startswith("2 event(s)")


@pytest.mark.parametrize(("left", "right"), [(6, 7), (2, 9), (11, 12)])
@control("audit:tamper-evident")
def test_reordered_rows_are_found(world: World, left: int, right: int) -> None:
    for old, new in ((left, 1000), (right, left), (1000, right)):
        world.sql("UPDATE event SET n = ? WHERE n = ?", new, old)
    assert named(world.verify()) == [("reordered", left), ("reordered", right)]


@control("audit:tamper-evident")
def test_a_copied_row_is_found(world: World) -> None:
    world.sql("DELETE FROM checkpoint")
    world.sql(
        "INSERT INTO event SELECT writer_id, 13, at, tenant, kind, 'dec-copy', body, prev_hash, hash"
        " FROM event WHERE n = 3"
    )
    assert named(world.verify()) == [("duplicate", 13)]


@control("audit:tamper-evident")
def test_a_number_used_twice_is_found_in_a_table_without_its_key(world: World) -> None:
    world.sql("CREATE TABLE other AS SELECT * FROM event")
    world.sql("INSERT INTO other SELECT * FROM event WHERE n = 3")
    world.sql("DROP TABLE event")
    world.sql("ALTER TABLE other RENAME TO event")
    report = world.verify()
    assert ("duplicate", 3) in named(report)
    assert ("changed", None) in named(report)


@control("audit:tamper-evident")
def test_a_forged_event_after_the_signed_end_is_found(world: World) -> None:
    world.rechain(world.writers()[0], 12, lambda row: row)
    (last,) = world.rows("SELECT writer_id, hash FROM event WHERE n = 12")
    forged = StoredRow(
        str(last[0]).encode(), 13, 1, b"acme", b"retrieve", b"dec-forged", b"{}", _bytes(last[1]), b""
    )
    world.sql(
        "INSERT INTO event VALUES (?, 13, 1, 'acme', 'retrieve', 'dec-forged', '{}', ?, ?)",
        last[0],
        forged.prev_hash,
        forged.digest(),
    )
    assert named(world.verify()) == [("added", 13)]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


@control("audit:tamper-evident")
def test_a_rewritten_row_breaks_the_next_one(world: World) -> None:
    """The row fits its own hash again; the one after it still follows the old hash."""
    (old,) = world.rows(
        "SELECT writer_id, n, at, tenant, kind, event_id, body, prev_hash, hash FROM event WHERE n = 7"
    )
    row = StoredRow(*(v.encode() if isinstance(v, str) else v for v in old))  # type: ignore[arg-type]  # the columns of the row
    changed = replace(row, body=b'{"results":0}')
    world.sql("UPDATE event SET body = ?, hash = ? WHERE n = 7", '{"results":0}', changed.digest())
    assert named(world.verify()) == [("changed", 7)]


@control("audit:tamper-evident")
def test_hashes_computed_anew_do_not_fit_the_signed_checkpoints(world: World) -> None:
    world.rechain(world.writers()[0], 7, lambda row: replace(row, body=b'{"results":0}'))
    assert named(world.verify()) == [("changed", 10), ("changed", 12)]


@control("audit:off-host-checkpoint")
def test_hashes_computed_anew_without_checkpoints_show_only_off_the_host(world: World) -> None:
    exported = _export(world)
    world.rechain(world.writers()[0], 7, lambda row: replace(row, body=b'{"results":0}'))
    world.sql("DELETE FROM checkpoint")
    assert world.verify().ok
    assert named(world.verify(exported)) == [("changed", 12)]


@control("audit:off-host-checkpoint")
def test_hashes_computed_and_signed_anew_show_only_off_the_host(world: World) -> None:
    """The worst case: whoever did it has the signing key too."""
    exported = _export(world)
    writer = world.writers()[0]
    world.rechain(writer, 7, lambda row: replace(row, body=b'{"results":0}'))
    world.sql("DELETE FROM checkpoint")
    (digest,) = world.rows("SELECT hash FROM event WHERE n = 12")[0]
    forged = signed_checkpoint(world.signer, writer.encode(), Head(12, _bytes(digest)), Micros(1), final=True)
    world.sql(
        "INSERT INTO checkpoint VALUES (?, ?, ?, ?, 1, ?)",
        writer,
        12,
        forged.hash,
        forged.at,
        forged.signature,
    )
    assert world.verify().ok
    assert named(world.verify(exported)) == [("changed", 12)]


@control("audit:off-host-checkpoint")
def test_a_rewritten_chain_that_was_then_cut_with_the_key_shows_off_the_host(world: World) -> None:
    exported = _export(world)
    writer = world.writers()[0]
    world.rechain(writer, 7, lambda row: replace(row, body=b'{"results":0}'))
    world.sql("DELETE FROM checkpoint")
    with world.log() as log:
        assert log.prune(world.clock.now()).events == EVENTS
    assert world.verify().ok
    assert named(world.verify(exported)) == [("changed", 12)]


@control("audit:tamper-evident")
def test_a_cut_tail_is_found_by_the_checkpoints_in_the_file(world: World) -> None:
    world.sql("DELETE FROM event WHERE n > 8")
    assert named(world.verify()) == [("truncated_tail", 9)]
    assert "4 event(s) up to a signed place" in world.verify().problems[0].detail


@control("audit:off-host-checkpoint")
def test_a_tail_cut_with_its_checkpoints_is_found_off_the_host(world: World) -> None:
    exported = _export(world)
    world.sql("DELETE FROM event WHERE n > 8")
    world.sql("DELETE FROM checkpoint WHERE n > 8")
    assert world.verify().ok
    assert named(world.verify(exported)) == [("truncated_tail", 9)]


@control("audit:off-host-checkpoint")
def test_a_chain_emptied_of_its_events_is_found(world: World) -> None:
    exported = _export(world)
    world.sql("DELETE FROM event")
    assert named(world.verify()) == [("truncated_tail", 1)]
    world.sql("DELETE FROM checkpoint")
    assert named(world.verify(exported)) == [("truncated_tail", 1)]


@control("audit:off-host-checkpoint")
def test_a_chain_removed_whole_is_found_off_the_host(world: World) -> None:
    world.write(3, "second")
    exported = _export(world)
    gone = world.writers()[0]
    world.sql("DELETE FROM event WHERE writer_id = ?", gone)
    world.sql("DELETE FROM writer WHERE id = ?", gone)
    report = world.verify()
    assert kinds(report) == ["chain_missing"]
    world.sql("DELETE FROM checkpoint WHERE writer_id = ?", gone)
    assert world.verify().ok
    report = world.verify(exported)
    assert [(p.kind.value, p.writer) for p in report.problems] == [("chain_missing", gone)]


@control("audit:off-host-checkpoint")
def test_a_log_that_is_gone_is_found(world: World) -> None:
    exported = _export(world)
    for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
        world.path.with_name(name).unlink(missing_ok=True)
    assert kinds(world.verify(exported)) == ["chain_missing"]
    with pytest.raises(NotFoundError, match="no audit log"):
        world.verify()


@control("audit:off-host-checkpoint")
def test_a_log_begun_anew_is_found(world: World) -> None:
    exported = _export(world)
    for name in ("audit.db", "audit.db-wal", "audit.db-shm"):
        world.path.with_name(name).unlink(missing_ok=True)
    world.write(20)
    assert world.verify().ok
    assert kinds(world.verify(exported)) == ["chain_missing", "removed"]


@control("audit:off-host-checkpoint")
def test_an_older_export_still_fits_a_log_that_grew(world: World) -> None:
    first = _export(world, "first.json")
    world.write(5, "later")
    second = _export(world, "second.json")
    assert world.verify(first).ok
    assert world.verify(second).exported_heads == 2
    world.sql("DELETE FROM export WHERE sequence = 1")
    assert named(world.verify(second)) == [("removed", 2)]
    assert named(world.verify(first)) == [("removed", 2), ("removed", 1)]


@control("audit:tamper-evident")
def test_events_of_a_writer_without_a_row_are_found(world: World) -> None:
    world.sql("DELETE FROM checkpoint")
    world.sql("UPDATE event SET writer_id = 'nobody' WHERE n = 12")
    report = world.verify()
    assert [(p.kind.value, p.writer) for p in report.problems] == [("unknown_writer", "nobody")]


@pytest.mark.parametrize("column", ["version", "key", "started", "signature"])
@control("audit:tamper-evident")
def test_a_changed_writer_row_is_found(world: World, column: str) -> None:
    value: object = {"started": 7, "signature": bytes(64)}.get(column, "other")
    world.sql(f"UPDATE writer SET {column} = ?", value)
    expected: list[tuple[str, int | None]] = [("bad_signature", None)]
    if column != "signature":
        expected.append(("changed", 0))
    assert named(world.verify()) == expected


@control("audit:tamper-evident")
def test_a_chain_that_nobody_signed_is_found(world: World) -> None:
    """Somebody without the key adds a writer with a chain that fits together."""
    other = World(world.path, Signer.generate(), world.clock)
    other.write(2, "forged")
    report = world.verify()
    assert kinds(report) == ["bad_signature"]
    assert {p.writer for p in report.problems} == set(world.writers()[1:])


@control("audit:tamper-evident")
def test_another_key_verifies_nothing(world: World) -> None:
    report = verify(world.path, Signer.generate().public_key)
    assert kinds(report) == ["bad_signature"]


@control("audit:tamper-evident")
def test_an_altered_checkpoint_is_found(world: World) -> None:
    world.sql("UPDATE checkpoint SET n = 9 WHERE n = 10")
    assert named(world.verify()) == [("bad_signature", 9)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER quiet AFTER INSERT ON event BEGIN DELETE FROM event WHERE n = new.n - 1; END",
        "CREATE VIEW v AS SELECT * FROM event",
        "CREATE TABLE extra(a)",
        "DROP INDEX event_by_time",
        "ALTER TABLE event ADD COLUMN note TEXT",
    ],
)
@control("audit:tamper-evident")
def test_altered_tables_are_found_and_not_written_to(world: World, statement: str) -> None:
    world.sql(statement)
    assert named(world.verify()) == [("changed", None)]
    with pytest.raises(ConfigError, match="altered"):
        world.log().start()


@control("audit:tamper-evident")
def test_an_index_that_hides_a_row_is_found(world: World) -> None:
    """The index is taken out of the schema, a row is stored anew, and the index is put back as it was."""
    (entry,) = world.rows("SELECT * FROM sqlite_master WHERE name = 'event_by_tenant'")
    with closing(raw(world.path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'event_by_tenant'")
    world.sql("CREATE TABLE copy AS SELECT * FROM event WHERE n = 3")
    world.sql("DELETE FROM event WHERE n = 3")
    world.sql("INSERT INTO event SELECT * FROM copy")
    world.sql("DROP TABLE copy")
    with closing(raw(world.path)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", entry)
    report = world.verify()
    assert kinds(report) == ["unreadable"]
    assert "event_by_tenant" in report.problems[0].detail


@control("audit:tamper-evident")
def test_a_damaged_file_is_a_finding_not_a_crash(world: World) -> None:
    with closing(raw(world.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(world.path.read_bytes())
    content[100:4096] = bytes(3996)
    world.path.write_bytes(content)
    assert kinds(world.verify()) == ["unreadable"]
    world.path.write_bytes(b"not a database" * 1000)
    assert kinds(world.verify()) == ["unreadable"]
    with pytest.raises((UnavailableError, ConfigError)):
        world.log().start()


@control("audit:off-host-checkpoint")
def test_an_altered_export_is_found(world: World) -> None:
    exported = _export(world)
    text = exported.read_text(encoding="utf-8")
    exported.write_text(text.replace('"n": 12', '"n": 11'), encoding="utf-8")
    assert named(world.verify(exported)) == [("bad_signature", None)]
    exported.write_text(text.replace(world.signer.public_key.raw.hex(), "00" * 32), encoding="utf-8")
    assert world.verify(exported).ok, "the key in the file is a hint; the verifier brings its own"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"format": "secure-rag audit checkpoint 2"}']
)
@control("audit:off-host-checkpoint")
def test_a_file_that_is_no_export_is_an_error(world: World, content: bytes) -> None:
    path = world.path.with_name("other.json")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"other\.json"):
        world.verify(path)
    with pytest.raises(ConfigError, match=r"absent\.json"):
        world.verify(world.path.with_name("absent.json"))


@control("audit:off-host-checkpoint")
def test_nobody_signs_a_chain_that_does_not_fit_together(world: World) -> None:
    """A running chain of another process is altered before anybody signed it."""
    with world.log(AuditOptions(checkpoint_every=10_000)) as live:
        for number in range(1, 7):
            live.record("acme", "retrieve", f"live-{number}", {})
        live_writer = world.writers()[1]
        world.sql("UPDATE event SET tenant = 'globex' WHERE event_id = 'live-3'")
        result = world.log().checkpoint()
        assert [(p.kind.value, p.writer, p.n) for p in result.problems] == [("changed", live_writer, 3)]
        assert result.signed == 0
        exported = live.export_checkpoint(world.path.with_name("partial.json"))
        assert len(exported.problems) == 1
        assert exported.heads == 2
    assert ("changed", 3) in named(world.verify(world.path.with_name("partial.json")))


@control("audit:off-host-checkpoint")
def test_nobody_signs_on_top_of_a_forged_checkpoint(world: World) -> None:
    world.sql("UPDATE checkpoint SET signature = zeroblob(64)")
    result = world.log().checkpoint()
    assert [p.kind.value for p in result.problems] == ["bad_signature"]
    assert result.signed == 0


@control("audit:tamper-evident")
def test_the_largest_number_is_no_way_out(world: World) -> None:
    world.sql("UPDATE event SET n = ? WHERE n = 12", 2**63 - 1)
    world.sql("UPDATE event SET tenant = 'globex' WHERE n = 4")
    assert named(world.verify()) == [("changed", 4), ("removed", 12), ("changed", 2**63 - 1)]


@control("audit:tamper-evident")
def test_the_largest_number_after_renumbered_rows_is_no_way_out(world: World) -> None:
    world.sql("DELETE FROM checkpoint")
    world.sql("DELETE FROM event WHERE n = 3")
    for n in range(4, EVENTS + 1):
        world.sql("UPDATE event SET n = ? WHERE n = ?", n - 1 if n < EVENTS else 2**63 - 1, n)
    assert named(world.verify()) == [("removed", 3), ("removed", 11), ("changed", 2**63 - 1)]


@control("audit:tamper-evident")
def test_bad_rows_cannot_make_verification_endless(world: World) -> None:
    """Where a bad row belongs is searched for in the whole chain; only so often."""
    searches: list[str] = []
    found: list[Problem] = []
    with closing(raw(world.path)) as connection:
        connection.set_trace_callback(searches.append)
        walk = ChainWalk(connection, b"w", Head(0, bytes(32)), found.append)
        for n in range(1, 201):
            mark = n.to_bytes(32, "big")
            walk.feed(StoredRow(b"w", n, 1, b"t", b"k", b"e", b"{}", mark, mark[::-1]))
    assert 0 < len(searches) <= MAX_SEARCHES
    assert [problem.n for problem in found] == list(range(1, 201))


@control("audit:tamper-evident")
def test_many_altered_rows_are_counted_not_dropped(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db")
    with closing(raw(world.path)):
        world.path.unlink()
    with world.log(AuditOptions(checkpoint_every=10_000)) as log:
        log.record("acme", "retrieve", "first", {})
    writer = world.writers()[0]
    with closing(sqlite3.connect(world.path)) as connection, connection:
        connection.executemany(
            "INSERT INTO event VALUES (?, ?, 1, 'acme', 'retrieve', ?, '{}', ?, ?)",
            [(writer, n, f"f-{n}", bytes(32), n.to_bytes(32, "big")) for n in range(2, MAX_PROBLEMS + 102)],
        )
    report = world.verify()
    assert len(report.problems) == MAX_PROBLEMS
    assert report.further_problems > 0
    assert not report.ok
    assert report.events > MAX_SEARCHES
