"""Keeps a snapshot up to date: a thread with its own connection that applies changes in bounded steps."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from secure_rag.errors import StoreError
from secure_rag.stores.changes import ChangeReader
from secure_rag.stores.matrix import Snapshot, advance
from secure_rag.stores.merge import Merge

POLL_S = 0.02
_LOG = logging.getLogger(__name__)


class Follower:
    """The current snapshot, and what moves it forward.

    A publication is one assignment of a reference, so readers need no lock. Time never runs backwards:
    a merge catches up before it is published.

    Args:
        path: the control database.
        engine_id: engine whose vectors are wanted.
        dimensions: length of its vectors.
        merge_rows: loose rows (changed since the base was built) that start a merge; 5 % of a larger base.

    Raises:
        StoreError: the database cannot be read.
    """

    def __init__(self, path: Path, engine_id: str, dimensions: int, merge_rows: int) -> None:
        self._dimensions = dimensions
        self._merge_rows = merge_rows
        self._reader = ChangeReader(path, engine_id, dimensions)
        self._applying = threading.Lock()
        self._published = threading.Condition()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._merge: Merge | None = None
        self._version: int | None = None
        self._current_at = time.monotonic()
        self._behind: tuple[float, int] | None = None
        try:
            self._snapshot = self._load()
        except StoreError:
            self._reader.close()
            raise
        self._thread = threading.Thread(target=self._run, name="secure-rag-follower", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """The latest state.

        Raises:
            StoreError: nothing moves it forward any more.
        """
        self._check()
        return self._snapshot

    def lag(self) -> float:
        """Seconds since a state of the database that is known to be applied as a whole.

        Raises:
            StoreError: nothing moves the snapshot forward any more.
        """
        self._check()
        return time.monotonic() - self._current_at

    def wait_for(self, seq: int, timeout: float) -> bool:
        """Wait until a change is applied; whether it was, in time.

        Raises:
            StoreError: nothing moves the snapshot forward any more.
        """
        self._wake.set()
        with self._published:
            reached = self._published.wait_for(
                lambda: self._snapshot.seq >= seq or not self._alive(), timeout=timeout
            )
        self._check()
        return reached

    def refresh(self) -> None:
        """Apply every committed change now.

        Raises:
            StoreError: the database cannot be read.
        """
        self._check()
        with self._applying:
            while self._follow():
                pass

    def compact(self) -> None:
        """Merge now and wait for it.

        Raises:
            StoreError: the database cannot be read.
        """
        self._check()
        with self._applying:
            merge = self._merge or Merge(self._snapshot)
            while not merge.advance():
                pass
            self._finish(merge)

    def close(self) -> None:
        """Stop following; a search after this raises."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        with self._applying:
            self._reader.close()

    # ---- inside the thread, or under `_applying`

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                with self._applying:
                    busy = self._follow()
                    busy = self._advance_merge() or busy
                if not busy and self._wake.wait(POLL_S):
                    self._wake.clear()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the store must stop serving and say so
            self._failure = error
            _LOG.exception("the embedded store stopped following its database")
        finally:
            with self._published:
                self._published.notify_all()

    def _follow(self) -> bool:
        """Apply one step. Whether there may be more."""
        version, now = self._reader.version(), time.monotonic()
        if version == self._version:
            self._current_at = now
            return False
        with self._reader.transaction():
            highest = self._reader.highest()
            after = self._reload_reason(highest) or self._step(self._snapshot)
        if isinstance(after, str):
            _LOG.warning("reloading the vectors: %s", after)
            self._merge, after = None, self._load()
        self._note_progress(now, highest, after.seq)
        self._publish(after)
        more = after.seq < highest
        if not more:
            self._version = version
        return more

    def _reload_reason(self, highest: int) -> str | None:
        old, spaces = self._snapshot, self._reader.spaces()
        if highest < old.seq:
            return "the database went back to an earlier state"
        if spaces == old.spaces:
            return None
        joined = {tenant for tenant, mine in spaces.items() if mine and not old.spaces.get(tenant, False)}
        if self._reader.has_older(joined, old.seq):
            return "a tenant's vectors became those of this engine"
        self._snapshot = Snapshot(old.base, old.tail, old.seq, spaces, old.malformed)
        return None

    def _step(self, old: Snapshot) -> Snapshot:
        mine = {tenant for tenant, ours in old.spaces.items() if ours}
        changes = self._reader.since(old.seq, mine)
        return advance(old, changes, self._dimensions) if changes else old

    def _advance_merge(self) -> bool:
        if self._merge is None:
            wanted = max(self._merge_rows, self._snapshot.base.part.rows // 20)
            if self._snapshot.loose_rows <= wanted:
                return False
            self._merge = Merge(self._snapshot)
        if self._merge.advance():
            self._finish(self._merge)
        return True

    def _finish(self, merge: Merge) -> None:
        """Bring a merged state to where the published one is, then publish it."""
        self._merge = None
        merged, until = merge.result(), self._snapshot
        merged = Snapshot(merged.base, merged.tail, merged.seq, until.spaces, merged.malformed)
        while merged.seq < until.seq:
            with self._reader.transaction():
                merged = self._step(merged)
        self._publish(merged)

    def _load(self) -> Snapshot:
        self._version = self._reader.version()
        return self._reader.load()

    def _publish(self, snapshot: Snapshot) -> None:
        with self._published:
            self._snapshot = snapshot
            self._published.notify_all()

    def _note_progress(self, now: float, highest: int, seq: int) -> None:
        """What was committed at a moment when we looked is the yardstick, not what was committed since."""
        if self._behind is None:
            self._behind = (now, highest)
        if seq >= self._behind[1]:
            self._current_at = self._behind[0]
            self._behind = None

    def _alive(self) -> bool:
        return self._failure is None and self._thread.is_alive() and not self._stopping.is_set()

    def _check(self) -> None:
        if not self._alive():
            raise StoreError("the embedded store no longer follows its database") from self._failure
