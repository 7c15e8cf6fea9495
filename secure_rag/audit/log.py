"""The audit log of one process: many threads record, one thread writes, everybody waits for the disk."""

from __future__ import annotations

import logging
import os
import queue
import secrets
import sqlite3
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from secure_rag.audit import checkpoints, exports, retention
from secure_rag.audit.checkpoints import CheckpointResult
from secure_rag.audit.events import INSTALLATION, Entry, entry
from secure_rag.audit.exports import ExportResult
from secure_rag.audit.retention import PruneResult
from secure_rag.audit.schema import DATABASE_ERRORS, open_for_writing
from secure_rag.audit.signing import Signer
from secure_rag.audit.writing import ChainWriter, Connect
from secure_rag.errors import InvalidRequestError, UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.ports import Clock

PRUNE_KIND: Final = "audit.prune"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """Limits of one log. Every limit that is reached refuses; none of them drops an event."""

    timeout_s: float = 5.0
    """How long `record` waits for the disk."""
    busy_timeout_ms: int = 2_000
    """How long the writer waits for another process's transaction."""
    max_queue: int = 4_096
    max_batch: int = 256
    checkpoint_every: int = 1_000
    """Events after which the writer signs its own chain."""
    keep_query_text: bool = False
    """Whether bodies may carry query text. Off: only its keyed digest is accepted."""


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """Counters since `start`, for metrics."""

    events: int
    commits: int
    failures: int
    waiting: int


@dataclass(frozen=True, slots=True)
class _Item:
    entry: Entry | None
    """`None`: only try whether writing works."""
    done: Future[None]


