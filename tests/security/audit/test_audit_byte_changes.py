"""One byte of one column, or one byte of the file: found, or without effect on what the log says."""

# ruff: noqa: S608 - table and column names are constants of these tests

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_rag.audit.log import AuditOptions
from secure_rag.errors import UnavailableError
from secure_rag.model.ids import Micros
from tests.controls import control
from tests.unit.audit.audit_world import World, raw

COLUMNS = {
    "writer": ("id", "started", "version", "key", "signature"),
    "event": ("writer_id", "n", "at", "tenant", "kind", "event_id", "body", "prev_hash", "hash"),
    "checkpoint": ("writer_id", "n", "hash", "at", "final", "signature"),
    "pruned": ("writer_id", "n", "hash", "before", "at", "signature"),
    "export": ("sequence", "at", "previous", "heads_digest", "signature"),
}
PLACES = [(table, column) for table, columns in COLUMNS.items() for column in columns]
NOTHING_SHRINKS = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two chains, one of them cut by retention, with checkpoints and two exports, in one file without a WAL."""
    folder = tmp_path_factory.mktemp("original")
    world = World(folder / "audit.db")
    options = AuditOptions(checkpoint_every=4)
    world.write(9, "first", options)
    before = Micros(world.clock.time - 3_000_000)
    world.write(6, "second", options)
    with world.log(options) as log:
        log.export_checkpoint(folder / "one.json")
        assert log.prune(before).problems == ()
        log.export_checkpoint(folder / "two.json")
    assert world.verify(folder / "two.json").ok
    assert all(world.rows(f"SELECT 1 FROM {table}") for table in COLUMNS)
    with closing(raw(world.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return world


def _copy(original: World, tmp_path: Path) -> World:
    for name in ("audit.db-wal", "audit.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    shutil.copy(original.path, tmp_path / "audit.db")
    return World(tmp_path / "audit.db", clock=original.clock)


def _flipped(value: bytes, place: int, mask: int) -> bytes:
    changed = bytearray(value or b"\0")
    changed[place % len(changed)] ^= mask
    return bytes(changed)


def _change(world: World, table: str, column: str, row: int, place: int, mask: int) -> str:
    """Change one byte of one value, whatever its type. Text may stop being text."""
    with closing(raw(world.path)) as connection:
        connection.text_factory = bytes
        rows = connection.execute(f"SELECT rowid, {column} FROM {table} ORDER BY rowid").fetchall()
        rowid, value = rows[row % len(rows)]
        if isinstance(value, int):
            number = _flipped(value.to_bytes(8, "big", signed=True), place, mask)
            new: int | bytes = int.from_bytes(number, "big", signed=True)
        else:
            new = _flipped(value, place, mask)
        (kind,) = connection.execute(f"SELECT typeof({column}) FROM {table}").fetchone()
        sql = "CAST(? AS TEXT)" if kind == b"text" else "?"
        try:
            connection.execute(f"UPDATE {table} SET {column} = {sql} WHERE rowid = ?", (new, rowid))
        except sqlite3.IntegrityError:
            return "refused"
    return "changed"


@control("audit:tamper-evident")
def test_any_changed_byte_of_any_row_is_found(original: World, tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    tables: Counter[str] = Counter()

    @settings(NOTHING_SHRINKS, max_examples=400)
    @given(
        where=st.sampled_from(PLACES),
        row=st.integers(0, 200),
        place=st.integers(0, 500),
        mask=st.integers(1, 255),
    )
    def check(where: tuple[str, str], row: int, place: int, mask: int) -> None:
        world = _copy(original, tmp_path)
        outcome = _change(world, *where, row, place, mask)
        if outcome == "changed":
            assert not world.verify().ok
            tables[where[0]] += 1
        else:
            assert world.verify().ok
        outcomes[outcome] += 1

    check()
    assert outcomes["changed"] >= 300, outcomes
    assert all(tables[table] >= 10 for table in COLUMNS), tables


def _content(world: World) -> list[tuple[object, ...]]:
    with closing(raw(world.path)) as connection:
        connection.text_factory = bytes
        connection.execute("PRAGMA query_only=ON")
        return [
            row
            for table, columns in COLUMNS.items()
            for row in connection.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2")
        ]


@control("audit:tamper-evident")
def test_any_changed_byte_of_the_file_is_found_or_changes_nothing(original: World, tmp_path: Path) -> None:
    expected = _content(original)
    size = original.path.stat().st_size
    outcomes: Counter[str] = Counter()

    @settings(NOTHING_SHRINKS, max_examples=400)
    @given(place=st.integers(0, size - 1), mask=st.integers(1, 255))
    def check(place: int, mask: int) -> None:
        world = _copy(original, tmp_path)
        content = bytearray(world.path.read_bytes())
        content[place] ^= mask
        world.path.write_bytes(content)
        try:
            report = world.verify()
        except UnavailableError:
            outcomes["not opened"] += 1
            return
        if report.ok:
            assert _content(world) == expected
            outcomes["no effect"] += 1
        else:
            outcomes["found"] += 1

    check()
    assert outcomes["found"] >= 50, outcomes
