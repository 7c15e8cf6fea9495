"""Folders nested deeper than Python can recurse, and their end: `shutil.rmtree`, and so pytest, cannot remove them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nested(below: Path, levels: int, files: tuple[int, ...] = ()) -> Generator[None]:
    """`d/d/d/…`, with a file `a.txt` at some depths."""
    descriptor = os.open(below, os.O_RDONLY)
    try:
        for level in range(levels):
            os.mkdir("d", dir_fd=descriptor)
            following = os.open("d", os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
            if level + 1 in files:
                os.close(os.open("a.txt", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
        yield
    finally:
        os.close(descriptor)
        subprocess.run(["rm", "-rf", str(below / "d")], check=True)
