"""A process of a release that does not exist; it dies while it upgrades or creates a home."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from secure_rag.database import migrations
from secure_rag.database.home import Home
from tests.integration.migrations.throwaway import DIED, pretend


def main(folder: str, root: str, act: str, when: str) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend(monkeypatch, Path(folder))
        if when == "before-commit":
            monkeypatch.setattr(migrations, "_refuse_unsound", lambda _connection: os._exit(DIED))
        home = Home(Path(root))
        home.upgrade() if act == "upgrade" else home.create()


if __name__ == "__main__":
    main(*sys.argv[1:])
