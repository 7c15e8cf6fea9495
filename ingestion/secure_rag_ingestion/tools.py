"""What every run uses, made once by whoever composes the product."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database.documents import PublicIds
from secure_rag.detection import ContributorBurst
from secure_rag.ports import AuditSink, Clock, Embedder
from secure_rag_ingestion.chunking.chunker import Chunker
from secure_rag_ingestion.parsing.sandbox import SandboxedParser
from secure_rag_ingestion.scanning.scanner import Scanner


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run uses. `pipeline_id` changes whenever parsing, chunking, scanning or embedding does."""

    engine: sa.Engine
    ids: PublicIds
    parser: SandboxedParser
    chunker: Chunker
    embedder: Embedder
    scanner: Scanner
    burst: ContributorBurst
    audit: AuditSink
    clock: Clock
    pipeline_id: str
    max_bytes: int
