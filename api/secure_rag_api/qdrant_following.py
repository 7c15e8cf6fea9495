"""A Qdrant collection that follows the control database of a home.

Whoever opens it brings it up to date, every ingest run does so at its end, and a serving process goes on doing it in
a thread. One process at a time writes, which a lock in the home sees to. Until a change has arrived a query finds
less than it could, never more: class, version and text of every hit are read from the control database.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from qdrant_client import QdrantClient

from secure_rag.config import QdrantSettings
from secure_rag.database.home import Home
from secure_rag.errors import ConfigError, StoreError
from secure_rag.ports import AccessScope, Embedder, Hit
from secure_rag.stores.qdrant import QdrantStore
from secure_rag_api.private_files import read_secret

if TYPE_CHECKING:
    from secure_rag.ports import Vector

POLL_S: Final = 0.5
MAX_LAG_S: Final = 30.0
"""Behind for longer than this, a serving process says that it is not ready."""
_TIMEOUT_S: Final = 30
_LOG = logging.getLogger(__name__)


class FollowedQdrant:
    """Implements `secure_rag.ports.VectorStore`.

    Args:
        store: the collection.
        engine: reads the control database.
        lock: file that one writing process at a time holds.
    """

    def __init__(self, store: QdrantStore, engine: sa.Engine, lock: Path) -> None:
        self._store = store
        self._engine = engine
        self._lock = lock
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._behind_since: float | None = None

    def search(self, scope: AccessScope, vector: Vector, k: int) -> Sequence[Hit]:
        """At most `k` hits of the scope, best first, ties by chunk key.

        Raises:
            StoreError: the server failed.
        """
        return self._store.search(scope, vector, k)

    def ready(self) -> bool:
        """Whether the collection can be reached and has not been behind the database for long."""
        since = self._behind_since
        late = since is not None and time.monotonic() - since >= MAX_LAG_S
        dead = self._thread is not None and not self._thread.is_alive()
        return not late and not dead and self._store.ready()

    def sync(self) -> None:
        """Apply every change that is committed now, after another process that is doing so.

        Raises:
            StoreError: server or database failed; what was applied so far is kept.
        """
        with _held(self._lock, wait=True):
            self._store.sync(self._engine)

    def malformed_documents(self) -> frozenset[int]:
        """Documents that are never found, because their stored vectors are missing or no unit vectors."""
        return self._store.malformed_documents()

    def follow(self) -> None:
        """Go on applying changes in a thread until `close`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="secure-rag-qdrant", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop following and close the client."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._store.close()

    def _run(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self._step()
            except (StoreError, OSError) as error:
                if self._behind_since is None:
                    self._behind_since = time.monotonic()
                    _LOG.error(
                        "the Qdrant collection does not follow its database: %s", error.__cause__ or error
                    )

    def _step(self) -> None:
        if self._store.lag(self._engine):
            self._behind_since = self._behind_since or time.monotonic()
            with _held(self._lock, wait=False) as mine:
                if mine:
                    self._store.sync(self._engine)
        if not self._store.lag(self._engine):
            self._behind_since = None


def open_qdrant(
    settings: QdrantSettings, home: Home, embedder: Embedder, engine: sa.Engine
) -> FollowedQdrant:
    """Connect to the collection of a home.

    Raises:
        ConfigError: the key cannot be read by us alone, or would travel in the clear.
        StoreError: the server cannot be reached, or the collection was made for another engine or program.
    """
    client = connect(settings, home.root)
    try:
        store = QdrantStore(client, settings.collection, embedder.engine_id, embedder.dimensions)
    except BaseException:
        client.close()
        raise
    return FollowedQdrant(store, engine, home.locks / "qdrant.lock")


def connect(settings: QdrantSettings, home: Path) -> QdrantClient:
    """A client with the key of the settings; it is sent over TLS or to this machine only.

    Raises:
        ConfigError: the key cannot be read by us alone, or would travel in the clear.
    """
    key = None
    if settings.api_key_file is not None:
        url = urlsplit(settings.url)
        if url.scheme != "https" and not _is_this_machine(url.hostname or ""):
            raise ConfigError("qdrant.url: a key is sent over https only, except to this machine")
        key = read_secret(home / settings.api_key_file)
    with warnings.catch_warnings():
        # It warns of a key over plain HTTP also where that goes to this machine.
        warnings.simplefilter("ignore", UserWarning)
        # Without the check of versions, which asks the server before anything of ours could handle its absence.
        return QdrantClient(url=settings.url, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _held(path: Path, *, wait: bool) -> Generator[bool]:
    """Whether the lock is ours; it ends with its process, however that ends."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
