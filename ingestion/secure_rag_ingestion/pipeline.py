"""THE ingest flow. `Run.execute` is one run of one source; `Run._document` is the list of steps of one item.

Invariants
- Content is read first, then its permissions; a file that changed in between is read again or fails.
- One transaction per document holds content, class, chunks, vectors, findings and run item: a killed process leaves
  whole documents, and the next run goes on from them.
- Whatever fails withholds its document: stale permissions or stale text are never kept in view.
- Only a complete listing deletes, and only a complete listing confirms the permissions of the source.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa
import structlog

from secure_rag.database import documents as db
from secure_rag.database.documents import NewChunk, NewContent, PublicIds, StoredDocument
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.detection import ContributorBurst
from secure_rag.errors import ConfigError, PolicyError, SecureRagError, UnavailableError
from secure_rag.model.ids import DocumentKey
from secure_rag.model.labels import Taxonomy
from secure_rag.ports import AuditSink, Clock, Embedder, PermissionMapper
from secure_rag_ingestion.changes import Change, Work, decide
from secure_rag_ingestion.chunking.chunker import Chunker
from secure_rag_ingestion.connectors.filesystem import (
    SIDECAR_SUFFIX,
    Fetched,
    FilesystemConnector,
    ItemFailedError,
    Listed,
)
from secure_rag_ingestion.contributors import Contributors
from secure_rag_ingestion.deletions import erase, remove_missing
from secure_rag_ingestion.outcomes import permission_outcome
from secure_rag_ingestion.parsing.model import ParseFailure
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from secure_rag_ingestion.runs import (
    Outcome,
    ReasonCode,
    RunHandle,
    RunItem,
    RunStatus,
    begin_run,
    end_run,
    record_items,
)
from secure_rag_ingestion.scanning.burst import mean_vector, recent_vectors
from secure_rag_ingestion.scanning.scanner import Scanner, quarantines
from secure_rag_ingestion.sources import RegisteredSource, confirm
from secure_rag_ingestion.state import is_released, settled_state
from secure_rag_ingestion.tagging.tagger import Tag, Tagger

_log = structlog.get_logger(__name__)
_FLUSH = 200
_INTERNAL = "internal_error"
RESERVED_TOKENS = 32
"""Tokens that chunks leave free for the title and headings they are embedded with."""
_PREFIX_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run uses. `pipeline_id` changes whenever parsing, chunking, scanning or embedding does."""

    engine: sa.Engine
    ids: PublicIds
    parser: SandboxedParser
    chunker: Chunker
    embedder: Embedder
    scanner: Scanner
    burst: ContributorBurst
    audit: AuditSink
    clock: Clock
    pipeline_id: str
    max_bytes: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run ended. `embedded` counts chunks whose vectors were computed."""

    run_id: str
    source: str
    status: RunStatus
    outcomes: dict[str, int]
    embedded: int
    detail: str
    elapsed_us: int
    parse_us: int
    embed_us: int


class Run:
    """One run of one source. Not reusable."""

    def __init__(
        self,
        tools: Tools,
        source: RegisteredSource,
        taxonomy: Taxonomy,
        mapper: PermissionMapper,
        actor: str,
        on_item: Callable[[RunItem, int], None],
    ) -> None:
        self._tools = tools
        self._source = source
        self._mapper = mapper
        self._tagger = Tagger(source, taxonomy)
        self._contributors = Contributors(source.manifest)
        self._actor = actor
        self._on_item = on_item
        self._items: list[RunItem] = []
        self._buffer: list[RunItem] = []
        self._total = 0

    def execute(self) -> RunReport:
        """Bring the index in line with the source.

        Raises:
            UnavailableError: the database could not be written; what was committed stays.
            IngestionError: the source cannot be opened.
        """
        started = time.perf_counter_ns()
        tools, now = self._tools, self._tools.clock.now()
        with write(tools.engine) as connection:
            db.claim_embedding_space(
                connection, self._source.tenant, tools.embedder.engine_id, tools.embedder.dimensions
            )
            run = begin_run(connection, self._source.tenant, self._source.key, self._actor, now)
            stored = db.stored_documents(connection, self._source.key)
        try:
            status, detail = self._walk(run, stored)
        except SecureRagError as error:
            self._end(run, RunStatus.FAILED, str(error), started)
            raise
        return self._end(run, status, detail, started)

    def _walk(self, run: RunHandle, stored: dict[str, StoredDocument]) -> tuple[RunStatus, str]:
        tools, manifest = self._tools, self._source.manifest
        with FilesystemConnector(manifest.root, tools.max_bytes) as connector:
            listing = list(connector.list())
            self._total = len(listing)
            for listed in listing:
                self._handle(run, connector, listed, stored.get(listed.native_id))
            self._flush(run)
            if not connector.complete:
                return RunStatus.PARTIAL, "a folder could not be read: nothing was deleted or confirmed"
        seen = {listed.native_id for listed in listing if not listed.skip}
        gone = [document for name, document in sorted(stored.items()) if name not in seen]
        deleted = remove_missing(tools.engine, run, gone, tools.clock.now())
        for item in deleted:
            self._report(item)
        with write(tools.engine) as connection:
            confirm(connection, self._source.key, run.started_at)
        erased = erase(tools.engine, deleted, tools.clock.now())
        return RunStatus.COMPLETED, "" if erased else "deleted text is still in the log of a reading process"

    def _handle(
        self, run: RunHandle, connector: FilesystemConnector, listed: Listed, stored: StoredDocument | None
    ) -> None:
        started = time.perf_counter_ns()
        try:
            item = self._document(run, connector, listed, stored)
        except ItemFailedError as error:
            item = self._failed(run, listed, stored, error.reason.value, error.detail)
        except ParseFailure as error:
            item = self._failed(run, listed, stored, error.reason.value, error.detail)
        except UnavailableError:
            raise
        except ConfigError as error:
            item = self._failed(run, listed, stored, ReasonCode.BAD_SIDECAR.value, str(error))
        except PolicyError as error:
            item = self._failed(run, listed, stored, ReasonCode.BAD_PERMISSIONS.value, str(error))
        except Exception as error:  # noqa: BLE001 -- one document must not stop the run: it is withheld and reported
            _log.error("document_failed", run=run.public_id, error=type(error).__name__)
            item = self._failed(run, listed, stored, _INTERNAL, type(error).__name__)
        if item is not None:
            self._report(replace(item, total_us=(time.perf_counter_ns() - started) // 1000))

    def _document(
        self, run: RunHandle, connector: FilesystemConnector, listed: Listed, stored: StoredDocument | None
    ) -> RunItem | None:
        """One item: read, tag, compare, and do only the work that its change needs."""
        if listed.problem is not None:
            if listed.skip:
                self._later(run, RunItem(listed.native_id, Outcome.SKIPPED, listed.problem.value))
                return None
            raise ItemFailedError(listed.problem, "cannot be a document")
        fetched = connector.fetch(listed.native_id)
        sidecar_name = None if fetched.sidecar is None else listed.native_id + SIDECAR_SUFFIX
        tag = self._tagger.tag(self._mapper.map(listed.native_id, fetched.sidecar, sidecar_name))
        sha256 = hashlib.sha256(fetched.content).hexdigest()
        change = decide(stored, sha256, tag.digest, self._tools.pipeline_id)
        if change.work is Work.NOTHING and stored is not None:
            item = RunItem(
                listed.native_id,
                Outcome.UNCHANGED,
                change.reason.value,
                document=stored.key,
                version=stored.version,
                class_before=stored.class_key,
                class_after=stored.class_key,
            )
            self._later(run, item)
            return None
        if change.work is Work.PERMISSIONS and stored is not None:
            return self._repoint(run, stored, tag, change)
        return self._ingest(run, listed, fetched, sha256, tag, change, stored)

    def _repoint(self, run: RunHandle, stored: StoredDocument, tag: Tag, change: Change) -> RunItem:
        now = self._tools.clock.now()
        with write(self._tools.engine) as connection:
            permission = self._tagger.permission(connection, tag, run.started_at)
            db.put_permission(connection, stored.key, permission, now)
            state = settled_state(connection, stored.key)
            outcome = permission_outcome(connection, stored.class_key, permission.class_key)
            if state is not stored.state:
                db.set_state(connection, stored.key, state)
                outcome = Outcome.PERMISSION_UPDATED
            item = RunItem(
                stored.native_id,
                outcome,
                ReasonCode.SAME.value if outcome is Outcome.UNCHANGED else change.reason.value,
                detail=_tag_detail(tag),
                document=stored.key,
                version=stored.version,
                class_before=stored.class_key,
                class_after=permission.class_key,
            )
            record_items(connection, run, [item], now)
        return item

    def _ingest(
        self,
        run: RunHandle,
        listed: Listed,
        fetched: Fetched,
        sha256: str,
        tag: Tag,
        change: Change,
        stored: StoredDocument | None,
    ) -> RunItem:
        """Parse, scan, chunk and embed outside the transaction; then write everything at once."""
        begun = time.perf_counter_ns()
        parsed = self._tools.parser.parse(listed.native_id, fetched.content)
        parsed_at = time.perf_counter_ns()
        title = parsed.title or listed.native_id.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        findings = self._tools.scanner.scan(parsed, title, self._source.manifest.trust)
        chunks = [
            NewChunk(x.text, x.start, x.end, x.headings)
            for x in self._tools.chunker.split(parsed.text, parsed.headings, parsed.mime)
        ]
        if not chunks:
            raise ItemFailedError(ReasonCode.NO_CHUNKS, "no text that could be indexed")
        embed_started = time.perf_counter_ns()
        vectors = np.stack([self._tools.embedder.embed_document(_embedded(title, x)) for x in chunks])
        embedded_at = time.perf_counter_ns()
        content = NewContent(
            title=title,
            mime=parsed.mime,
            contributor=self._contributors.of(listed.native_id),
            content_sha256=sha256,
            pipeline_id=self._tools.pipeline_id,
            modified_at=fetched.modified_at,
            chunks=chunks,
            vectors=vectors,
            findings=findings,
        )
        item = self._write(run, listed, content, tag, change, stored)
        return replace(
            item, parse_us=(parsed_at - begun) // 1000, embed_us=(embedded_at - embed_started) // 1000
        )

    def _write(
        self,
        run: RunHandle,
        listed: Listed,
        content: NewContent,
        tag: Tag,
        change: Change,
        stored: StoredDocument | None,
    ) -> RunItem:
        tools, now = self._tools, self._tools.clock.now()
        with write(tools.engine) as connection:
            key = db.ensure_document(
                connection, tools.ids, self._source.tenant, self._source.key, listed.native_id, now
            )
            permission = self._tagger.permission(connection, tag, run.started_at)
            db.put_permission(connection, key, permission, now)
            content = self._with_burst(connection, key, content)
            held = quarantines(content.findings) and not is_released(connection, key, content.content_sha256)
            state = DocumentState.QUARANTINED if held else DocumentState.LIVE
            version = db.put_content(connection, tools.ids, key, content, state)
            outcome = Outcome.ADDED if change.reason is ReasonCode.NEW else Outcome.CONTENT_UPDATED
            item = RunItem(
                listed.native_id,
                Outcome.QUARANTINED if held else outcome,
                ReasonCode.DETECTED.value if held else change.reason.value,
                detail=_tag_detail(tag) or ", ".join(sorted({x.detector for x in content.findings})),
                document=key,
                version=version,
                class_before=None if stored is None else stored.class_key,
                class_after=permission.class_key,
                chunks=len(content.chunks),
            )
            record_items(connection, run, [item], now)
        return item

    def _with_burst(self, connection: sa.Connection, key: DocumentKey, content: NewContent) -> NewContent:
        """The burst rule looks at the contributor's other documents; it annotates only."""
        earlier = recent_vectors(
            connection,
            self._source.key,
            content.contributor,
            key,
            self._tools.burst.window - 1,
            self._tools.embedder.dimensions,
        )
        found = self._tools.burst.inspect_vectors(np.vstack([earlier, mean_vector(content.vectors)[None, :]]))
        return content if found is None else replace(content, findings=[*content.findings, found])

    # ---- run items

    def _failed(
        self, run: RunHandle, listed: Listed, stored: StoredDocument | None, reason: str, detail: str
    ) -> RunItem:
        """Record the failure and withhold what was stored: neither old text nor old permissions stay in view."""
        now = self._tools.clock.now()
        item = RunItem(
            listed.native_id,
            Outcome.FAILED,
            reason,
            detail=detail,
            document=None if stored is None else stored.key,
            class_before=None if stored is None else stored.class_key,
        )
        with write(self._tools.engine) as connection:
            if stored is not None and stored.state is not DocumentState.WITHHELD:
                db.set_state(connection, stored.key, DocumentState.WITHHELD)
            record_items(connection, run, [item], now)
        return item

    def _later(self, run: RunHandle, item: RunItem) -> None:
        """Items that change nothing are written in groups, reported once they are written."""
        self._buffer.append(item)
        if len(self._buffer) >= _FLUSH:
            self._flush(run)

    def _flush(self, run: RunHandle) -> None:
        if self._buffer:
            with write(self._tools.engine) as connection:
                record_items(connection, run, self._buffer, self._tools.clock.now())
        for item in self._buffer:
            self._report(item)
        self._buffer.clear()

    def _report(self, item: RunItem) -> None:
        self._items.append(item)
        self._on_item(item, self._total)

    def _end(self, run: RunHandle, status: RunStatus, detail: str, started: int) -> RunReport:
        outcomes = dict(sorted(Counter(item.outcome.value for item in self._items).items()))
        report = RunReport(
            run_id=run.public_id,
            source=self._source.manifest.id,
            status=status,
            outcomes=outcomes,
            embedded=sum(item.chunks for item in self._items),
            detail=detail,
            elapsed_us=(time.perf_counter_ns() - started) // 1000,
            parse_us=sum(item.parse_us for item in self._items),
            embed_us=sum(item.embed_us for item in self._items),
        )
        with write(self._tools.engine) as connection:
            end_run(connection, run, status, detail, self._tools.clock.now())
        body = {"source": report.source, "status": status.value, "outcomes": outcomes, "by": self._actor}
        self._tools.audit.record(self._source.manifest.tenant, "ingest_run", run.public_id, body)
        return report


def _embedded(title: str, chunk: NewChunk) -> str:
    """What is embedded: the passage with its title and headings, which are not part of the stored body.

    Both are cut: a document with a huge title would otherwise give all its passages the same vector.
    """
    return " > ".join([title, *chunk.headings])[:_PREFIX_CHARACTERS] + "\n" + chunk.text


def _tag_detail(tag: Tag) -> str:
    notes = [f"unresolved: {', '.join(tag.unresolved)}"] if tag.unresolved else []
    notes += [f"unknown label: {', '.join(tag.unknown_labels)}"] if tag.unknown_labels else []
    return "; ".join(notes)
