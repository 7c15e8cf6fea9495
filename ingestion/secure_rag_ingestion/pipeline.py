"""THE ingest flow. `Run.execute` is one run of one source; `Run._document` is the list of steps of one item.

Invariants
- Content is read first, then its permissions; what changed in between is read again or fails.
- One transaction per document holds content, class, chunks, vectors, findings and run item: a killed process leaves
  whole documents, and the next run goes on from them.
- Whatever fails withholds its document: stale permissions or stale text are never kept in view. When the source's
  permissions cannot be read at all, that is every document, and none is deleted.
- Only a complete listing deletes, and only a complete listing confirms the permissions of the source.
- The beginning is in the audit log before anything changes, the end before the source counts as confirmed.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from secure_rag.database import documents as db
from secure_rag.database.documents import StoredDocument
from secure_rag.database.engine import write
from secure_rag.database.erasure import erase
from secure_rag.errors import ConfigError, StoreError, UnavailableError
from secure_rag.model.ids import DocumentKey, Micros
from secure_rag.model.labels import Taxonomy
from secure_rag.ports import LivePermissions, PermissionMapper
from secure_rag_ingestion.changes import Seen, Work, decide
from secure_rag_ingestion.connectors.filesystem import SIDECAR_SUFFIX, Fetched, FilesystemConnector, Listed
from secure_rag_ingestion.contributors import Contributors
from secure_rag_ingestion.deletions import remove_missing
from secure_rag_ingestion.failures import ItemFailedError, reason_of
from secure_rag_ingestion.lane import Step, WriteLane
from secure_rag_ingestion.preparing import RESERVED_TOKENS, Times, prepare
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
from secure_rag_ingestion.tagging.tagger import Tag, Tagger
from secure_rag_ingestion.tools import Tools
from secure_rag_ingestion.writing import Writer

__all__ = ["RESERVED_TOKENS", "Run", "RunReport", "Tools"]

_log = structlog.get_logger(__name__)
_FLUSH: Final = 200


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended. `embedded` counts chunks whose vectors were computed."""

    run_id: str
    tenant: str
    source: str
    status: RunStatus
    outcomes: dict[str, int]
    embedded: int
    detail: str
    elapsed_us: int
    parse_us: int
    embed_us: int


