"""An incomplete listing deletes nothing and confirms nothing; stale permissions are withheld by their age."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from secure_rag.errors import IngestionError
from secure_rag_api.ingesting import ingest_source
from secure_rag_ingestion.connectors.filesystem import FilesystemConnector
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.file_faults import refuse
from tests.support.ingest_home import Source, World, acl_as_of, company, opened

DAY = 86_400_000_000
QUERY = "the pump and the valve"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Generator[World]:
    with company(tmp_path, clock=clock) as found:
        yield found


@pytest.fixture
def wiki(tmp_path: Path) -> Source:
    source = Source(tmp_path, "wiki", settings={"max_acl_age": "7d"})
    source.write("closed/pump.txt", "The pump stands in the cellar.")
    source.write("open/valve.txt", "The valve stands in the attic.")
    return source


BOTH = {"wiki/closed/pump.txt", "wiki/open/valve.txt"}


@control("ingest:partial-listing")
def test_an_unreadable_folder_deletes_and_confirms_nothing(
    world: World, wiki: Source, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(wiki)
    confirmed = acl_as_of(world.opened, "wiki")
    assert confirmed == clock.at
    clock.at += DAY
    with monkeypatch.context() as patched:
        refuse(patched, "closed")
        (wiki.folder / "open/valve.txt").unlink()
        ran = world.run(wiki)
    assert ran.report.status.value == "partial"
    assert ran.outcome("closed/") == ("failed", "unreadable")
    assert set(ran.items) == {"closed/"}
    assert acl_as_of(world.opened, "wiki") == confirmed
    assert world.ask("user:ann", QUERY) == BOTH
    # Readable again: only now is it certain what is gone.
    ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert ran.outcome("open/valve.txt") == ("deleted", "gone_at_source")
    assert acl_as_of(world.opened, "wiki") == clock.at
    assert world.ask("user:ann", QUERY) == {"wiki/closed/pump.txt"}


@control("ingest:partial-listing", "ingest:failure-withholds")
def test_a_document_that_is_now_a_link_is_withheld_even_then(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.run(wiki)
    (tmp_path / "secret.txt").write_text("secret")
    (wiki.folder / "open/valve.txt").unlink()
    (wiki.folder / "open/valve.txt").symlink_to(tmp_path / "secret.txt")
    with monkeypatch.context() as patched:
        refuse(patched, "closed")
        ran = world.run(wiki)
    assert ran.outcome("open/valve.txt") == ("failed", "link")
    assert world.state("wiki/open/valve.txt") == "withheld"
    assert world.ask("user:ann", QUERY) == {"wiki/closed/pump.txt"}
    assert world.run(wiki).outcome("open/valve.txt") == ("deleted", "gone_at_source")


@control("ingest:partial-listing")
def test_what_a_partial_run_read_itself_takes_effect(
    world: World, wiki: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(wiki)
    wiki.rules = [{"path": "**", "allow": ["user:cleo"], "label": "Internal"}]
    refuse(monkeypatch, "closed")
    assert world.run(wiki).outcome("open/valve.txt") == ("permission_updated", "permissions_changed")
    assert world.ask("user:ann", QUERY) == {"wiki/closed/pump.txt"}


@control("ingest:partial-listing")
def test_a_missing_root_is_a_failed_run_that_changes_nothing(
    world: World, wiki: Source, clock: FixedClock
) -> None:
    world.run(wiki)
    confirmed = acl_as_of(world.opened, "wiki")
    clock.at += DAY
    wiki.save()
    wiki.folder.rename(wiki.folder.with_name("unmounted"))
    with pytest.raises(IngestionError, match="cannot be opened"):
        ingest_source(world.opened, wiki.manifest, "user:operator", lambda *_: None)
    assert acl_as_of(world.opened, "wiki") == confirmed
    assert world.ask("user:ann", QUERY) == BOTH
    with world.opened.reader.connect() as connection:
        rows = connection.exec_driver_sql("SELECT status, detail, finished_at FROM run ORDER BY id").all()
    assert [row.status for row in rows] == ["completed", "failed"]
    assert "cannot be opened" in rows[1].detail
    assert rows[1].finished_at == clock.at


@control("ingest:partial-listing", "retrieval:stale-permissions")
def test_a_source_that_is_not_confirmed_in_time_is_withheld_until_a_complete_run(
    world: World, wiki: Source, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(wiki)
    clock.at += 7 * DAY
    assert world.ask("user:ann", QUERY) == BOTH
    clock.at += 1
    assert world.ask("user:ann", QUERY) == set()
    assert world.why("user:ann", "wiki/open/valve.txt") == "acl_stale"
    with monkeypatch.context() as patched:
        refuse(patched, "closed")
        assert world.run(wiki).report.status.value == "partial"
    assert world.ask("user:ann", QUERY) == set()
    ran = world.run(wiki)
    assert (ran.report.status.value, ran.report.outcomes) == ("completed", {"unchanged": 2})
    assert world.ask("user:ann", QUERY) == BOTH


@control("ingest:partial-listing")
def test_permissions_count_as_confirmed_when_the_run_began(
    tmp_path: Path, wiki: Source, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that takes hours confirms what it read at its beginning, not what holds at its end."""
    with company(tmp_path, clock=clock) as world:
        began = clock.at
        real = FilesystemConnector.fetch

        def slowly(connector: FilesystemConnector, native_id: str) -> object:
            clock.at += DAY
            return real(connector, native_id)

        monkeypatch.setattr(FilesystemConnector, "fetch", slowly)
        world.run(wiki)
        assert clock.at == began + 2 * DAY
        assert acl_as_of(world.opened, "wiki") == began
        with world.opened.reader.connect() as connection:
            assert set(connection.exec_driver_sql("SELECT acl_as_of FROM document").scalars()) == {began}


@control("ingest:failure-withholds")
def test_one_failed_document_does_not_keep_the_others_from_being_confirmed(
    world: World, wiki: Source, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.run(wiki)
    clock.at += DAY
    with monkeypatch.context() as patched:
        refuse(patched, "pump.txt")
        ran = world.run(wiki)
    assert ran.report.status.value == "completed"
    assert acl_as_of(world.opened, "wiki") == clock.at
    with opened(tmp_path, clock=clock) as other:
        assert other.ask("user:ann", QUERY) == {"wiki/open/valve.txt"}
