"""Run as a program: a run of permissions that prints a line at every SQL statement and commit. Meant to be killed.

Arguments: folder of the company, manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import event

from secure_rag.model.ids import PrincipalId
from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.permission_syncing import sync_source
from secure_rag_api.wiring import open_installation
from secure_rag_ingestion import permission_sync
from tests.support.ingest_child import say
from tests.support.ingest_home import DIMENSIONS


def main(base: str, manifest: str) -> None:
    # Several transactions for a few documents.
    permission_sync.BATCH = 4  # type: ignore[misc]  # a smaller one, here only
    with open_installation(Path(base) / "home", embedder=HashingEmbedder(DIMENSIONS)) as opened:

        @event.listens_for(opened.engine, "before_cursor_execute")
        def _statement(*_: object) -> None:
            say(statement=True)

        @event.listens_for(opened.engine, "commit")
        def _commit(*_: object) -> None:
            say(commit=True)

        report = sync_source(opened, Path(manifest), PrincipalId("user:operator"), lambda _: None)
        say(status=report.status.value)


if __name__ == "__main__":
    main(*sys.argv[1:])
