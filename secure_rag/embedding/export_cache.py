"""A private folder that keeps one exported model per key, each with its recorded digest.

What protects an export from others is the folder: it belongs to us (or root) and nobody else can write to it.
The recorded digest finds what is half-written or damaged: such a file is never loaded, it is built again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from secure_rag.errors import ModelError

__all__ = ["cache_root", "obtain_export", "private_directory"]

_LOG: Final = logging.getLogger(__name__)
_LOCK_SECONDS: Final = 900.0
_MAX_RECORD: Final = 1 << 16


def cache_root(override: Path | None = None) -> Path:
    """Folder for everything that can be made again: argument, `SECURE_RAG_CACHE`, else the XDG cache folder.

    Raises:
        ModelError: neither is set and there is no home folder.
    """
    if override is not None:
        return override
    if own := os.environ.get("SECURE_RAG_CACHE"):
        return Path(own)
    # The XDG specification says that a relative path is to be ignored.
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if xdg and Path(xdg).is_absolute():
        return Path(xdg) / "secure-rag"
    try:
        return Path.home() / ".cache" / "secure-rag"
    except RuntimeError as error:
        raise ModelError("no folder for the exported model: set SECURE_RAG_CACHE") from error


def private_directory(path: Path) -> Path:
    """Create a folder that only its owner can write to, or check that it is one.

    Raises:
        ModelError: it cannot be made, belongs to somebody else, or others can write to it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = path.stat()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be used as cache ({error.strerror}); set SECURE_RAG_CACHE"
        ) from error
    if state.st_uid not in (os.geteuid(), 0):
        raise ModelError(
            f"{path}: belongs to another user, who could replace the model; set SECURE_RAG_CACHE"
        )
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ModelError(f"{path}: others can write to it and replace the model; run chmod go-w {path}")
    return path


def obtain_export(
    directory: Path, key: str, source: Mapping[str, str], build: Callable[[Path], None]
) -> bytes:
    """The export of a key, built first if there is none that matches its recorded digest.

    Safe with several processes: one builds, the others wait for it. A process killed at any moment leaves the
    old state or a complete export.

    Args:
        directory: a private directory.
        key: file name without suffix.
        source: what the export was made from; a record that says otherwise is not used.
        build: writes the export to the path that it is given, or raises ModelError.

    Returns:
        The bytes whose digest was checked; use these, not the file.

    Raises:
        ModelError: it can neither be read nor built.
    """
    try:
        if (found := _read(directory, key, source)) is not None:
            return found
        with FileLock(directory / f"{key}.lock", timeout=_LOCK_SECONDS, mode=0o600):
            if (found := _read(directory, key, source)) is not None:
                return found
            return _build(directory, key, source, build)
    except Timeout as error:
        raise ModelError(f"{directory}: another process has been exporting the model for too long") from error
    except OSError as error:
        raise ModelError(
            f"{directory}: the exported model cannot be read or written ({error.strerror})"
        ) from error


def _read(directory: Path, key: str, source: Mapping[str, str]) -> bytes | None:
    """The export if it is there and matches its record."""
    try:
        with (directory / f"{key}.json").open("rb") as file:
            record = json.loads(file.read(_MAX_RECORD))
        content = (directory / f"{key}.onnx").read_bytes()
    except FileNotFoundError:
        return None
    except ValueError:
        record, content = None, b""
    expected = {"sha256": hashlib.sha256(content).hexdigest(), "source": dict(source)}
    if record != expected:
        _LOG.warning("cached model %s does not match its record; it is built again", key)
        return None
    return content


def _build(directory: Path, key: str, source: Mapping[str, str], build: Callable[[Path], None]) -> bytes:
    # Under the lock nobody else builds this key, so what lies here was left by a killed process.
    for leftover in directory.glob(f".{key}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=directory))
    try:
        model, record = work / "export.onnx", work / "export.json"
        build(model)
        content = model.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        record.write_text(json.dumps({"sha256": digest, "source": dict(source)}), encoding="utf-8")
        for path in (model, record):
            path.chmod(0o600)
            _sync(path)
        # Model first: a record without its model would be a promise, a model without its record is ignored.
        model.replace(directory / f"{key}.onnx")
        record.replace(directory / f"{key}.json")
        _sync(directory)
        return content
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
