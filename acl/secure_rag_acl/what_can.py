"""What somebody may read: every document of some sources, exactly, from the compiled classes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from secure_rag.database.access_facts import ListedDocument, live_documents
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model.ids import ClassKey, SourceKey, TenantKey
from secure_rag.model.labels import Taxonomy
from secure_rag.model.subject import CallerIdentity, Subject
from secure_rag.ports import PolicyEngine
from secure_rag.retrieval.authorize import READ, is_stale

if TYPE_CHECKING:
    from secure_rag.database.views import ReadView

_LABELS: Final = re.compile(r"(>=|<=|=)?\s*(\S.*)")


@dataclass(frozen=True, slots=True)
class Readable:
    """A document that may be read, and through whom."""

    document: str
    name: str
    label: str
    callers: tuple[str, ...]
    class_key: ClassKey

    @property
    def key(self) -> tuple[str]:
        """Sort key, unique in a list."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which documents are asked for.

    Attributes:
        sources: keys of those that the reader may be told of.
        label: `>=NAME`, `<=NAME`, `=NAME` or `NAME`; None is any.
    """

    sources: Collection[SourceKey]
    label: str | None = None


def readable(
    view: ReadView,
    engine: PolicyEngine,
    tenant: TenantKey,
    calls: Sequence[CallerIdentity],
    purpose: str,
    wanted: Wanted,
) -> list[Readable]:
    """Every document that one of some calls may read, in order of its name.

    Raises:
        InvalidRequestError: there is no such label.
        PolicyError: a stored class is damaged.
    """
    taxonomy = view.taxonomy(tenant)
    subjects = [(call, view.subject(tenant, call, purpose)) for call in calls]
    scopes = [
        (call, subject, frozenset(engine.compile(view, subject, READ).classes.tolist()))
        for call, subject in subjects
    ]
    reached = frozenset[int]().union(*(keys for _, _, keys in scopes))
    labels = dict(_labels_of(view, tenant, reached, taxonomy, wanted.label))
    ages = view.source_ages(tenant)
    found: list[Readable] = []
    for row in live_documents(view, tenant, wanted.sources, labels):
        if is_stale(row.acl_as_of, ages[row.source][2], view.now):
            continue
        callers = tuple(call.caller for call, subject, keys in scopes if _reads(row, subject, keys))
        if callers:
            name, label = f"{ages[row.source][0]}/{row.native_id}", labels[row.class_key]
            found.append(Readable(row.document_id, name, label, callers, row.class_key))
    return sorted(found, key=lambda x: x.key)


def confirm(
    view: ReadView,
    engine: PolicyEngine,
    tenant: TenantKey,
    calls: Sequence[CallerIdentity],
    purpose: str,
    shown: Collection[Readable],
) -> None:
    """Let the engine decide the class of every document that is shown, for every call through which it may be read.

    Raises:
        PolicyError: it denies one.
    """
    classes = view.classes(tenant, {x.class_key for x in shown})
    for call in calls:
        subject = view.subject(tenant, call, purpose)
        for key in {x.class_key for x in shown if call.caller in x.callers}:
            if not engine.decide(subject, READ, classes[key], view.now).allowed:
                raise PolicyError(
                    "the list of documents and the policy engine do not agree; nothing is listed"
                )


def _reads(row: ListedDocument, subject: Subject, classes: frozenset[int]) -> bool:
    return row.class_key in classes and row.document_id not in subject.revoked_documents


def _labels_of(
    view: ReadView, tenant: TenantKey, keys: Collection[int], taxonomy: Taxonomy, wanted: str | None
) -> Iterator[tuple[ClassKey, str]]:
    """Label names of the classes that are reached and wanted."""
    chosen = None if wanted is None else _chosen(taxonomy, wanted)
    for label in taxonomy.labels.values():
        if chosen is not None and label.name not in chosen:
            continue
        for key in view.class_keys(tenant, None, [label.id]).tolist():
            if key in keys:
                yield ClassKey(key), label.name


def _chosen(taxonomy: Taxonomy, wanted: str) -> frozenset[str]:
    """Names of the labels that a condition covers.

    Raises:
        InvalidRequestError: it is no condition on a label of the taxonomy.
    """
    parsed = _LABELS.fullmatch(wanted.strip())
    names = {x.name: x.priority for x in taxonomy.labels.values()}
    if parsed is None or parsed[2] not in names:
        raise InvalidRequestError("not a label: give the name of one, or `>=NAME` or `<=NAME`")
    rank, sign = names[parsed[2]], parsed[1] or "="
    low = rank if sign in (">=", "=") else min(names.values())
    high = rank if sign in ("<=", "=") else max(names.values())
    return frozenset(name for name, priority in names.items() if low <= priority <= high)
