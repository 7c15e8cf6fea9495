"""Files that cannot be opened. Tests may run as root, which may open everything."""

from __future__ import annotations

import errno
import os

import pytest


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, number: int = errno.EACCES) -> None:
    """Opening a name, in whatever folder, fails as for a user without rights."""
    real = os.open

    def opens(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == name:
            raise OSError(number, os.strerror(number))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opens)
