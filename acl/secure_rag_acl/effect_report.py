"""An effect in plain values: by person, group, label and source, with counts and samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pyroaring import BitMap64

from secure_rag.model.ids import DocumentKey, LabelId, Micros
from secure_rag.model.labels import Taxonomy
from secure_rag_acl.effect import Effect, Part, Share, Shares
from secure_rag_acl.population import Population

SAMPLES: Final = 3


def report(found: Effect, population: Population, taxonomy: Taxonomy, now: Micros) -> dict[str, object]:
    """Who gains and who loses what.

    Args:
        found: the effect.
        population: that it was computed for.
        taxonomy: in force afterwards, for names of labels.
        now: an entry that ends later is shown with its end.
    """
    sides = {"gains": _Side(found.gains, found.names), "losses": _Side(found.losses, found.names)}
    labels = {"gains": _named(found.labels, taxonomy), "losses": _named(found.lost_labels, taxonomy)}
    sources = {key: name.partition("/")[0] for key, name in found.names.items()}
    return {
        "documents": {"looked_at": found.total, "changed": found.changed}
        | {side: len(x.documents) for side, x in sides.items()},
        "widens": found.widens,
        "widening": found.widening,
        "people": _principals(sides, Part.READS, now),
        "groups": [
            x | {"members": _members(population, str(x["principal"]))}
            for x in _principals(sides, Part.NAMED, now)
        ],
        "in_between": _principals(sides, Part.PASSES, now),
        "labels": _by(sides, lambda side: labels[side], "label"),
        "sources": _by(sides, lambda side: {x: sources[x] for x in sides[side].names_of()}, "source"),
    }


@dataclass(slots=True)
class _Side:
    """Gains, or losses."""

    shares: Shares
    names: Mapping[DocumentKey, str]

    @property
    def documents(self) -> BitMap64:
        return BitMap64.union(BitMap64(), *(x.documents for x in _unique(self.shares.values())))

    def names_of(self) -> Iterable[DocumentKey]:
        return (DocumentKey(x) for x in self.documents)

    def of(self, part: Part, name: str, now: Micros) -> dict[str, object]:
        shares = self.shares.get((part, name), ())
        documents = BitMap64.union(BitMap64(), *(x.documents for x in shares))
        some = [self.names[DocumentKey(x)] for x in islice(documents, SAMPLES)]
        ends = sorted({int(x.end) for x in shares if now < x.end < 2**62})
        found: dict[str, object] = {"documents": len(documents), "samples": some}
        return found | {"until": ends} if ends else found


def _principals(sides: Mapping[str, _Side], part: Part, now: Micros) -> list[dict[str, object]]:
    names = {name for x in sides.values() for kind, name in x.shares if kind is part}
    rows: list[dict[str, object]] = []
    for name in names:
        row: dict[str, object] = {"principal": name}
        rows.append(row | {side: x.of(part, name, now) for side, x in sides.items()})
    return sorted(rows, key=lambda x: (-_count(x["gains"]), -_count(x["losses"]), str(x["principal"])))


def _count(side: object) -> int:
    return int(side["documents"]) if isinstance(side, dict) else 0


def _members(population: Population, name: str) -> int:
    """How many of the readers are in a group now."""
    key = next((x.key for x in population.principals.values() if x.name == name), None)
    return 0 if key is None else len(population.members(key))


def _by(
    sides: Mapping[str, _Side], parts: Callable[[str], Mapping[DocumentKey, str]], what: str
) -> list[dict[str, object]]:
    """Documents and readers of both sides, for each label or source."""
    rows: dict[str, dict[str, object]] = {}
    for side, found in sides.items():
        together: dict[str, BitMap64] = {}
        for key, name in parts(side).items():
            together.setdefault(name, BitMap64()).add(key)
        for name, documents in together.items():
            row = rows.setdefault(name, {what: name})
            row[side] = {"documents": len(documents), "people": _readers(found.shares, documents)}
    return [rows[name] for name in sorted(rows)]


def _readers(shares: Shares, documents: BitMap64) -> int:
    known: dict[int, bool] = {}
    count = 0
    for (part, _), found in shares.items():
        if part is Part.READS:
            if id(found) not in known:
                known[id(found)] = any(not x.documents.isdisjoint(documents) for x in found)
            count += known[id(found)]
    return count


def _unique(shares: Iterable[Sequence[Share]]) -> list[Share]:
    seen: dict[int, Share] = {}
    for found in shares:
        for share in found:
            seen.setdefault(id(share), share)
    return list(seen.values())


def _named(labels: Mapping[DocumentKey, LabelId], taxonomy: Taxonomy) -> dict[DocumentKey, str]:
    return {key: taxonomy.name(label) for key, label in labels.items()}
