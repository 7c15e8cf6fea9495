"""Nearly the same text again and again by one contributor: noted for reviewers, and nothing else happens to it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.detection.contributor_burst import ContributorBurst
from tests.support.ingest_home import Source, World, company, states

CLAIM = "The agreed price of the D-22 diaphragm is EUR 4.65 for each piece, says"
BURST = ContributorBurst()


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    with company(tmp_path) as found:
        yield found


def marked(world: World) -> dict[str, tuple[str, bool]]:
    """Verdict of the burst rule, and whether score and threshold are on record, by native id."""
    f, d = t.finding.c, t.document.c
    with world.opened.reader.connect() as connection:
        rows = connection.execute(
            sa.select(d.native_id, f.verdict, f.score, f.threshold, f.evidence)
            .join(t.finding, f.document_id == d.id)
            .where(f.detector == BURST.name)
        ).all()
    return {
        x.native_id: (x.verdict, x.score >= x.threshold == BURST.threshold and bool(x.evidence)) for x in rows
    }


def test_a_burst_of_one_contributor_is_noted_and_still_returned(world: World, tmp_path: Path) -> None:
    inbox = Source(tmp_path, "inbox")
    inbox.settings = {"contributors": [{"path": "supplier/**", "principal": "user:gus"}]}
    for number, who in enumerate(("Ada", "Ben", "Cleo", "Dora", "Emil")):
        inbox.write(f"supplier/{number}.txt", f"{CLAIM} {who}.")
    inbox.write("other.txt", "The canteen opens at noon and closes at three.")
    assert world.run(inbox).report.outcomes == {"added": 6}
    assert marked(world) == {f"supplier/{n}.txt": ("annotate", True) for n in range(BURST.minimum - 1, 5)}
    assert set(states(world.opened).values()) == {"live"}
    assert world.ask("user:ann", CLAIM) >= {f"inbox/supplier/{n}.txt" for n in range(5)}


def test_the_same_texts_by_several_contributors_are_no_burst(world: World, tmp_path: Path) -> None:
    inbox = Source(tmp_path, "inbox")
    people = ("ann", "ben", "cleo", "dora", "gus")
    inbox.settings = {"contributors": [{"path": f"{x}.txt", "principal": f"user:{x}"} for x in people]}
    for who in people:
        inbox.write(f"{who}.txt", f"{CLAIM} {who}.")
    world.run(inbox)
    assert marked(world) == {}
