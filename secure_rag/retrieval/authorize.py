"""`authorize_chunks`: the only way from a stored text to a caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.model.decisions import ChunkRow, Decision, Reason
from secure_rag.model.ids import ChunkKey, ClassKey, Micros
from secure_rag.model.subject import Subject
from secure_rag.ports import PolicyEngine

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

READ: Final = "read"
_CLOCK_SKEW: Final = 300_000_000
"""Permissions said to be confirmed more than five minutes in the future are not believed."""


@dataclass(frozen=True, slots=True)
class Authorized:
    """What one view lets one subject have of the chunks that were asked for.

    `rows` keeps the order that was asked for. `withheld` and `verdicts` are for auditors only.
    """

    rows: tuple[ChunkRow, ...]
    withheld: dict[ChunkKey, Reason]
    verdicts: dict[ClassKey, Decision]


def authorize_chunks(
    view: ReadView, engine: PolicyEngine, subject: Subject, keys: Sequence[ChunkKey]
) -> Authorized:
    """Read chunks and keep those that the policy engine allows, all in one view and at one instant.

    Every read path uses this: retrieval, fetching by id, explanations. A chunk that is missing, deleted,
    quarantined or of another tenant is withheld without a difference to the caller.
    """
    found = view.chunk_rows(subject.tenant, keys)
    classes = view.classes(subject.tenant, (row.class_key for row in found.values()))
    verdicts = {key: engine.decide(subject, READ, cls, view.now) for key, cls in classes.items()}
    ages = {name: max_age for name, _, max_age in view.source_ages(subject.tenant).values()}
    rows: list[ChunkRow] = []
    withheld: dict[ChunkKey, Reason] = {}
    for key in dict.fromkeys(keys):
        row = found.get(key)
        reason = Reason.NOT_INDEXED if row is None else _reason(subject, row, verdicts, ages, view.now)
        if row is not None and reason is Reason.ALLOWED:
            rows.append(row)
        else:
            withheld[key] = reason
    return Authorized(tuple(rows), withheld, verdicts)


def is_stale(acl_as_of: Micros, max_age: Micros, now: Micros) -> bool:
    """Whether permissions were confirmed too long ago, or at a time that cannot be."""
    return now - acl_as_of > max_age or acl_as_of > now + _CLOCK_SKEW


def _reason(
    subject: Subject,
    row: ChunkRow,
    verdicts: dict[ClassKey, Decision],
    ages: dict[str, Micros],
    now: Micros,
) -> Reason:
    verdict = verdicts.get(row.class_key)
    if verdict is None:
        return Reason.TENANT
    if not verdict.allowed:
        return verdict.reason
    if row.document_id in subject.revoked_documents:
        return Reason.REVOKED
    max_age = ages.get(row.source)
    return Reason.ACL_STALE if max_age is None or is_stale(row.acl_as_of, max_age, now) else Reason.ALLOWED
