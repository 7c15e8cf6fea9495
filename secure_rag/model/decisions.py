"""Decisions and answers: frozen, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from secure_rag.model.ids import ChunkKey, ClassKey, LabelId, Micros
from secure_rag.model.labels import Trust


class Reason(StrEnum):
    """Why something was withheld. For auditors and owners; callers see no difference between denied and unknown."""

    ALLOWED = "allowed"
    TENANT = "tenant"
    LABEL = "label"
    COMPARTMENT = "compartment"
    DELEGATION = "delegation"
    UNRESOLVED_DENY = "unresolved_deny"
    DENIED = "denied"
    NOT_ON_LIST = "not_on_list"
    UNKNOWN_SUBJECT = "unknown_subject"
    REVOKED = "revoked"
    ACL_STALE = "acl_stale"
    QUARANTINED = "quarantined"
    NOT_INDEXED = "not_indexed"
    MIXED_TRUST = "mixed_trust"
    EVALUATION_ERROR = "evaluation_error"


class Notice(StrEnum):
    """What an answer tells its caller besides results. Never a count, never about content that was not allowed."""

    EXTERNAL_WITHHELD = "external_withheld"
    """External content was left out, since this answer or context holds content at or above the threshold."""
    CONFIDENTIAL_WITHHELD = "confidential_withheld"
    """Content at or above the threshold was left out, since this context already holds external content."""
    NEAR_DUPLICATES_COLLAPSED = "near_duplicates_collapsed"


@dataclass(frozen=True, slots=True)
class Decision:
    """Verdict of the policy engine on one class for one subject at one instant."""

    allowed: bool
    reason: Reason
    rules: tuple[str, ...] = ()
    """Identifiers of the policy rows that decided."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """One chunk of an answer; everything in it was read in the final view."""

    chunk_id: str
    document_id: str
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    score: float | None
    """Cosine similarity; None for a chunk that was fetched by its id."""
    label: str
    trust: Trust
    acl_as_of: Micros
    flags: tuple[str, ...] = ()
    explanation: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a retrieval returns.

    `complete` is false when the search ended before `k` allowed results were found or none were left to try.
    """

    decision_id: str
    policy_version: str
    effective_label: str | None
    complete: bool
    notices: tuple[Notice, ...]
    results: tuple[Retrieved, ...]


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk with its document, as one statement read it. The only carrier of text towards a caller."""

    key: ChunkKey
    chunk_id: str
    document_id: str
    class_key: ClassKey
    version: int
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    content_sha256: str
    label: LabelId
    trust: Trust
    contributor: str
    acl_as_of: Micros
    native_id: str
    modified_at: Micros


@dataclass(frozen=True, slots=True)
class Filter:
    """A caller's own narrowing of a search. Combined by AND; it can never widen."""

    sources: frozenset[str] = field(default_factory=frozenset[str])
    """Empty means: no narrowing by source."""
    label_max: str | None = None
    modified_after: Micros | None = None
