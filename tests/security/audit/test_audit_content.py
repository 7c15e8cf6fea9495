"""What must never be in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_rag.audit.events import CONTENT_KEYS, query_fields
from secure_rag.audit.log import AuditOptions
from secure_rag.errors import UnavailableError
from tests.controls import control
from tests.unit.audit.audit_world import World

SECRET = "the merger with Brightwater closes in May"


def _bytes(world: World) -> bytes:
    return b"".join(path.read_bytes() for path in world.path.parent.iterdir() if path.is_file())


@pytest.mark.parametrize("key", sorted(CONTENT_KEYS | {"query", "Text", "QUERY"}))
@control("audit:no-content")
def test_content_is_refused_at_any_depth(tmp_path: Path, key: str) -> None:
    world = World(tmp_path / "audit.db")
    bodies: list[dict[str, object]] = [{key: SECRET}, {"results": [{"chunk": "c1", "more": {key: SECRET}}]}]
    with world.log() as log:
        for number, body in enumerate(bodies):
            with pytest.raises(UnavailableError, match=key):
                log.record("acme", "retrieve", f"e{number}", body)
        log.record("acme", "retrieve", "fine", {"results": [{"chunk": "c1", "reason": "allowed"}]})
        assert SECRET.encode() not in _bytes(world)
    assert world.verify().events == 1


@control("audit:no-content")
def test_query_text_is_stored_only_when_enabled(tmp_path: Path) -> None:
    key = bytes(range(32))
    (tmp_path / "off").mkdir()
    (tmp_path / "on").mkdir()
    off, on = World(tmp_path / "off" / "audit.db"), World(tmp_path / "on" / "audit.db")
    with off.log() as log:
        log.record("acme", "retrieve", "digest", query_fields(key, SECRET))
        with pytest.raises(UnavailableError, match="query"):
            log.record("acme", "retrieve", "text", query_fields(key, SECRET, keep_query_text=True))
    assert SECRET.encode() not in _bytes(off)
    with on.log(AuditOptions(keep_query_text=True)) as log:
        log.record("acme", "retrieve", "text", query_fields(key, SECRET, keep_query_text=True))
        with pytest.raises(UnavailableError, match="content"):
            log.record("acme", "retrieve", "content", {"content": SECRET})
    assert SECRET.encode() in _bytes(on)
