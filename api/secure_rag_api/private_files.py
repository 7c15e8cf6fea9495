"""Files that only their owner can read, from the first moment on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from secure_rag.errors import ConfigError


def make_private_folder(path: Path) -> None:
    """Create a folder with mode 700, or give that mode to one that is there and ours.

    Raises:
        ConfigError: it cannot be created, is no folder or belongs to somebody else.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be a folder of yours alone: {error.strerror}") from error


def write_private(path: Path, text: str) -> None:
    """Create a file with mode 600.

    Raises:
        ConfigError: it exists already, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a descriptor, created with its mode
            file.write(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error


def read_secret(path: Path, max_bytes: int = 4_096) -> str:
    """Content of a file that nobody else may be able to read, without surrounding blanks.

    Raises:
        ConfigError: it cannot be read, others could read it, or it is empty, too large or not ASCII.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise ConfigError(f"{path}: others can read this secret; set its mode to 600")
    text = content.decode("ascii", "replace").strip()
    if not text or len(content) > max_bytes or not text.isascii() or not text.isprintable():
        raise ConfigError(f"{path}: holds no secret of at most {max_bytes} printable characters")
    return text


def open_to_others(root: Path) -> Iterator[Path]:
    """What lies in a folder, itself included, and can be read, written or entered by others; public keys may."""
    for path in (root, *sorted(root.rglob("*"))):
        if path.suffix != ".pub" and not path.is_symlink() and path.exists() and path.stat().st_mode & 0o077:
            yield path
