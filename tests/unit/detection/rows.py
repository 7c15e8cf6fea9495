"""Rows, labels and documents for detector tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from secure_rag.model.decisions import ChunkRow
from secure_rag.model.findings import Finding
from secure_rag.model.ids import ChunkKey, ClassKey, LabelId, Micros
from secure_rag.model.labels import Label, Taxonomy, Trust
from secure_rag.ports import IncomingDocument

PUBLIC, GENERAL, CONFIDENTIAL, RESTRICTED = (
    LabelId(f"0000000{n}-0000-4000-8000-000000000000") for n in (1, 2, 3, 4)
)
UNKNOWN = LabelId("ffffffff-0000-4000-8000-000000000000")
TAXONOMY: Final = Taxonomy.of(
    [
        Label(PUBLIC, "Public", 10),
        Label(GENERAL, "General", 20),
        Label(CONFIDENTIAL, "Confidential", 30),
        Label(RESTRICTED, "Restricted", 40),
    ],
    default=RESTRICTED,
    mix_threshold=CONFIDENTIAL,
    version=1,
)

_TEMPLATE: Final = ChunkRow(
    key=ChunkKey(0),
    chunk_id="",
    document_id="",
    class_key=ClassKey(1),
    version=1,
    source="handbook",
    title="",
    headings=(),
    text="",
    content_sha256="",
    label=GENERAL,
    trust=Trust.INTERNAL,
    contributor="user:ada.marsh",
    acl_as_of=Micros(0),
    native_id="",
    modified_at=Micros(0),
)


def row(
    key: int,
    text: str = "",
    trust: Trust = Trust.INTERNAL,
    label: LabelId = GENERAL,
    contributor: str = "user:ada.marsh",
    source: str = "handbook",
    title: str = "",
) -> ChunkRow:
    return replace(
        _TEMPLATE,
        key=ChunkKey(key),
        chunk_id=f"c{key}",
        document_id=f"d{key}",
        text=text or f"text number {key} about something of its own",
        trust=trust,
        label=label,
        contributor=contributor,
        source=source,
        title=title,
    )


def document(
    text: str, title: str = "", hidden: tuple[Finding, ...] = (), trust: Trust = Trust.EXTERNAL
) -> IncomingDocument:
    return IncomingDocument(text, title, "text/plain", trust, hidden)
