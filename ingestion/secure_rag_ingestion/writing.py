"""The transactions of one run. Each leaves one item whole, with its run item, or nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import sqlalchemy as sa

from secure_rag.database import documents as db
from secure_rag.database.documents import NewContent, StoredDocument
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import DocumentKey, Micros
from secure_rag.model.permissions import NARROWER
from secure_rag_ingestion.changes import Change, Seen
from secure_rag_ingestion.outcomes import permission_outcome
from secure_rag_ingestion.preparing import Times
from secure_rag_ingestion.runs import Outcome, ReasonCode, RunHandle, RunItem, record_items
from secure_rag_ingestion.scanning.burst import mean_vector, recent_vectors
from secure_rag_ingestion.scanning.scanner import quarantines
from secure_rag_ingestion.state import is_released, settled_state
from secure_rag_ingestion.tagging.narrower import narrower_findings
from secure_rag_ingestion.tagging.tagger import Tag, Tagger
from secure_rag_ingestion.tools import Tools

MAX_DETAIL: Final = 500
"""Characters of a run item's detail: a file with ten thousand unknown names must not fill the run's records."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the items of one run. The permissions that it writes count as confirmed at `confirmed_at`."""

    tools: Tools
    tagger: Tagger
    run: RunHandle
    confirmed_at: Micros

    def put(
        self,
        native_id: str,
        content: NewContent,
        tag: Tag,
        change: Change,
        stored: StoredDocument | None,
        times: Times,
    ) -> RunItem:
        """Write class, content, vectors and findings of a document.

        Raises:
            PolicyError: its permissions exceed a limit.
            UnavailableError: the database cannot be written.
        """
        tools, run, now = self.tools, self.run, self.tools.clock.now()
        with write(tools.engine) as connection:
            key = db.ensure_document(connection, tools.ids, run.tenant, run.source, native_id, now)
            permission = self.tagger.permission(connection, tag, self.confirmed_at)
            db.put_permission(connection, key, permission, now)
            content = self._with_burst(connection, key, content)
            detectors = sorted({x.detector for x in content.findings})
            content = replace(content, findings=[*content.findings, *narrower_findings(tag.narrowed)])
            held = quarantines(content.findings) and not is_released(connection, key, content.content_sha256)
            state = DocumentState.QUARANTINED if held else DocumentState.LIVE
            version = db.put_content(connection, tools.ids, key, content, state)
            outcome = Outcome.ADDED if change.reason is ReasonCode.NEW else Outcome.CONTENT_UPDATED
            item = RunItem(
                native_id,
                Outcome.QUARANTINED if held else outcome,
                ReasonCode.DETECTED.value if held else change.reason.value,
                detail=_detail(tag, detectors),
                document=key,
                version=version,
                class_before=None if stored is None else stored.class_key,
                class_after=permission.class_key,
                chunks=len(content.chunks),
            )
            return self._record(connection, item, times)

    def repoint(self, stored: StoredDocument, tag: Tag, seen: Seen, change: Change, times: Times) -> RunItem:
        """Point a document at another class; no chunk and no vector is touched.

        Raises:
            PolicyError: its permissions exceed a limit.
            UnavailableError: the database cannot be written.
        """
        now = self.tools.clock.now()
        with write(self.tools.engine) as connection:
            permission = self.tagger.permission(connection, tag, self.confirmed_at)
            db.put_permission(connection, stored.key, permission, now)
            found = narrower_findings(tag.narrowed)
            db.replace_findings(connection, stored.key, stored.version, NARROWER, found)
            db.put_signatures(connection, [(stored.key, seen.signature)])
            if seen.contributor != stored.contributor:
                db.put_contributor(connection, stored.key, seen.contributor)
            before, state = db.state_of(connection, stored.key), settled_state(connection, stored.key)
            outcome, reason = permission_outcome(
                connection, stored.class_key, permission.class_key, change.reason
            )
            if state is not before:
                db.set_state(connection, stored.key, state)
                held = state is DocumentState.QUARANTINED
                outcome = Outcome.QUARANTINED if held else Outcome.PERMISSION_UPDATED
                reason = ReasonCode.DETECTED if held else ReasonCode.CONFIRMED
            item = RunItem(
                stored.native_id,
                outcome,
                reason.value,
                detail=_detail(tag, ()),
                document=stored.key,
                version=stored.version,
                class_before=stored.class_key,
                class_after=permission.class_key,
            )
            return self._record(connection, item, times)

    def withhold(
        self, native_id: str, stored: StoredDocument | None, reason: str, detail: str, times: Times
    ) -> RunItem:
        """Record a failure and withhold what is stored: neither old text nor old permissions stay in view.

        Raises:
            UnavailableError: the database cannot be written.
        """
        item = RunItem(
            native_id,
            Outcome.FAILED,
            reason,
            detail=brief(detail),
            document=None if stored is None else stored.key,
            class_before=None if stored is None else stored.class_key,
        )
        with write(self.tools.engine) as connection:
            if stored is not None and db.state_of(connection, stored.key) is not DocumentState.WITHHELD:
                db.set_state(connection, stored.key, DocumentState.WITHHELD)
            return self._record(connection, item, times)

    def record(
        self, items: Sequence[RunItem], signatures: Sequence[tuple[DocumentKey, str]] = ()
    ) -> Sequence[RunItem]:
        """Put items on record that change nothing, and what files look like now that hold what is stored.

        Raises:
            UnavailableError: the database cannot be written.
        """
        with write(self.tools.engine) as connection:
            db.put_signatures(connection, signatures)
            record_items(connection, self.run, items, self.tools.clock.now())
        return items

    def _record(self, connection: sa.Connection, item: RunItem, times: Times) -> RunItem:
        item = replace(item, parse_us=times.parse_us, embed_us=times.embed_us, total_us=times.total_us)
        record_items(connection, self.run, [item], self.tools.clock.now())
        return item

    def _with_burst(self, connection: sa.Connection, key: DocumentKey, content: NewContent) -> NewContent:
        """The burst rule looks at the contributor's other documents; it annotates only."""
        burst, dimensions = self.tools.burst, self.tools.embedder.dimensions
        earlier = recent_vectors(
            connection, self.run.source, content.contributor, key, burst.window - 1, dimensions
        )
        found = burst.inspect_vectors(np.vstack([earlier, mean_vector(content.vectors)[None, :]]))
        return content if found is None else replace(content, findings=[*content.findings, found])


def _detail(tag: Tag, detectors: Sequence[str]) -> str:
    notes = [", ".join(detectors)] if detectors else []
    notes += [f"unresolved: {', '.join(tag.unresolved)}"] if tag.unresolved else []
    notes += [f"unknown label: {', '.join(tag.unknown_labels)}"] if tag.unknown_labels else []
    notes += [f"{NARROWER}: {len(tag.narrowed)}"] if tag.narrowed else []
    return brief("; ".join(notes))


def brief(text: str) -> str:
    """A detail as it may stand in a run item."""
    # Names of files may hold what is no text for the database.
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return clean if len(clean) <= MAX_DETAIL else clean[: MAX_DETAIL - 1] + "…"
