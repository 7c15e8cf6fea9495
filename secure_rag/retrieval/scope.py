"""From a subject to the scope of one search: compiled classes, narrowed by freshness and by the caller's filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from secure_rag.errors import StaleSourceError
from secure_rag.model.decisions import ChunkRow, Decision
from secure_rag.model.ids import ClassKey, Micros, SourceKey
from secure_rag.model.labels import Trust
from secure_rag.model.subject import Subject
from secure_rag.ports import AccessScope, PolicyEngine
from secure_rag.retrieval.authorize import READ
from secure_rag.retrieval.request import RetrievalRequest

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

_SECOND = 1_000_000
_TRUSTED: Final = frozenset(x for x in Trust if x.level > Trust.PARTNER.level)


def compile_scope(
    view: ReadView, engine: PolicyEngine, subject: Subject, request: RetrievalRequest
) -> AccessScope:
    """Scope of one request.

    Raises:
        StaleSourceError: a source open to the caller is older than `max_staleness_s`.
    """
    allowed = engine.compile(view, subject, READ).classes
    ages = view.source_ages(subject.tenant)
    if request.max_staleness_s is not None and len(allowed):
        _refuse_stale(view, subject, allowed, ages, request.max_staleness_s)
    chosen = _sources(ages, request)
    if len(allowed) and (request.filter.label_max is not None or len(chosen) < len(ages)):
        rank = _label_rank(subject, request.filter.label_max)
        labels = [x.id for x in subject.taxonomy.labels.values() if rank is None or x.priority <= rank]
        allowed = np.intersect1d(allowed, view.class_keys(subject.tenant, chosen, labels), assume_unique=True)
    return AccessScope(subject.tenant, allowed, request.filter.modified_after)


def within(scope: AccessScope, rows: Sequence[ChunkRow]) -> tuple[ChunkRow, ...]:
    """Rows that the scope covers as the view has them.

    A store that lags finds a document where it was before: the subject may read it there too, yet the caller's own
    filter may exclude it.
    """
    covered = _among(scope.classes, [row.class_key for row in rows])
    after = scope.modified_after
    return tuple(
        row
        for row, inside in zip(rows, covered, strict=True)
        if inside and (after is None or row.modified_at > after)
    )


def disagreements(
    view: ReadView,
    engine: PolicyEngine,
    subject: Subject,
    scope: AccessScope,
    verdicts: Mapping[ClassKey, Decision],
) -> dict[ClassKey, Decision]:
    """Verdicts of the policy engine that the compiled path contradicts in the same view.

    A store that lags behind finds classes outside the scope, and a caller's filter narrows it: neither is a
    disagreement, so what is allowed there is compared with everything that was compiled.
    """
    covered = zip(verdicts.items(), _among(scope.classes, [*verdicts]), strict=True)
    found = {key: verdict for (key, verdict), inside in covered if inside != verdict.allowed}
    if any(verdict.allowed for verdict in found.values()):
        everything = engine.compile(view, subject, READ).classes
        open_too = zip(found.items(), _among(everything, [*found]), strict=True)
        found = {key: verdict for (key, verdict), inside in open_too if not (inside and verdict.allowed)}
    return found


def trusted_part(view: ReadView, scope: AccessScope) -> AccessScope:
    """The part of a scope that only sources inside the company write."""
    keys = view.class_keys(scope.tenant, None, None, _TRUSTED)
    return replace(scope, classes=np.intersect1d(scope.classes, keys, assume_unique=True))


def _among(classes: np.typing.NDArray[np.int64], keys: Sequence[ClassKey]) -> list[bool]:
    """Whether each key is one of some sorted classes."""
    if not len(classes):
        return [False] * len(keys)
    wanted = np.array(keys, np.int64)
    at = np.minimum(np.searchsorted(classes, wanted), len(classes) - 1)
    found: list[bool] = (classes[at] == wanted).tolist()
    return found


def _sources(ages: dict[SourceKey, tuple[str, Micros, Micros]], request: RetrievalRequest) -> set[SourceKey]:
    wanted = request.filter.sources
    return {key for key, (name, _, _) in ages.items() if not wanted or name in wanted}


def _label_rank(subject: Subject, label_max: str | None) -> int | None:
    """Rank of the caller's own ceiling. An unknown name narrows to nothing rather than to everything."""
    if label_max is None:
        return None
    for label in subject.taxonomy.labels.values():
        if label.name == label_max or label.id == label_max.lower():
            return label.priority
    return min(x.priority for x in subject.taxonomy.labels.values()) - 1


def _refuse_stale(
    view: ReadView,
    subject: Subject,
    allowed: np.typing.NDArray[np.int64],
    ages: dict[SourceKey, tuple[str, Micros, Micros]],
    max_staleness_s: int,
) -> None:
    for key, (_, as_of, _) in ages.items():
        oldest = view.now - max_staleness_s * _SECOND
        if as_of >= oldest:
            continue
        # Not every class of the source: one that guards nothing any more, or only what was revoked, opens nothing.
        mine = view.live_classes_confirmed_before(subject.tenant, key, oldest, subject.revoked_documents)
        if len(np.intersect1d(allowed, mine, assume_unique=True)):
            raise StaleSourceError("permissions of a source are older than the caller accepts")
