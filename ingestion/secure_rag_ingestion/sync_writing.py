"""The transactions of a run that reads permissions only: many documents each, by set-based statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.documents import StoredDocument
from secure_rag.database.engine import write
from secure_rag.database.tables import DocumentState
from secure_rag.errors import PolicyError
from secure_rag.model.ids import ClassKey, DocumentKey, Micros, SourceKey
from secure_rag.ports import Clock
from secure_rag_ingestion.failures import reason_of
from secure_rag_ingestion.outcomes import permission_outcome
from secure_rag_ingestion.repointing import repoint, set_states
from secure_rag_ingestion.rereading import Reread
from secure_rag_ingestion.retagging import Retagged
from secure_rag_ingestion.runs import (
    Outcome,
    ReasonCode,
    RunHandle,
    RunItem,
    RunKind,
    record_items,
)
from secure_rag_ingestion.state import settled_states
from secure_rag_ingestion.tagging.tagger import Tagger
from secure_rag_ingestion.writing import brief

_AT_ONCE: Final = 500
_OF_PERMISSIONS: Final = frozenset(
    {
        ReasonCode.BAD_SIDECAR.value,
        ReasonCode.BAD_PERMISSIONS.value,
        ReasonCode.PERMISSIONS_UNKNOWN.value,
        ReasonCode.QUOTA_EXCEEDED.value,
    }
)
"""Failures of a content run that say nothing against the content."""


@dataclass(frozen=True, slots=True)
class SyncWriter:
    """Writes batches of one run. The permissions that it writes count as confirmed at `confirmed_at`."""

    engine: sa.Engine
    clock: Clock
    tagger: Tagger
    run: RunHandle
    confirmed_at: Micros
    verify: bool = False
    """Compare the classes themselves too: an equal digest says that the index was right once."""

    def write(self, batch: Sequence[Reread]) -> list[RunItem]:
        """Re-point, withhold and bring back documents; gives an item for each that changed or failed.

        Raises:
            UnavailableError: the database cannot be written; nothing of the batch was.
        """
        now = self.clock.now()
        with write(self.engine) as connection:
            classes, refused = self._classes(connection, batch)
            judged = [_judged(_verified(x, classes), refused) for x in batch]
            repoint(connection, self.tagger, [_retagged(x) for x in judged], self.confirmed_at, now)
            settled = _settled(connection, self.run.source, judged)
            set_states(connection, settled)
            items = self._items(connection, judged, classes, settled)
            record_items(connection, self.run, items, now)
        return items

    def _classes(
        self, connection: sa.Connection, batch: Sequence[Reread]
    ) -> tuple[dict[bytes, ClassKey], dict[bytes, tuple[str, str]]]:
        """Classes of the changed permissions, each interned once; and why there is none."""
        classes: dict[bytes, ClassKey] = {}
        refused: dict[bytes, tuple[str, str]] = {}
        for x in batch:
            tag = x.tag
            if tag is None or tag.digest in classes or tag.digest in refused:
                continue
            if not self.verify and not (x.changed and x.same_content):
                continue
            try:
                classes[tag.digest] = self.tagger.permission(connection, tag, self.confirmed_at).class_key
            except PolicyError as error:
                refused[tag.digest] = reason_of(error, self.run.public_id)
        return classes, refused

    def _items(
        self,
        connection: sa.Connection,
        judged: Sequence[Reread],
        classes: dict[bytes, ClassKey],
        settled: dict[DocumentKey, DocumentState],
    ) -> list[RunItem]:
        known: dict[tuple[ClassKey | None, ClassKey], tuple[Outcome, ReasonCode]] = {}
        items: list[RunItem] = []
        for x in judged:
            before = x.stored.class_key
            if x.tag is None:
                items.append(_item(x.stored, Outcome.FAILED, x.reason, brief(x.detail), before, None))
                continue
            after = classes.get(x.tag.digest, before)
            if after is None:
                continue
            if (before, after) not in known:
                known[before, after] = permission_outcome(
                    connection, before, after, ReasonCode.PERMISSIONS_CHANGED
                )
            outcome, reason = known[before, after]
            state = settled.get(x.stored.key)
            if state is not None:
                held = state is DocumentState.QUARANTINED
                outcome = Outcome.QUARANTINED if held else Outcome.PERMISSION_UPDATED
                reason = ReasonCode.DETECTED if held else ReasonCode.CONFIRMED
            if outcome is not Outcome.UNCHANGED:
                items.append(_item(x.stored, outcome, reason.value, "", before, after))
        return items


def _verified(found: Reread, classes: dict[bytes, ClassKey]) -> Reread:
    """What was read; as changed where the index holds another class than the permissions give."""
    if found.tag is None or classes.get(found.tag.digest, found.stored.class_key) == found.stored.class_key:
        return found
    return replace(found, stored=replace(found.stored, permission_digest=None))


def _judged(found: Reread, refused: dict[bytes, tuple[str, str]]) -> Reread:
    """What was read, without a tag where the permissions cannot be given to the stored content."""
    if found.tag is None or not found.changed:
        return found
    if not found.same_content:
        detail = (
            "its permissions changed, and its content too or for all that is known: a content run decides"
        )
        return Reread(found.stored, None, reason=ReasonCode.CONTENT_CHANGED.value, detail=detail)
    if found.tag.digest in refused:
        reason, detail = refused[found.tag.digest]
        return Reread(found.stored, None, reason=reason, detail=detail)
    return found


def _retagged(found: Reread) -> Retagged:
    return Retagged(found.stored, found.tag, found.detail)


def _settled(
    connection: sa.Connection, source: SourceKey, judged: Sequence[Reread]
) -> dict[DocumentKey, DocumentState]:
    """Documents that come back, with the state in which they belong."""
    waiting = [
        x.stored
        for x in judged
        if x.tag is not None
        and x.same_content
        and x.stored.state is DocumentState.WITHHELD
        and x.stored.version
    ]
    if not waiting:
        return {}
    sound = _sound(connection, source, {x.native_id for x in waiting})
    return settled_states(connection, [x.key for x in waiting if x.native_id in sound])


def _sound(connection: sa.Connection, source: SourceKey, names: set[str]) -> set[str]:
    """Those whose last content run that looked at them did not fail, or failed for their permissions only."""
    i, r = t.run_item.c, t.run.c
    runs = connection.execute(
        sa.select(r.id).where(r.source_id == source, r.kind == RunKind.CONTENT.value).order_by(r.id.desc())
    ).scalars()
    found, pending = set[str](), set(names)
    for run in runs.all():
        for part in _parts(sorted(pending)):
            rows = connection.execute(
                sa.select(i.native_id, i.outcome, i.reason).where(i.run_id == run, i.native_id.in_(part))
            ).all()
            pending -= {row.native_id for row in rows}
            found |= {
                row.native_id
                for row in rows
                if row.outcome != Outcome.FAILED.value or row.reason in _OF_PERMISSIONS
            }
        if not pending:
            break
    return found


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), _AT_ONCE):
        yield names[first : first + _AT_ONCE]


def _item(
    stored: StoredDocument,
    outcome: Outcome,
    reason: str,
    detail: str,
    before: ClassKey | None,
    after: ClassKey | None,
) -> RunItem:
    return RunItem(
        stored.native_id,
        outcome,
        reason,
        detail=detail,
        document=stored.key,
        version=stored.version,
        class_before=before,
        class_after=after,
    )
