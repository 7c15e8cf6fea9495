"""Writes run beside the preparation of the next document, one at a time and in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import structlog

from secure_rag_ingestion.runs import RunItem

_log = structlog.get_logger(__name__)

Step = Callable[[], Sequence[RunItem]]
"""One transaction; gives the items that it put on record."""


class WriteLane:
    """A thread for transactions. At most one is under way, so nothing is ever more than one document ahead.

    Waiting for the disk and waiting for the parser then happen at the same time. Items are reported in the caller's
    thread, after they are committed.
    """

    def __init__(self, report: Callable[[RunItem], None]) -> None:
        self._report = report
        self._pool = ThreadPoolExecutor(1, "secure-rag-ingest")
        self._pending: Future[Sequence[RunItem]] | None = None

    def submit(self, step: Step) -> None:
        """Start a transaction when the one before has ended, and report that one's items.

        Raises:
            UnavailableError: the one before failed.
        """
        self.settle()
        self._pending = self._pool.submit(step)

    def settle(self) -> None:
        """Wait for the transaction that is under way and report its items.

        Raises:
            UnavailableError: it failed; nothing of it was written.
        """
        if self._pending is not None:
            items = self._pending.result()
            self._pending = None
            for item in items:
                self._report(item)

    def __enter__(self) -> WriteLane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Even when the run fails: what was committed belongs into its report.
            self._pool.shutdown(wait=True)
            if self._pending is not None and not self._pending.exception():
                self.settle()
        finally:
            self._pending = None
