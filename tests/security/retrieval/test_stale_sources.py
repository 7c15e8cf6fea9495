"""Permissions that are too old: withheld and alarmed once; and what a caller's own limit looks at."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.audit.events import SOURCE_STALE
from secure_rag.audit.reading import tail
from secure_rag.database import tables as t
from secure_rag.database.engine import write
from secure_rag.errors import StaleSourceError
from secure_rag.model.ids import PrincipalId
from secure_rag.retrieval.request import RetrievalRequest
from secure_rag_api import revoking
from secure_rag_api.diagnosis import diagnose
from secure_rag_api.permission_syncing import sync_source
from secure_rag_api.stale_sources import StalenessWatch, alarm_stale_sources
from tests.controls import control
from tests.support.clock import FixedClock
from tests.support.ingest_home import Source, World, caller, company

OPERATOR = PrincipalId("user:operator")
HOUR = 3_600_000_000
QUERY = "valve opens at nine bar"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Generator[World]:
    with company(tmp_path, clock=clock) as found:
        yield found


def source(world: World, name: str, who: str, **settings: object) -> Source:
    made = Source(world.base, name, settings=dict(settings))
    made.rules = [{"path": "**", "allow": [who], "label": "Internal"}]
    made.write("a.txt", f"The valve of {name} opens at nine bar.")
    world.run(made)
    return made


def alarms(world: World) -> list[str]:
    return [str(x.body["source"]) for x in tail(world.opened.home.audit, 100, kind=SOURCE_STALE)]


@control("ops:stale-source-alarm")
def test_a_source_that_is_too_old_is_withheld_and_alarmed_once_for_each_time(
    world: World, clock: FixedClock
) -> None:
    old = source(world, "old", "user:ann", max_acl_age="1h")
    source(world, "young", "user:ann", max_acl_age="9h")
    assert alarm_stale_sources(world.opened) == []
    clock.at += HOUR + 1
    assert world.ask("user:ann", QUERY) == {"young/a.txt"}
    assert alarm_stale_sources(world.opened) == ["acme/old"]
    assert alarm_stale_sources(world.opened) == []
    problems = diagnose(world.opened).problems
    assert any("source acme/old: its permissions are too old" in x for x in problems)
    assert any(f"alarm {SOURCE_STALE}" in x for x in problems)
    sync_source(world.opened, old.manifest, OPERATOR, lambda _: None)
    assert world.ask("user:ann", QUERY) == {"old/a.txt", "young/a.txt"}
    clock.at += HOUR + 1
    # The next run notices it too, before it makes the alarm needless.
    sync_source(world.opened, old.manifest, OPERATOR, lambda _: None)
    assert alarms(world) == ["old", "old"]


@control("ops:stale-source-alarm")
def test_a_serving_process_notices_by_itself(world: World, clock: FixedClock) -> None:
    source(world, "old", "user:ann", max_acl_age="1h")
    clock.at += HOUR + 1
    watches = [StalenessWatch(world.opened, interval_s=3600) for _ in range(2)]
    for watch in watches:
        watch.start()
    for watch in watches:
        watch.close()
    assert alarms(world) == ["old"]


@control("retrieval:staleness-of-open-sources")
def test_a_callers_limit_looks_at_sources_open_to_the_caller_only(world: World, clock: FixedClock) -> None:
    mine = source(world, "mine", "user:ann")
    theirs = source(world, "theirs", "user:ben")
    clock.at += HOUR
    world.run(mine)
    ask = RetrievalRequest(QUERY, max_staleness_s=60)
    retrieve = world.opened.retrieval.retrieve
    assert retrieve(caller("user:ann"), ask).results
    with pytest.raises(StaleSourceError):
        retrieve(caller("user:ben"), ask)
    # A class that once opened it to Ann and guards nothing any more does not open it.
    theirs.rules = [{"path": "**", "allow": ["user:ann"], "label": "Internal"}]
    world.run(theirs)
    theirs.rules = [{"path": "**", "allow": ["user:ben"], "label": "Internal"}]
    world.run(theirs)
    with write(world.opened.engine) as connection:
        s, d = t.source.c, t.document.c
        connection.execute(sa.update(t.source).where(s.name == "theirs").values(acl_as_of=clock.at - HOUR))
        key = connection.execute(sa.select(s.id).where(s.name == "theirs")).scalar_one()
        connection.execute(sa.update(t.document).where(d.source_id == key).values(acl_as_of=clock.at - HOUR))
    assert retrieve(caller("user:ann"), ask).results
    with pytest.raises(StaleSourceError):
        retrieve(caller("user:ben"), ask)


@control("retrieval:staleness-of-open-sources")
@pytest.mark.parametrize("what", ["source", "document", "principal", "quarantined"])
def test_a_source_of_which_nothing_is_open_any_more_does_not_count(
    world: World, clock: FixedClock, what: str
) -> None:
    mine = source(world, "mine", "user:ann")
    source(world, "other", "user:ann")
    clock.at += HOUR
    world.run(mine)
    ask = RetrievalRequest(QUERY, max_staleness_s=60)
    retrieve = world.opened.retrieval.retrieve
    with pytest.raises(StaleSourceError):
        retrieve(caller("user:ann"), ask)
    if what == "quarantined":
        with write(world.opened.engine) as connection:
            key = sa.select(t.source.c.id).where(t.source.c.name == "other").scalar_subquery()
            connection.execute(sa.update(t.document).where(t.document.c.source_id == key).values(state=2))
    else:
        revoking.revoke(
            world.opened, "acme", OPERATOR,
            principal=PrincipalId("user:ann") if what == "principal" else None,
            source=None if what == "document" else "other",
            document="other/a.txt" if what == "document" else None,
            reason="",
        )  # fmt: skip
    assert len(retrieve(caller("user:ann"), ask).results) == 1


@control("retrieval:staleness-of-open-sources")
def test_permissions_of_single_documents_may_be_younger(world: World, clock: FixedClock) -> None:
    source(world, "mine", "user:ann")
    clock.at += HOUR
    ask = RetrievalRequest(QUERY, max_staleness_s=60)
    retrieve = world.opened.retrieval.retrieve
    with write(world.opened.engine) as connection:
        connection.execute(sa.update(t.document).values(acl_as_of=clock.at))
    assert retrieve(caller("user:ann"), ask).results
    clock.at += HOUR
    with pytest.raises(StaleSourceError):
        retrieve(caller("user:ann"), replace(ask, k=1))
