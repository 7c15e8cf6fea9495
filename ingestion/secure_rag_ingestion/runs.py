"""Runs and run items: what happened to every item that a run saw. Reason codes are a closed list."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import ClassKey, DocumentKey, Micros, SourceKey, TenantKey


class RunStatus(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    COMPLETED = "completed"
    """Everything was listed; what was not listed is gone, and permissions are confirmed."""
    PARTIAL = "partial"
    """The listing was incomplete: nothing was deleted and permissions of the source were not confirmed."""
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The process ended in the middle; the next run goes on from what was committed."""


class RunKind(StrEnum):
    """What a run reads."""

    CONTENT = "content"
    PERMISSIONS = "permissions"
    """Who may read, without opening any content."""
    DRIFT = "drift"
    """The same, to compare it with the index; possibly of a sample only."""


class Outcome(StrEnum):
    """What a run did with one item."""

    ADDED = "added"
    CONTENT_UPDATED = "content_updated"
    PERMISSION_UPDATED = "permission_updated"
    LABEL_UPDATED = "label_updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    SKIPPED = "skipped"


class ReasonCode(StrEnum):
    """Why. Parse failures use the codes of `ParseReason`; both lists are closed, and in `ingestion/README.md`."""

    NEW = "new"
    CONTENT_CHANGED = "content_changed"
    PERMISSIONS_CHANGED = "permissions_changed"
    LABEL_CHANGED = "label_changed"
    CONTRIBUTOR_CHANGED = "contributor_changed"
    CONFIRMED = "confirmed"
    PIPELINE_CHANGED = "pipeline_changed"
    SAME = "same"
    GONE_AT_SOURCE = "gone_at_source"
    DETECTED = "detected"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    TOO_LARGE = "too_large"
    CHANGED_WHILE_READ = "changed_while_read"
    BAD_NAME = "bad_name"
    LINK = "link"
    NOT_A_FILE = "not_a_file"
    TOO_DEEP = "too_deep"
    SIDECAR = "sidecar"
    ORPHAN_SIDECAR = "orphan_sidecar"
    BAD_SIDECAR = "bad_sidecar"
    BAD_PERMISSIONS = "bad_permissions"
    PERMISSIONS_UNKNOWN = "permissions_unknown"
    QUOTA_EXCEEDED = "quota_exceeded"
    EMBEDDING_FAILED = "embedding_failed"
    NO_CHUNKS = "no_chunks"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class RunItem:
    """One item of a run. `reason` is a `ReasonCode` or a `ParseReason`; durations in microseconds."""

    native_id: str
    outcome: Outcome
    reason: str
    detail: str = ""
    document: DocumentKey | None = None
    version: int = 0
    class_before: ClassKey | None = None
    class_after: ClassKey | None = None
    chunks: int = 0
    parse_us: int = 0
    embed_us: int = 0
    total_us: int = 0


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A run that was begun."""

    key: int
    public_id: str
    tenant: TenantKey
    source: SourceKey
    started_at: Micros


def begin_run(
    connection: sa.Connection,
    tenant: TenantKey,
    source: SourceKey,
    actor: str,
    now: Micros,
    kind: RunKind = RunKind.CONTENT,
) -> RunHandle:
    """Record that a run begins. Earlier runs of the source that never ended were interrupted."""
    r = t.run.c
    connection.execute(
        sa.update(t.run)
        .where(r.source_id == source, r.status == RunStatus.RUNNING.value)
        .values(
            status=RunStatus.INTERRUPTED.value, finished_at=now, detail="the process ended before the run did"
        )
    )
    public_id = "r_" + secrets.token_hex(8)
    key = connection.execute(
        sa.insert(t.run)
        .values(
            tenant_id=tenant,
            source_id=source,
            public_id=public_id,
            started_by=actor,
            started_at=now,
            status=RunStatus.RUNNING.value,
            detail="",
            kind=kind.value,
        )
        .returning(r.id)
    ).scalar_one()
    return RunHandle(key, public_id, tenant, source, now)


def end_run(connection: sa.Connection, run: RunHandle, status: RunStatus, detail: str, now: Micros) -> None:
    """Record how a run ended."""
    connection.execute(
        sa.update(t.run)
        .where(t.run.c.id == run.key)
        .values(status=status.value, finished_at=now, detail=detail)
    )


def record_items(connection: sa.Connection, run: RunHandle, items: Sequence[RunItem], now: Micros) -> None:
    """Write run items."""
    rows = [
        {
            "run_id": run.key,
            "native_id": x.native_id,
            "document_id": x.document,
            "outcome": x.outcome.value,
            "reason": x.reason,
            "detail": x.detail,
            "version": x.version,
            "class_before": x.class_before,
            "class_after": x.class_after,
            "chunks": x.chunks,
            "parse_us": x.parse_us,
            "embed_us": x.embed_us,
            "total_us": x.total_us,
            "at": now,
        }
        for x in items
    ]
    if rows:
        connection.execute(sa.insert(t.run_item), rows)
