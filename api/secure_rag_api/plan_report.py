"""What a plan says besides who gains and loses: names that mean nobody, documents that will be withheld, warnings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from secure_rag.config import AccessSettings
from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import Micros, TenantKey
from secure_rag_acl.effect import ranked
from secure_rag_acl.effect_report import SAMPLES, report
from secure_rag_api.prospects import Prospect

_SHOWN: Final = 20


@dataclass(slots=True)
class _Seen:
    documents: int = 0
    samples: list[str] = field(default_factory=list[str])

    def add(self, name: str) -> None:
        self.documents += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(name)

    def plain(self) -> dict[str, object]:
        return {"documents": self.documents, "samples": self.samples}


def approval_reasons(found: Prospect, settings: AccessSettings) -> tuple[str, ...]:
    """Why somebody else than the author has to approve a change; empty when nobody has to."""
    reasons = list(found.loosened)
    ranks, threshold = ranked(found.taxonomy), found.taxonomy.mix_threshold
    high = sorted(
        {
            found.taxonomy.name(x)
            for x in found.effect.labels.values()
            if ranks.get(x, len(ranks) + 1) >= ranks[threshold]
        }
    )
    if high:
        reasons.append(
            f"documents labelled {', '.join(high)} are gained, at or above {found.taxonomy.name(threshold)}"
        )
    limit = settings.approval_above
    if limit is not None and found.effect.widening > limit:
        reasons.append(f"it widens by {found.effect.widening}, more than access.approval_above: {limit}")
    return tuple(reasons)


def full_report(
    connection: sa.Connection, tenant: TenantKey, found: Prospect, now: Micros
) -> dict[str, object]:
    """The report of a plan in plain values."""
    unresolved: dict[str, _Seen] = {}
    labels: dict[str, _Seen] = {}
    withheld: dict[str, _Seen] = {}
    for source in found.sources:
        prefix = source.source.manifest.id
        for x in source.tagged:
            name = f"{prefix}/{x.stored.native_id}"
            if x.tag is None:
                withheld.setdefault(x.problem, _Seen()).add(name)
                continue
            for entry in x.tag.unresolved:
                unresolved.setdefault(entry, _Seen()).add(name)
            for label in x.tag.unknown_labels:
                labels.setdefault(label, _Seen()).add(name)
    # `deny NAME` closes documents; `allow NAME` only fails to grant. Denies first.
    order = sorted(unresolved, key=lambda x: (not x.startswith("deny "), -unresolved[x].documents, x))
    return report(found.effect, found.population, found.taxonomy, now) | {
        "unresolved": [
            {"effect": x.partition(" ")[0], "name": x.partition(" ")[2]} | unresolved[x].plain()
            for x in order
        ],
        "unknown_labels": [{"label": x} | seen.plain() for x, seen in sorted(labels.items())],
        "withheld": [{"why": x} | seen.plain() for x, seen in sorted(withheld.items())],
        "warnings": list(_warnings(connection, tenant, found, now)),
    }


def _warnings(connection: sa.Connection, tenant: TenantKey, found: Prospect, now: Micros) -> Iterator[str]:
    yield from found.left
    yield from (f"{x}, for what is read from now on too" for x in found.loosened)
    names = sorted(found.unknown)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield (
            f"the directory has never had {', '.join(names[:_SHOWN])}{more}: as an allow it grants nothing, as a deny"
            " it closes its lock for everybody"
        )
    empty = sorted(
        x.name
        for x in found.population.principals.values()
        if x.kind == "group" and x.active and not found.population.members(x.key)
    )
    gaining = {name for _, name in found.effect.gains}
    yield from (
        f"{name} gains and has nobody in it today: whoever joins it will read"
        for name in empty
        if name in gaining
    )
    r = t.revocation.c
    cut = connection.execute(
        sa.select(sa.func.count()).where(r.tenant_id == tenant, r.valid_from <= now, r.valid_to > now)
    ).scalar_one()
    if cut and found.effect.widens:
        yield f"revocations that hold now, and are counted as if they had ended: {cut}"
    d = t.document.c
    keys = [source.source.key for source in found.sources]
    held = connection.execute(
        sa.select(sa.func.count()).where(
            d.source_id.in_(keys),
            d.class_id.is_not(None),
            d.state.in_((int(DocumentState.QUARANTINED), int(DocumentState.WITHHELD))),
        )
    ).scalar_one()
    if held:
        yield f"in quarantine or withheld now, and counted like the others: {held}"