class Run:
    """One run of one source. Not reusable.

    Args:
        tools: what every run uses.
        source: whose documents these are.
        taxonomy: labels of its tenant.
        mapper: what the data owner's files say about each item.
        actor: who started the run.
        started_at: an instant before the mapping was read; permissions count as confirmed then.
        on_item: called with every item once it is on record, and with how many there are.
        live: reads what guards each item at the source, for a source whose permissions are not exported.
    """

    def __init__(
        self,
        tools: Tools,
        source: RegisteredSource,
        taxonomy: Taxonomy,
        mapper: PermissionMapper,
        actor: str,
        started_at: Micros,
        on_item: Callable[[RunItem, int], None],
        live: LivePermissions | None = None,
    ) -> None:
        self._tools = tools
        self._source = source
        self._mapper = mapper
        self._tagger = Tagger(source, taxonomy)
        self._contributors = Contributors(source.manifest)
        self._actor = actor
        self._started_at = started_at
        self._on_item = on_item
        self._live = live
        exported = mapper.confirmed_at
        self._confirmed_at = started_at if exported is None else min(started_at, exported)
        self._items: list[RunItem] = []
        self._waiting: list[RunItem] = []
        self._touched: list[tuple[DocumentKey, str]] = []
        self._total = 0

    def execute(self) -> RunReport:
        """Bring the index in line with the source.

        Raises:
            UnavailableError: the database or the audit log could not be written; what was committed stays.
            StoreError: the index of the tenant was made by another embedding engine.
            IngestionError: the source cannot be opened.
        """
        started = time.perf_counter_ns()
        run, stored, refusal = self._begin()
        tools = self._tools
        record = RunRecord(
            tools.engine,
            tools.audit,
            tools.clock,
            self._source,
            run,
            self._actor,
            RunKind.CONTENT,
            self._outcomes,
        )
        with record.guarded():
            if refusal is not None:
                raise refusal
            record.started()
            status, detail = self._walk(run, stored)
            return self._finish(record, status, detail, started)

    # ---- beginning and end

    def _begin(self) -> tuple[RunHandle, dict[str, StoredDocument], StoreError | None]:
        source, embedder = self._source, self._tools.embedder
        refusal: StoreError | None = None
        with write(self._tools.engine) as connection:
            run = begin_run(connection, source.tenant, source.key, self._actor, self._started_at)
            lower_confirmation(connection, source.key, self._confirmed_at)
            stored = db.stored_documents(connection, source.key)
            try:
                db.claim_embedding_space(connection, source.tenant, embedder.engine_id, embedder.dimensions)
            except StoreError as error:
                refusal = error
        return run, stored, refusal

    def _finish(self, record: RunRecord, status: RunStatus, detail: str, started: int) -> RunReport:
        if not erase(self._tools.engine, self._tools.clock.now()):
            waiting = "the bytes of deleted content are not yet out of the database files: another process holds them"
            detail = f"{detail}; {waiting}" if detail else waiting
        report = RunReport(
            run_id=record.run.public_id,
            tenant=self._source.manifest.tenant,
            source=self._source.manifest.id,
            status=status,
            outcomes=self._outcomes(),
            embedded=sum(item.chunks for item in self._items),
            detail=detail,
            elapsed_us=(time.perf_counter_ns() - started) // 1000,
            parse_us=sum(item.parse_us for item in self._items),
            embed_us=sum(item.embed_us for item in self._items),
        )
        record.ended(status, detail, self._confirmed_at if status is RunStatus.COMPLETED else None)
        return report

    def _outcomes(self) -> dict[str, int]:
        return dict(sorted(Counter(item.outcome.value for item in self._items).items()))

    # ---- all items

    def _walk(self, run: RunHandle, stored: dict[str, StoredDocument]) -> tuple[RunStatus, str]:
        tools, writer = self._tools, Writer(self._tools, self._tagger, run, self._confirmed_at)
        if self._mapper.failure is not None:
            return self._withhold_all(writer, stored, self._mapper.failure)
        gone = dict(stored)
        with FilesystemConnector(self._source.manifest.root, tools.max_bytes, self._live) as connector:
            listing = list(connector.list())
            missing = stored.keys() - {listed.native_id for listed in listing}
            self._total = len(listing) + (len(missing) if connector.complete else 0)
            with WriteLane(self._report) as lane:
                for listed in listing:
                    found = self._take(connector, writer, listed, stored.get(listed.native_id))
                    if found is not None:
                        gone.pop(listed.native_id, None)
                        self._put(lane, writer, found)
                self._flush(lane, writer)
                lane.settle()
        if not connector.complete:
            return RunStatus.PARTIAL, "a folder could not be read: nothing was deleted or confirmed"
        if any(item.reason == ReasonCode.QUOTA_EXCEEDED for item in self._items):
            return RunStatus.FAILED, "the source exceeds a quota: nothing was deleted or confirmed"
        for item in remove_missing(tools.engine, run, gone.values(), tools.clock.now()):
            self._report(item)
        return RunStatus.COMPLETED, ""

    def _withhold_all(
        self, writer: Writer, stored: Mapping[str, StoredDocument], failure: str
    ) -> tuple[RunStatus, str]:
        """Nobody knows who may read anything of this source: all of it is withheld, nothing is deleted."""
        self._total = len(stored)
        for name, document in sorted(stored.items()):
            reason = ReasonCode.PERMISSIONS_UNKNOWN.value
            self._report(writer.withhold(name, document, reason, failure, Times.start()))
        return RunStatus.FAILED, f"the permissions of the source could not be read: {failure}"

    def _take(
        self, connector: FilesystemConnector, writer: Writer, listed: Listed, stored: StoredDocument | None
    ) -> Step | RunItem | None:
        """What there is to write for one entry; None for what is no document any more and will be deleted."""
        times, name = Times.start(), listed.native_id
        try:
            if listed.problem is None:
                return self._document(connector, writer, name, stored, times)
            problem, detail = listed.problem, listed.detail
        except ItemFailedError as error:
            problem, detail = error.reason, error.detail
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 -- one document must not stop the run: it is withheld and reported
            reason, detail = reason_of(error, writer.run.public_id)
            return lambda: [writer.withhold(name, stored, reason, detail, times)]
        absent = listed.skip or problem is ReasonCode.VANISHED
        if absent and stored is None:
            return RunItem(name, Outcome.SKIPPED, problem.value, detail)
        if absent and connector.complete:
            return None
        return lambda: [writer.withhold(name, stored, problem.value, detail, times)]

    def _document(
        self,
        connector: FilesystemConnector,
        writer: Writer,
        name: str,
        stored: StoredDocument | None,
        times: Times,
    ) -> Step | RunItem:
        """One item: read, tag, compare, and do only the work that its change needs."""
        tools = self._tools
        fetched = connector.fetch(name)
        tag = self._tag(name, fetched)
        seen = Seen(
            content_sha256=hashlib.sha256(fetched.content).hexdigest(),
            permission_digest=tag.digest,
            contributor=self._contributors.of(name),
            pipeline_id=tools.pipeline_id,
            signature=fetched.signature,
        )
        change = decide(stored, seen)
        if stored is not None and change.work is Work.NOTHING:
            if stored.signature != seen.signature:
                self._touched.append((stored.key, seen.signature))
            return _unchanged(stored, change.reason)
        if stored is not None and change.work is Work.PERMISSIONS:
            step = partial(writer.repoint, stored, tag, seen, change, times)
        else:
            content = prepare(tools, name, fetched, seen, self._source.manifest.trust, times)
            step = partial(writer.put, name, content, tag, change, stored, times)
        return partial(_or_withhold, writer, step, name, stored, times)

    def _tag(self, name: str, fetched: Fetched) -> Tag:
        sidecar_name = None if fetched.sidecar is None else name + SIDECAR_SUFFIX
        exported = self._mapper.confirmed_at
        if exported is not None and fetched.modified_at > exported:
            # Content first, then permissions: the list was written for another text.
            newer = "changed after its permissions were exported; export them again"
            raise ItemFailedError(ReasonCode.PERMISSIONS_UNKNOWN, newer)
        try:
            if fetched.live is None:
                mapped = self._mapper.map(name, fetched.sidecar, sidecar_name)
            else:
                mapped = self._mapper.map(name, fetched.sidecar, sidecar_name, fetched.live)
        except ConfigError as error:
            raise ItemFailedError(ReasonCode.BAD_SIDECAR, str(error)) from error
        return self._tagger.tag(mapped)

    # ---- run items

    def _put(self, lane: WriteLane, writer: Writer, found: Step | RunItem) -> None:
        """Items that change nothing are written in groups; everything else in a transaction of its own."""
        if not isinstance(found, RunItem):
            lane.submit(found)
            return
        self._waiting.append(found)
        if len(self._waiting) >= _FLUSH:
            self._flush(lane, writer)

    def _flush(self, lane: WriteLane, writer: Writer) -> None:
        waiting, self._waiting = self._waiting, []
        touched, self._touched = self._touched, []
        if waiting:
            lane.submit(lambda: writer.record(waiting, touched))

    def _report(self, item: RunItem) -> None:
        self._items.append(item)
        self._on_item(item, self._total)


def _or_withhold(
    writer: Writer, step: Callable[[], RunItem], name: str, stored: StoredDocument | None, times: Times
) -> Sequence[RunItem]:
    """Write; a document that cannot be written as it is now must not stay as it was."""
    try:
        return [step()]
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 -- one document must not stop the run: it is withheld and reported
        reason, detail = reason_of(error, writer.run.public_id)
        return [writer.withhold(name, stored, reason, detail, times)]


def _unchanged(stored: StoredDocument, reason: ReasonCode) -> RunItem:
    return RunItem(
        stored.native_id,
        Outcome.UNCHANGED,
        reason.value,
        document=stored.key,
        version=stored.version,
        class_before=stored.class_key,
        class_after=stored.class_key,
    )
