"""The command line with the test embedder, for tests that need another process."""

from __future__ import annotations

from unittest.mock import patch

from secure_rag.testing.static_embedder import HashingEmbedder
from secure_rag_api.cli.main import main

DIMENSIONS = 64

if __name__ == "__main__":
    with patch("secure_rag_api.wiring.open_embedder", lambda *_, **__: HashingEmbedder(DIMENSIONS)):
        main()
