"""How a run is on record: its beginning and end in the audit log, its status in the database, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import sqlalchemy as sa
import structlog

from secure_rag.database.engine import write
from secure_rag.database.revocations import fold
from secure_rag.errors import IngestionError, SecureRagError, UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.ports import AuditSink, Clock
from secure_rag_ingestion.runs import RunHandle, RunKind, RunStatus, end_run
from secure_rag_ingestion.sources import RegisteredSource, confirm

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run on record.

    Attributes:
        engine: control database.
        audit: log.
        clock: time.
        source: whose run.
        run: which.
        actor: who started it.
        kind: what it reads.
        outcomes: how many items ended how, so far.
    """

    engine: sa.Engine
    audit: AuditSink
    clock: Clock
    source: RegisteredSource
    run: RunHandle
    actor: str
    kind: RunKind
    outcomes: Callable[[], dict[str, int]]

    @contextmanager
    def guarded(self) -> Generator[None]:
        """Whatever the run raises is on record before it goes on.

        Raises:
            IngestionError: an internal error stopped the run.
        """
        try:
            yield
        except SecureRagError as error:
            self._abandon(RunStatus.FAILED, str(error))
            raise
        except Exception as error:
            self._abandon(RunStatus.FAILED, f"internal error: {type(error).__name__}")
            raise IngestionError(
                f"the run was stopped by an internal error: {type(error).__name__}"
            ) from error
        except BaseException:
            self._abandon(RunStatus.INTERRUPTED, "the run was stopped")
            raise

    def started(self) -> None:
        """In the audit log before anything changes.

        Raises:
            UnavailableError: it could not be recorded.
        """
        self._record("ingest_started", f"{self.run.public_id}-started", {"run": self.run.public_id})

    def ended(self, status: RunStatus, detail: str, confirmed_at: Micros | None) -> None:
        """In the audit log before the source counts as confirmed.

        Args:
            status: how the run ended.
            detail: why, for people.
            confirmed_at: as of when every permission of the source was read; None confirms nothing.

        Raises:
            UnavailableError: it could not be recorded.
        """
        self._record("ingest_run", self.run.public_id, self._summary(status))
        with write(self.engine) as connection:
            now = self.clock.now()
            if confirmed_at is not None:
                confirm(connection, self.source.key, confirmed_at)
                fold(connection, self.source.tenant, confirmed_at, now)
            end_run(connection, self.run, status, detail, now)

    def _abandon(self, status: RunStatus, detail: str) -> None:
        """Put on record that the run failed. What cannot be written now, the next run records as interrupted."""
        detail = detail.encode("utf-8", "backslashreplace").decode("utf-8")
        with suppress(UnavailableError), write(self.engine) as connection:
            end_run(connection, self.run, status, detail, self.clock.now())
        try:
            self._record("ingest_run", f"{self.run.public_id}-stopped", self._summary(status))
        except UnavailableError as error:
            _log.error("run_end_not_audited", run=self.run.public_id, error=str(error))

    def _summary(self, status: RunStatus) -> dict[str, object]:
        return {"run": self.run.public_id, "status": status.value, "outcomes": self.outcomes()}

    def _record(self, kind: str, event_id: str, body: Mapping[str, object]) -> None:
        manifest = self.source.manifest
        event = {"source": manifest.id, "by": self.actor, "reads": self.kind.value, **body}
        self.audit.record(manifest.tenant, kind, event_id, event)
