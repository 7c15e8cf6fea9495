"""How much work a change needs, decided from digests alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secure_rag.database.documents import StoredDocument
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import ClassKey, DocumentKey
from secure_rag_ingestion.changes import Change, Seen, Work, decide
from secure_rag_ingestion.runs import ReasonCode

SEEN = Seen("content", b"permissions", "user:ann", "pipeline")
STORED = StoredDocument(
    DocumentKey(1),
    "a.txt",
    ClassKey(1),
    DocumentState.LIVE,
    1,
    "content",
    b"permissions",
    "pipeline",
    "user:ann",
)


def test_a_new_item() -> None:
    assert decide(None, SEEN) == Change(Work.CONTENT, ReasonCode.NEW)


@pytest.mark.parametrize("state", [DocumentState.LIVE, DocumentState.QUARANTINED])
def test_nothing_changed(state: DocumentState) -> None:
    assert decide(replace(STORED, state=state), SEEN) == Change(Work.NOTHING, ReasonCode.SAME)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (replace(STORED, content_sha256="old"), Change(Work.CONTENT, ReasonCode.CONTENT_CHANGED)),
        (replace(STORED, pipeline_id="old"), Change(Work.CONTENT, ReasonCode.PIPELINE_CHANGED)),
        (replace(STORED, permission_digest=b"old"), Change(Work.PERMISSIONS, ReasonCode.PERMISSIONS_CHANGED)),
        (replace(STORED, permission_digest=None), Change(Work.PERMISSIONS, ReasonCode.PERMISSIONS_CHANGED)),
        (replace(STORED, state=DocumentState.WITHHELD), Change(Work.PERMISSIONS, ReasonCode.CONFIRMED)),
        (replace(STORED, contributor="user:ben"), Change(Work.PERMISSIONS, ReasonCode.CONTRIBUTOR_CHANGED)),
        # What is more work wins.
        (
            replace(STORED, content_sha256="old", permission_digest=b"old", state=DocumentState.WITHHELD),
            Change(Work.CONTENT, ReasonCode.CONTENT_CHANGED),
        ),
        (
            replace(STORED, pipeline_id="old", permission_digest=b"old", contributor="user:ben"),
            Change(Work.CONTENT, ReasonCode.PIPELINE_CHANGED),
        ),
        (
            replace(STORED, permission_digest=b"old", state=DocumentState.WITHHELD),
            Change(Work.PERMISSIONS, ReasonCode.PERMISSIONS_CHANGED),
        ),
    ],
)
def test_the_least_work_that_is_enough(stored: StoredDocument, expected: Change) -> None:
    assert decide(stored, SEEN) == expected
