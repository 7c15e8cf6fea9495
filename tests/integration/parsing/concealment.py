"""What the tests of concealed text have in common."""

from __future__ import annotations

import hashlib

from secure_rag_ingestion.parsing.model import HiddenKind, ParsedDocument

SECRET = "the concealed sentence"


def kinds(found: ParsedDocument) -> list[tuple[HiddenKind, str]]:
    return [(entry.kind, entry.place) for entry in found.hidden]


def only(found: ParsedDocument, kind: HiddenKind, place: str) -> None:
    assert kinds(found) == [(kind, place)]
    (entry,) = found.hidden
    assert entry.excerpt == SECRET
    assert entry.sha256 == hashlib.sha256(SECRET.encode()).hexdigest()
