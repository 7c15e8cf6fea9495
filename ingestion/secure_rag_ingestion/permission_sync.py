"""A run that reads permissions only. `PermissionSync.execute` is one such run of one source.

Invariants
- No content is opened, and no chunk and no vector is touched.
- Whoever's permissions could not be read this time is withheld; when nothing can be read, that is every document.
- Other permissions meet only the content that was indexed: a file that has changed meanwhile is withheld.
- What was withheld for its permissions only comes back with them; what a content run failed on does not.
- Only a complete listing confirms the permissions of the source, and nothing is deleted.
- The beginning is in the audit log before anything changes, the end before the source counts as confirmed.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
import structlog

from secure_rag.database import documents as db
from secure_rag.database.documents import StoredDocument
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.errors import IngestionError, UnavailableError
from secure_rag.model.ids import Micros
from secure_rag.model.labels import Taxonomy
from secure_rag.ports import AuditSink, Clock, LivePermissions, PermissionMapper
from secure_rag_ingestion.connectors.filesystem import FilesystemConnector
from secure_rag_ingestion.failures import reason_of
from secure_rag_ingestion.rereading import Reread, Rereader
from secure_rag_ingestion.run_record import RunRecord
from secure_rag_ingestion.runs import (
    Outcome,
    ReasonCode,
    RunHandle,
    RunItem,
    RunKind,
    RunStatus,
    begin_run,
)
from secure_rag_ingestion.sources import RegisteredSource, lower_confirmation
from secure_rag_ingestion.sync_writing import SyncWriter
from secure_rag_ingestion.tagging.tagger import Tagger

_log = structlog.get_logger(__name__)
BATCH: Final = 2_000
"""Documents of one transaction."""
_NO_CONTENT: Final = 0
"""Bytes of content that are read."""
_SEEN: Final = (DocumentState.LIVE, DocumentState.QUARANTINED)

Choose = Callable[[Sequence[str]], Sequence[str]]
"""Which of the documents in view a sample looks at."""


@dataclass(frozen=True, slots=True)
class SyncTools:
    """What every such run uses."""

    engine: sa.Engine
    audit: AuditSink
    clock: Clock


@dataclass(frozen=True, slots=True)
class SyncReport:
    """How a run ended.

    `checked` counts documents that were in view before, `drifted` those of them whose permissions were others in the
    index than at the source, or could not be read.
    """

    run_id: str
    tenant: str
    source: str
    status: RunStatus
    outcomes: dict[str, int]
    checked: int
    drifted: tuple[RunItem, ...]
    detail: str
    elapsed_us: int
    write_us: int


class PermissionSync:
    """One run of one source. Not reusable.

    Args:
        tools: what every such run uses.
        source: whose documents these are.
        taxonomy: labels of its tenant.
        mapper: what the data owner's files say about each item.
        actor: who started the run.
        started_at: an instant before the mapping was read; permissions count as confirmed then.
        on_item: called with every item once it is on record; what is unchanged is only counted.
        live: reads what guards each item at the source, for a source whose permissions are not exported.
        choose: looks at a sample only, which confirms nothing.
        kind: what the run is for.
    """

    def __init__(
        self,
        tools: SyncTools,
        source: RegisteredSource,
        taxonomy: Taxonomy,
        mapper: PermissionMapper,
        actor: str,
        started_at: Micros,
        on_item: Callable[[RunItem], None],
        live: LivePermissions | None = None,
        *,
        choose: Choose | None = None,
        kind: RunKind = RunKind.PERMISSIONS,
    ) -> None:
        self._tools = tools
        self._source = source
        self._mapper = mapper
        self._tagger = Tagger(source, taxonomy)
        self._actor = actor
        self._started_at = started_at
        self._on_item = on_item
        self._live = live
        self._choose = choose
        self._kind = kind
        exported = mapper.confirmed_at
        self._confirmed_at = started_at if exported is None else min(started_at, exported)
        self._outcomes: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self._drifted: list[RunItem] = []
        self._checked = 0
        self._write_ns = 0

    def execute(self) -> SyncReport:
        """Bring the permissions in the index in line with the source.

        Raises:
            UnavailableError: the database or the audit log could not be written; what was committed stays.
        """
        started = time.perf_counter_ns()
        with write(self._tools.engine) as connection:
            tenant, key = self._source.tenant, self._source.key
            run = begin_run(connection, tenant, key, self._actor, self._started_at, self._kind)
            lower_confirmation(connection, key, self._confirmed_at)
            stored = db.stored_documents(connection, key)
        tools = self._tools
        record = RunRecord(
            tools.engine, tools.audit, tools.clock, self._source, run, self._actor, self._kind, self._counted
        )
        with record.guarded():
            record.started()
            status, detail = self._walk(run, stored)
            return self._finish(record, status, detail, started)

    # ---- all documents

    def _walk(self, run: RunHandle, stored: Mapping[str, StoredDocument]) -> tuple[RunStatus, str]:
        verify = self._kind is RunKind.DRIFT
        writer = SyncWriter(
            self._tools.engine, self._tools.clock, self._tagger, run, self._confirmed_at, verify
        )
        if self._mapper.failure is not None:
            return self._nothing_known(writer, stored, ReasonCode.PERMISSIONS_UNKNOWN, self._mapper.failure)
        connector = FilesystemConnector(self._source.manifest.root, _NO_CONTENT, self._live)
        try:
            connector.__enter__()
        except IngestionError as error:
            return self._nothing_known(writer, stored, ReasonCode.UNREADABLE, str(error))
        with connector:
            rereader = Rereader(connector, self._mapper, self._tagger, run.public_id)
            found = rereader.all(stored) if self._choose is None else self._sample(rereader, stored)
            for batch in _batches(found):
                self._write(writer, batch)
        if ReasonCode.QUOTA_EXCEEDED in self._reasons:
            return RunStatus.FAILED, "the source exceeds a quota: nothing was confirmed"
        if self._choose is None and not connector.complete:
            return (
                RunStatus.PARTIAL,
                "a folder could not be read: what lies in it is withheld, nothing was confirmed",
            )
        return RunStatus.COMPLETED, ""

    def _sample(self, rereader: Rereader, stored: Mapping[str, StoredDocument]) -> Iterator[Reread]:
        seen = sorted(name for name, x in stored.items() if x.state in _SEEN)
        chosen = () if self._choose is None else self._choose(seen)
        return rereader.some(stored[name] for name in chosen)

    def _nothing_known(
        self, writer: SyncWriter, stored: Mapping[str, StoredDocument], reason: ReasonCode, failure: str
    ) -> tuple[RunStatus, str]:
        """Nobody knows who may read anything of this source: all of it is withheld."""
        for batch in _batches(Reread(x, None, reason=reason.value, detail=failure) for x in stored.values()):
            self._write(writer, batch)
        return RunStatus.FAILED, f"the permissions of the source could not be read: {failure}"

    def _write(self, writer: SyncWriter, batch: Sequence[Reread]) -> None:
        """One transaction; what cannot be written as it is now must not stay as it was."""
        begun = time.perf_counter_ns()
        try:
            items = writer.write(batch)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 -- these documents are withheld and reported, the others go on
            reason, detail = reason_of(error, writer.run.public_id)
            items = writer.write([Reread(x.stored, None, reason=reason, detail=detail) for x in batch])
        self._write_ns += time.perf_counter_ns() - begun
        states = {x.stored.key: x.stored.state for x in batch}
        self._checked += sum(state in _SEEN for state in states.values())
        self._outcomes[Outcome.UNCHANGED.value] += len(batch) - len(items)
        for item in items:
            self._outcomes[item.outcome.value] += 1
            self._reasons.add(item.reason)
            if item.document is not None and states[item.document] in _SEEN:
                self._drifted.append(item)
            self._on_item(item)

    # ---- the end

    def _finish(self, record: RunRecord, status: RunStatus, detail: str, started: int) -> SyncReport:
        report = SyncReport(
            run_id=record.run.public_id,
            tenant=self._source.manifest.tenant,
            source=self._source.manifest.id,
            status=status,
            outcomes=self._counted(),
            checked=self._checked,
            drifted=tuple(self._drifted),
            detail=detail,
            elapsed_us=(time.perf_counter_ns() - started) // 1000,
            write_us=self._write_ns // 1000,
        )
        whole = status is RunStatus.COMPLETED and self._choose is None
        record.ended(status, detail, self._confirmed_at if whole else None)
        return report

    def _counted(self) -> dict[str, int]:
        return {name: count for name, count in sorted(self._outcomes.items()) if count}


def _batches(found: Iterator[Reread]) -> Iterator[list[Reread]]:
    while batch := list(itertools.islice(found, BATCH)):
        yield batch
