"""A writing process is killed; what it acknowledged is there, and the chain it leaves verifies."""

from __future__ import annotations

import secrets
from pathlib import Path

from secure_rag.audit.signing import create_keys
from tests.controls import control
from tests.integration.audit import audit_processes
from tests.unit.audit.audit_world import World, event_ids

KILLS = 6


@control("audit:durable-before-answer")
def test_every_acknowledged_event_survives_kill_9(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db", create_keys(tmp_path / "keys"))
    acknowledged: set[str] = set()
    points: list[int] = []
    for kill in range(KILLS):
        points.append(secrets.randbelow(200) + 1)
        child = audit_processes.start(tmp_path, f"run{kill}", 4, 0)
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(points[-1])]
        child.kill()
        rest, errors = child.communicate(timeout=60)
        assert errors == b""
        acknowledged.update(line.decode() for line in b"".join([*lines, rest]).splitlines())
        report = world.verify()
        assert report.ok, (points, report.problems)
    assert len(acknowledged) >= sum(points)
    assert acknowledged <= event_ids(world.path), points
    with world.log() as log:
        log.record("acme", "retrieve", "after", {})
        assert log.export_checkpoint(tmp_path / "out.json").problems == ()
    report = world.verify(tmp_path / "out.json")
    assert (report.ok, report.writers, report.unsigned_events) == (True, KILLS + 1, 0)
