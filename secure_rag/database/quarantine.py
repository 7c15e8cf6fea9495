"""Quarantined documents for reviewers; `maintenance_text` and its like, which no retrieval route reaches."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.documents import set_state
from secure_rag.database.tables import DocumentState
from secure_rag.errors import AuthenticationError, NotFoundError, PolicyError
from secure_rag.model.findings import Finding, Verdict
from secure_rag.model.ids import DocumentKey, Micros, PrincipalId, SourceKey


@dataclass(frozen=True, slots=True)
class ReviewedDocument:
    """A document as a reviewer sees it."""

    key: DocumentKey
    public_id: str
    tenant: str
    source: str
    native_id: str
    title: str
    state: DocumentState
    version: int
    content_sha256: str
    contributor: str


@dataclass(frozen=True, slots=True)
class Review:
    """One reviewer's decision about one version."""

    action: str
    reviewer: str
    note: str
    at: Micros


def quarantined(connection: sa.Connection) -> list[ReviewedDocument]:
    """Every quarantined document."""
    where = t.document.c.state == int(DocumentState.QUARANTINED)
    return [_document(row) for row in connection.execute(_documents().where(where)).all()]


def find(connection: sa.Connection, public_id: str) -> ReviewedDocument:
    """One document by identifier.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_documents().where(t.document.c.public_id == public_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"no document {public_id!r}")
    return _document(row)


def findings(connection: sa.Connection, document: ReviewedDocument) -> list[Finding]:
    """What detectors found on the current version."""
    f = t.finding.c
    rows = connection.execute(
        sa.select(t.finding)
        .where(f.document_id == document.key, f.version == document.version)
        .order_by(f.id)
    ).all()
    return [
        Finding(
            r.detector,
            Verdict(r.verdict),
            r.score,
            r.threshold,
            None if r.span_start is None else (r.span_start, r.span_end),
            r.evidence,
            r.rule,
        )
        for r in rows
    ]


def reviews(connection: sa.Connection, document: ReviewedDocument) -> list[Review]:
    """Earlier decisions, oldest first."""
    q = t.quarantine_review.c
    rows = connection.execute(
        sa.select(t.quarantine_review).where(q.document_id == document.key).order_by(q.id)
    ).all()
    return [Review(r.action, r.reviewer, r.note, Micros(r.at)) for r in rows]


def maintenance_text(connection: sa.Connection, document: ReviewedDocument) -> str:
    """Text of a document in whatever state, for a reviewer. The caller records that it was looked at."""
    c = t.chunk.c
    texts = connection.execute(
        sa.select(c.text).where(c.document_id == document.key).order_by(c.ord)
    ).scalars()
    return "\n".join(texts)


def maintenance_texts(
    connection: sa.Connection, sources: Collection[SourceKey], word: str
) -> list[tuple[SourceKey, str, str]]:
    """Source, native id and text of every chunk of these sources that holds a word, in whatever case.

    For scans by who may read the policy of these sources; the caller records the scan and shows no text.
    """
    d, c = t.document.c, t.chunk.c
    rows = connection.execute(
        sa.select(d.source_id, d.native_id, c.text)
        .join(t.document, d.id == c.document_id)
        .where(d.source_id.in_(sorted(sources)), c.text.icontains(word, autoescape=True))
        .order_by(c.id)
    ).all()
    return [(SourceKey(row.source_id), str(row.native_id), str(row.text)) for row in rows]


def release(
    connection: sa.Connection, public_id: str, *, version: int, reviewer: PrincipalId, note: str, now: Micros
) -> ReviewedDocument:
    """Release one version; the release is bound to its content hash.

    Raises:
        NotFoundError: there is no such document.
        PolicyError: it is not quarantined, or another version is.
        AuthenticationError: the reviewer is its contributor.
    """
    document = find(connection, public_id)
    if document.state is not DocumentState.QUARANTINED:
        raise PolicyError(f"{public_id} is not quarantined")
    if document.version != version:
        raise PolicyError(f"{public_id} is at version {document.version}: review that one")
    if document.contributor == reviewer:
        raise AuthenticationError("a contributor cannot release their own document")
    connection.execute(
        sa.insert(t.quarantine_review).values(
            document_id=document.key,
            version=version,
            content_sha256=document.content_sha256,
            action="release",
            reviewer=reviewer,
            note=note,
            at=now,
        )
    )
    set_state(connection, document.key, DocumentState.LIVE)
    return document


def _documents() -> sa.Select[tuple[object, ...]]:
    d = t.document.c
    return (
        sa.select(t.document, t.source.c.name.label("source"), t.tenant.c.name.label("tenant"))
        .join(t.source, t.source.c.id == d.source_id)
        .join(t.tenant, t.tenant.c.id == d.tenant_id)
        .order_by(d.id)
    )


def _document(row: sa.Row[tuple[object, ...]]) -> ReviewedDocument:
    return ReviewedDocument(
        DocumentKey(row.id),
        row.public_id,
        row.tenant,
        row.source,
        row.native_id,
        row.title,
        DocumentState(row.state),
        row.version,
        row.content_sha256,
        row.contributor,
    )
