from __future__ import annotations

import json
from pathlib import Path

import pytest

from secure_rag.audit import exports
from secure_rag.audit.exports import load_export
from secure_rag.audit.log import AuditOptions
from secure_rag.errors import ConfigError, UnavailableError
from tests.unit.audit.audit_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "audit.db")


def test_exports_hold_every_head_and_name_the_one_before(world: World) -> None:
    world.write(3, "first")
    world.write(4, "second")
    one, two = world.path.with_name("one.json"), world.path.with_name("two.json")
    with world.log() as log:
        first = log.export_checkpoint(one)
        log.record("acme", "retrieve", "between", {})
        second = log.export_checkpoint(two)
    assert (first.sequence, first.heads, second.sequence, second.heads) == (1, 2, 2, 3)
    assert json.loads(two.read_text(encoding="utf-8"))["previous"] == first.digest
    assert json.loads(one.read_text(encoding="utf-8"))["previous"] == "0" * 64
    assert sorted(head.n for _, head in load_export(one).heads) == [3, 4]
    assert load_export(two).public_key == world.signer.public_key
    assert world.verify(one).ok
    assert world.verify(two).ok


def test_an_export_replaces_its_file_whole_and_leaves_nothing_beside_it(world: World) -> None:
    world.write(1)
    out = world.path.parent / "out"
    out.mkdir()
    target = out / "checkpoint.json"
    target.write_text("something older", encoding="utf-8")
    world.log().export_checkpoint(target)
    assert load_export(target).record.sequence == 1
    assert [path.name for path in out.iterdir()] == ["checkpoint.json"]


def test_an_export_that_cannot_be_written_is_an_error_and_the_next_one_follows_it(world: World) -> None:
    world.write(1)
    with pytest.raises(UnavailableError, match="cannot be written"):
        world.log().export_checkpoint(world.path.parent / "absent" / "out.json")
    (world.path.parent / "folder").mkdir()
    with pytest.raises(UnavailableError, match="cannot be written"):
        world.log().export_checkpoint(world.path.parent / "folder")
    out = world.path.with_name("out.json")
    assert world.log().export_checkpoint(out).sequence == 3
    assert world.verify(out).ok
    assert not [path.name for path in world.path.parent.iterdir() if path.name.startswith(".")]


def test_checkpoints_come_every_n_events_and_at_the_end(world: World) -> None:
    world.write(11, options=AuditOptions(checkpoint_every=4))
    assert world.rows("SELECT n, final FROM checkpoint ORDER BY n, final") == [(4, 0), (8, 0), (11, 1)]


def test_a_checkpoint_signs_only_what_moved(world: World) -> None:
    world.write(2, "ended")
    with world.log() as log:
        log.record("acme", "retrieve", "live", {})
        assert world.verify().unsigned_events == 1
        assert (log.checkpoint().signed, log.checkpoint().signed) == (1, 0)
        assert world.verify().unsigned_events == 0
    assert world.verify().ok


def test_a_file_too_large_to_be_an_export_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write(1)
    out = world.path.with_name("out.json")
    world.log().export_checkpoint(out)
    monkeypatch.setattr(exports, "MAX_EXPORT_BYTES", 100)
    with pytest.raises(ConfigError, match="larger"):
        load_export(out)
