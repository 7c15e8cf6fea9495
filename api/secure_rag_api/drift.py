"""How far the index is from the permissions of a source now; what differs is brought in line at once."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from secure_rag.model.ids import ClassKey, PrincipalId
from secure_rag_acl.differences import Difference, differences
from secure_rag_acl.population import read_population
from secure_rag_api.permission_syncing import sync_source
from secure_rag_ingestion.permission_sync import SyncReport
from secure_rag_ingestion.runs import Outcome, RunItem, RunKind

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_Z: Final = 1.959963984540054
"""Of a confidence of 95 percent."""
_NAMED: Final = 200
"""Documents that the audit event names; the items of the run name all."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """A document whose permissions were others in the index. `difference` is None for one that is withheld now."""

    document: str
    outcome: str
    reason: str
    detail: str
    difference: Difference | None

    @property
    def wider(self) -> bool:
        """Whether the index let somebody read whom the source does not, as far as is known.

        When nobody gains or loses, a name that is gone counts: somebody may get behind it later.
        """
        found = self.difference
        return found is None or bool(found.lost or (found.entries_lost and not found.gained))


@dataclass(frozen=True, slots=True)
class DriftReport:
    """A check. `low` and `high` bound the rate of the whole source with 95 percent confidence."""

    run: SyncReport
    documents: int
    drifted: tuple[Drifted, ...]
    rate: float
    low: float
    high: float

    @property
    def wider(self) -> int:
        """In how many documents the index was wider."""
        return sum(x.wider for x in self.drifted)

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "run": self.run.run_id,
            "tenant": self.run.tenant,
            "source": self.run.source,
            "status": self.run.status.value,
            "documents": self.documents,
            "checked": self.run.checked,
            "drifted": len(self.drifted),
            "wider": self.wider,
            "rate": self.rate,
            "interval": [self.low, self.high],
            "differing": [{**asdict(x), "wider": x.wider} for x in self.drifted],
        }


def check_drift(opened: Installation, manifest: Path, actor: PrincipalId, sample: int | None) -> DriftReport:
    """Read the permissions of a source anew, compare, tighten and report.

    Args:
        opened: the installation.
        manifest: of the source.
        actor: who does it.
        sample: how many of the documents in view to look at; None is all.

    Raises:
        AuthenticationError: the actor may not for this source.
        ConfigError: the manifest or the mapping is wrong.
        UnavailableError: another run of this source is going on, or it cannot be recorded or written.
    """
    sizes: list[int] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        sizes.append(len(names))
        # Unpredictable, so that nobody can arrange the documents that are looked at.
        return secrets.SystemRandom().sample(names, min(sample or 0, len(names)))

    chosen = None if sample is None else choose
    run = sync_source(opened, manifest, actor, _ignore, choose=chosen, kind=RunKind.DRIFT)
    drifted = _compared(opened, run)
    total = sizes[0] if sizes else run.checked
    rate = len(drifted) / run.checked if run.checked else 0.0
    low, high = (rate, rate) if run.checked == total else wilson(len(drifted), run.checked)
    report = DriftReport(run, total, drifted, rate, low, high)
    body = {key: value for key, value in report.to_dict().items() if key != "differing"}
    names = [x.document for x in drifted]
    event = {"by": actor, **body, "named": names[:_NAMED]}
    opened.audit.record(run.tenant, "drift_checked", f"{run.run_id}-drift", event)
    return report


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson score interval of a share, with 95 percent confidence. Of nothing anything may be true."""
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, _Z * _Z
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _compared(opened: Installation, run: SyncReport) -> tuple[Drifted, ...]:
    moved = [x for x in run.drifted if x.outcome is not Outcome.FAILED]
    pairs = {
        (x.class_before, x.class_after)
        for x in moved
        if x.class_before is not None and x.class_after is not None
    }
    tenant = opened.tenant_key(run.tenant)
    with opened.views.open() as view:
        classes = view.classes(tenant, (key for pair in pairs for key in pair))
        population = read_population(view._connection, tenant, view.now) if pairs else None
        found = (
            {}
            if population is None
            else differences(sorted(pairs), classes, population, view.taxonomy(tenant), view.now)
        )
    return tuple(_drifted(run.source, x, found) for x in run.drifted)


def _drifted(source: str, item: RunItem, found: dict[tuple[ClassKey, ClassKey], Difference]) -> Drifted:
    pair = (item.class_before or ClassKey(0), item.class_after or ClassKey(0))
    difference = None if item.outcome is Outcome.FAILED else found.get(pair)
    return Drifted(f"{source}/{item.native_id}", item.outcome.value, item.reason, item.detail, difference)


def _ignore(_item: RunItem) -> None:
    """The report has them all."""