class AuditLog:
    """Implements the `AuditSink` port. Usable from any number of threads, in any number of processes at once.

    Not usable in a child made by `fork` from a process that started it: there it refuses.
    """

    def __init__(
        self,
        path: Path,
        signer: Signer,
        clock: Clock,
        options: AuditOptions | None = None,
        *,
        connect: Connect = open_for_writing,
    ) -> None:
        self._path = path
        self._signer = signer
        self._clock = clock
        self._options = options or AuditOptions()
        self._connect = connect
        self._gate = threading.Lock()
        self._queue: queue.Queue[_Item | None] = queue.Queue(self._options.max_queue)
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._failing = False
        self._events = self._commits = self._failures = 0

    def start(self) -> None:
        """Open the file and begin a chain.

        Raises:
            ConfigError: the file is not an audit log that this program may continue.
            UnavailableError: it cannot be opened now, or this log runs already.
        """
        with self._gate:
            if self._thread is not None:
                raise UnavailableError("the audit log was started already")
            connection = self._connect(self._path, self._options.busy_timeout_ms)
            try:
                writer = ChainWriter(self._path, connection, self._signer, self._clock, _product_version())
            except BaseException:
                connection.close()
                raise
            self._failing = False
            self._pid = os.getpid()
            # A daemon: what was acknowledged is on disk, so a process that forgets to close loses nothing.
            # Its own queue, so that a run that ends late never takes what belongs to the next one.
            self._queue = queue.Queue(self._options.max_queue)
            self._thread = threading.Thread(
                target=self._run, args=(writer, self._queue), name="audit", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Write what is waiting, sign the end of the chain, close the file. Does nothing when not running.

        Raises:
            UnavailableError: the disk does not answer; the writer goes on by itself.
        """
        if self._forked():
            return
        with self._gate:
            thread, waiting, self._thread = self._thread, self._queue, None
        if thread is None:
            return
        patience = 4 * self._options.timeout_s
        try:
            waiting.put(None, timeout=patience)
        except queue.Full:
            raise UnavailableError("the audit log does not take its end") from None
        thread.join(patience)
        if thread.is_alive():
            raise UnavailableError("the audit log is still being written")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ready(self) -> bool:
        """Whether events can be recorded. After a failure this writes something to find out."""
        if not self._running():
            return False
        if not self._failing:
            return self._queue.qsize() < self._options.max_queue
        try:
            self._submit(None)
        except UnavailableError:
            return False
        return True

    @property
    def status(self) -> AuditStatus:
        """Counters for metrics."""
        return AuditStatus(self._events, self._commits, self._failures, self._queue.qsize())

    def record(self, tenant: str, kind: str, event_id: str, body: Mapping[str, object]) -> None:
        """Append one event and wait until it is on disk.

        After an error the event is usually not in the log, but it may be: when the disk was only slow.

        Raises:
            UnavailableError: it could not be made durable; what it stands for must not happen.
        """
        keep = self._options.keep_query_text
        self._submit(entry(self._clock.now(), tenant, kind, event_id, body, keep_query_text=keep))

    def checkpoint(self) -> CheckpointResult:
        """Sign the head of every chain in the file, of other processes too.

        Raises:
            UnavailableError: the log cannot be read or written now.
        """
        with self._session() as connection:
            return checkpoints.sign_heads(connection, self._signer, self._clock.now())[0]

    def export_checkpoint(self, path: Path) -> ExportResult:
        """Sign every head and write them to a file that is to be kept off this host.

        Raises:
            UnavailableError: the log or the file cannot be written now.
        """
        with self._session() as connection:
            return exports.export(connection, self._signer, self._clock.now(), path)

    def prune(self, before: Micros) -> PruneResult:
        """Delete events older than an instant. That it happens is recorded before anything goes.

        Raises:
            InvalidRequestError: the instant lies in the future.
            UnavailableError: the log cannot be written now; what was cut so far is cut properly.
        """
        now = self._clock.now()
        if before > now:
            raise InvalidRequestError("only the past can be deleted from the audit log")
        self.record(INSTALLATION, PRUNE_KIND, f"prune-{secrets.token_hex(16)}", {"before": before})
        with self._session() as connection:
            return retention.prune(connection, self._signer, before, now)

    @contextmanager
    def _session(self) -> Generator[sqlite3.Connection]:
        # Long walks get a connection of their own, so that no answer waits behind them.
        try:
            with closing(self._connect(self._path, self._options.busy_timeout_ms)) as connection:
                yield connection
        except DATABASE_ERRORS as exc:
            raise UnavailableError("the audit log cannot be read or written now") from exc

    def _running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._forked()

    def _forked(self) -> bool:
        # Asked before the gate: in a forked child another thread may hold it for ever.
        return self._thread is not None and self._pid != os.getpid()

    def _submit(self, event: Entry | None) -> None:
        item = _Item(event, Future())
        if self._forked():
            raise UnavailableError("the audit log belongs to the parent of this process")
        with self._gate:
            if not self._running():
                raise UnavailableError("the audit log is not running")
            try:
                self._queue.put_nowait(item)
            except queue.Full:
                raise UnavailableError("too many events wait for the audit log") from None
        try:
            item.done.result(self._options.timeout_s)
        except TimeoutError:
            # Taken back if its turn has not come; otherwise it is recorded although nobody waits.
            item.done.cancel()
            raise UnavailableError("the audit log is too slow") from None

    def _run(self, writer: ChainWriter, queued: queue.Queue[_Item | None]) -> None:
        stop = False
        while not stop:
            items, stop = self._take(queued)
            waiting = [item for item in items if item.done.set_running_or_notify_cancel()]
            if waiting:
                self._serve(writer, waiting)
        try:
            writer.seal()
        except (*DATABASE_ERRORS, UnavailableError) as exc:
            _log.error("the audit chain ends without a signature; the next checkpoint adds it: %s", exc)
        finally:
            writer.close()

    def _take(self, queued: queue.Queue[_Item | None]) -> tuple[list[_Item], bool]:
        items: list[_Item] = []
        following = queued.get()
        while following is not None:
            items.append(following)
            if len(items) == self._options.max_batch:
                return items, False
            try:
                following = queued.get_nowait()
            except queue.Empty:
                return items, False
        return items, True

    def _serve(self, writer: ChainWriter, items: Sequence[_Item]) -> None:
        events = [(item.entry, item.done) for item in items if item.entry is not None]
        probes = [item.done for item in items if item.entry is None]
        if events:
            outcomes = self._append(writer, [event for event, _ in events])
            for (_, done), error in zip(events, outcomes, strict=True):
                _finish(done, error)
        if probes:
            error = self._probe(writer)
            for done in probes:
                _finish(done, error)

    def _append(self, writer: ChainWriter, events: Sequence[Entry]) -> Sequence[UnavailableError | None]:
        try:
            outcomes = writer.append(events, self._options.checkpoint_every)
        except Exception as exc:  # noqa: BLE001 - whatever it was, those who wait are told no and the thread lives on
            self._failed(exc)
            return [UnavailableError("the event was not made durable") for _ in events]
        self._works_again()
        self._commits += 1
        self._events += outcomes.count(None)
        return outcomes

    def _probe(self, writer: ChainWriter) -> UnavailableError | None:
        try:
            writer.probe()
        except Exception as exc:  # noqa: BLE001 - as above
            self._failed(exc)
            return UnavailableError("the audit log cannot be written")
        self._works_again()
        return None

    def _failed(self, exc: Exception) -> None:
        self._failures += 1
        if not self._failing:
            self._failing = True
            _log.error(
                "audit events cannot be recorded, answers are refused: %s: %s", type(exc).__name__, exc
            )

    def _works_again(self) -> None:
        if self._failing:
            self._failing = False
            _log.warning("audit events are recorded again")


def _finish(done: Future[None], error: UnavailableError | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _product_version() -> str:
    try:
        return metadata.version("secure-rag")
    except metadata.PackageNotFoundError:
        return "0+source"
