"""Serves a filled home over HTTP with the test embedder, for tests that need a real server process.

`python -m tests.e2e.serve_world HOME` prints the port on one line and then serves until it is told to stop.
"""

from __future__ import annotations

import sys
from pathlib import Path

from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.server import serve
from secure_rag_api.serving import served_home
from secure_rag_api.wiring import open_installation
from tests.support.filled_home import DIMENSIONS


def main() -> None:
    with open_installation(Path(sys.argv[1]), embedder=HashingEmbedder(DIMENSIONS)) as opened:
        serve(
            lambda: served_home(opened, "127.0.0.1"),
            host="127.0.0.1",
            port=0,
            profile=opened.settings.profile,
            started=lambda _, port: print(port, flush=True),  # noqa: T201 -- the parent waits for this line
        )


if __name__ == "__main__":
    main()
