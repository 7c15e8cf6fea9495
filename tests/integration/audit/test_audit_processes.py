from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from secure_rag.audit.log import AuditOptions
from secure_rag.audit.signing import create_keys
from secure_rag.errors import UnavailableError
from tests.controls import control
from tests.integration.audit import audit_processes
from tests.unit.audit.audit_world import World, event_ids


@control("audit:one-chain-per-writer")
def test_two_processes_write_one_new_file_at_once(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db", create_keys(tmp_path / "keys"))
    children = [audit_processes.start(tmp_path, prefix, 4, 60) for prefix in ("left", "right", "third")]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert (child.returncode, errors) == (0, b"")
    report = world.verify()
    assert report.ok
    assert (report.writers, report.events, report.unsigned_events) == (3, 720, 0)


@control("audit:one-chain-per-writer")
def test_a_process_exports_the_heads_of_another_that_still_writes(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db", create_keys(tmp_path / "keys"))
    child = audit_processes.start(tmp_path, "live", 2, 0)
    try:
        assert child.stdout is not None
        for _ in range(70):
            child.stdout.readline()
        with world.log() as log:
            result = log.export_checkpoint(tmp_path / "out.json")
        assert (result.heads, result.problems) == (1, ())
        during = world.verify(tmp_path / "out.json")
        assert during.ok
        assert during.events >= 70
    finally:
        child.kill()
        child.communicate(timeout=60)
    after = world.verify(tmp_path / "out.json")
    assert after.ok
    assert after.exported_heads == 1


def test_group_commit_serves_sixteen_threads(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db")
    log = world.log(AuditOptions(timeout_s=60))
    start = threading.Barrier(16)
    failures: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            start.wait()
            for number in range(50):
                log.record("acme", "retrieve", f"t{thread}-{number}", {"number": number})
        except BaseException as exc:  # noqa: BLE001 - reported by the test below
            failures.append(exc)

    with log:
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        status = log.status
    assert failures == []
    assert status.events == 800
    assert status.commits < 800, "several events share a commit"
    assert event_ids(world.path) == {f"t{t}-{n}" for t in range(16) for n in range(50)}
    report = world.verify()
    assert (report.ok, report.events, report.writers) == (True, 800, 1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_refuses_to_write_its_parents_chain(tmp_path: Path) -> None:
    world = World(tmp_path / "audit.db")
    with world.log() as log:
        log.record("acme", "retrieve", "parent", {})
        child = os.fork()
        if child == 0:
            try:
                log.record("acme", "retrieve", "child", {})
            except UnavailableError:
                log.close()
                os._exit(0 if not log.ready() else 3)
            finally:
                os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        log.record("acme", "retrieve", "parent-2", {})
    assert event_ids(world.path) == {"parent", "parent-2"}
    assert world.verify().ok
