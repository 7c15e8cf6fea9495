"""Run as a program: an ingest run that prints a line at every item and every SQL statement. Meant to be killed.

Arguments: folder of the company, then manifests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sqlalchemy import event

from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.ingesting import ingest_source
from secure_rag_api.wiring import open_installation
from secure_rag_ingestion.runs import RunItem
from tests.support.ingest_home import DIMENSIONS


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def report(item: RunItem, _total: int) -> None:
    say(item=item.native_id, outcome=item.outcome.value)


def main(base: str, *manifests: str) -> None:
    with open_installation(Path(base) / "home", embedder=HashingEmbedder(DIMENSIONS)) as opened:

        @event.listens_for(opened.engine, "before_cursor_execute")
        def _statement(*_: object) -> None:
            say(statement=True)

        @event.listens_for(opened.engine, "commit")
        def _commit(*_: object) -> None:
            say(commit=True)

        for manifest in manifests:
            ran = ingest_source(opened, Path(manifest), "user:operator", report)
            say(run=ran.run_id, status=ran.status.value)


if __name__ == "__main__":
    main(*sys.argv[1:])
