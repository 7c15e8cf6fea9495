"""Where a source shows more than we do: what was narrowed, what nobody is mapped to, what is withheld, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import SourceKey
from secure_rag.model.permissions import NARROWER

SAMPLES: Final = 3
_LIVE: Final = (int(DocumentState.LIVE), int(DocumentState.QUARANTINED))


@dataclass(frozen=True, slots=True)
class Difference:
    """One reason, with how many documents it concerns and where it stands for some of them."""

    kind: str
    """`narrower_than_source`: an entry that these locks do not express. `unmapped_allow`: a name that nobody is mapped
    to. `closed_by_deny`: a deny of nobody knows whom. `withheld`: permissions or content could not be read."""
    why: str
    documents: int
    samples: tuple[str, ...]
    """Native ids."""
    entries: tuple[str, ...] = ()
    """Of the source, each as `entry (place)`."""


@dataclass(frozen=True, slots=True)
class Parity:
    """A source compared with what we show of it."""

    source: str
    documents: int
    equal: int
    """Documents that no difference is known of."""
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(slots=True)
class _Group:
    documents: set[int] = field(default_factory=set[int])
    samples: list[str] = field(default_factory=list[str])
    entries: Counter[str] = field(default_factory=Counter[str])

    def add(self, key: int, native_id: str) -> None:
        if key not in self.documents:
            self.documents.add(key)
            if len(self.samples) < SAMPLES:
                self.samples.append(native_id)


def parity(connection: sa.Connection, source: SourceKey, name: str) -> Parity:
    """The report on one source, from what its last runs recorded: most documents first."""
    d = t.document.c
    total = connection.execute(
        sa.select(sa.func.count()).where(d.source_id == source, d.state != int(DocumentState.DELETED))
    ).scalar_one()
    groups: dict[tuple[str, str], _Group] = {}
    for kind, why, key, native_id, entry in _rows(connection, source):
        group = groups.setdefault((kind, why), _Group())
        group.add(key, native_id)
        if entry and (entry in group.entries or len(group.entries) < SAMPLES):
            group.entries[entry] += 1
    differences = [
        Difference(kind, why, len(x.documents), tuple(x.samples), tuple(x.entries))
        for (kind, why), x in groups.items()
    ]
    differences.sort(key=lambda x: (-x.documents, x.kind, x.why))
    touched = set[int]().union(*(x.documents for x in groups.values()))
    return Parity(name, total, total - len(touched), tuple(differences))


_Row = tuple[str, str, int, str, str]


def _rows(connection: sa.Connection, source: SourceKey) -> Iterator[_Row]:
    """Kind, reason, document, its native id, and the entry of the source."""
    yield from _narrowed(connection, source)
    yield from _names(connection, source)
    yield from _withheld(connection, source)


def _narrowed(connection: sa.Connection, source: SourceKey) -> Iterator[_Row]:
    d, f = t.document.c, t.finding.c
    for row in connection.execute(
        sa.select(d.id, d.native_id, f.evidence, f.rule)
        .join(t.document, d.id == f.document_id)
        .where(d.source_id == source, d.state.in_(_LIVE), f.detector == NARROWER, f.version == d.version)
        .order_by(d.native_id, f.id)
    ):
        place, why = json.loads(row.rule)
        yield NARROWER, why, row.id, row.native_id, f"{row.evidence} ({place})"


def _names(connection: sa.Connection, source: SourceKey) -> Iterator[_Row]:
    d = t.document.c
    for row in connection.execute(
        sa.select(d.id, d.native_id, d.unresolved)
        .where(d.source_id == source, d.state.in_(_LIVE), d.unresolved != "[]")
        .order_by(d.native_id)
    ):
        for entry in json.loads(row.unresolved):
            effect, _, name = str(entry).partition(" ")
            kind = "unmapped_allow" if effect == "allow" else "closed_by_deny"
            yield kind, name, row.id, row.native_id, ""


def _withheld(connection: sa.Connection, source: SourceKey) -> Iterator[_Row]:
    """Withheld documents, each with what the last run that saw it says."""
    d, i = t.document.c, t.run_item.c
    last = sa.select(sa.func.max(i.id)).where(i.document_id == d.id).correlate(t.document).scalar_subquery()
    for row in connection.execute(
        sa.select(d.id, d.native_id, i.reason, i.detail)
        .outerjoin(t.run_item, i.id == last)
        .where(d.source_id == source, d.state == int(DocumentState.WITHHELD))
        .order_by(d.native_id)
    ):
        yield "withheld", row.reason or "unknown", row.id, row.native_id, row.detail or ""
