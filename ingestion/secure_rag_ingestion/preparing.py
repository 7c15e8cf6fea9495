"""From the bytes of one item to what is stored of it: parse, scan, chunk, embed. No database here."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from secure_rag.database.documents import NewChunk, NewContent
from secure_rag.model.labels import Trust
from secure_rag_ingestion.changes import Seen
from secure_rag_ingestion.connectors.filesystem import Fetched
from secure_rag_ingestion.failures import ItemFailedError
from secure_rag_ingestion.runs import ReasonCode
from secure_rag_ingestion.tools import Tools

RESERVED_TOKENS: Final = 32
"""Tokens that chunks leave free for the title and headings they are embedded with."""
_PREFIX_CHARACTERS: Final = 120
_UNIT_TOLERANCE: Final = 1e-3


@dataclass(slots=True)
class Times:
    """Where the time of one item went, in microseconds; filled in even when a step fails."""

    begun: int
    parse_us: int = 0
    embed_us: int = 0

    @staticmethod
    def start() -> Times:
        """Begin to measure."""
        return Times(time.perf_counter_ns())

    @property
    def total_us(self) -> int:
        """Since the start."""
        return (time.perf_counter_ns() - self.begun) // 1000

    @contextmanager
    def measure(self, what: Literal["parse_us", "embed_us"]) -> Generator[None]:
        """Measure one step."""
        begun = time.perf_counter_ns()
        try:
            yield
        finally:
            setattr(self, what, (time.perf_counter_ns() - begun) // 1000)


def prepare(
    tools: Tools, native_id: str, fetched: Fetched, seen: Seen, trust: Trust, times: Times
) -> NewContent:
    """Parse, scan, chunk and embed one item.

    Raises:
        ParseFailure: the parser refused it, or did not survive it.
        ItemFailedError: nothing to index, or the engine failed.
    """
    with times.measure("parse_us"):
        parsed = tools.parser.parse(native_id, fetched.content)
    name = native_id.rsplit("/", 1)[-1]
    title = parsed.title or name.rsplit(".", 1)[0] or name
    findings = tools.scanner.scan(parsed, title, trust)
    chunks = [
        NewChunk(x.text, x.start, x.end, x.headings)
        for x in tools.chunker.split(parsed.text, parsed.headings, parsed.mime)
    ]
    if not chunks:
        raise ItemFailedError(ReasonCode.NO_CHUNKS, "no text that could be indexed")
    with times.measure("embed_us"):
        vectors = _embed(tools, title, chunks)
    return NewContent(
        title=title,
        mime=parsed.mime,
        contributor=seen.contributor,
        content_sha256=seen.content_sha256,
        pipeline_id=seen.pipeline_id,
        modified_at=fetched.modified_at,
        chunks=chunks,
        vectors=vectors,
        findings=findings,
        signature=seen.signature,
    )


def _embed(tools: Tools, title: str, chunks: Sequence[NewChunk]) -> NDArray[np.float32]:
    """Unit vectors, one a row. Each text alone: an int8 model gives other bits in another batch."""
    try:
        vectors = np.stack([tools.embedder.embed_document(_embedded(title, x)) for x in chunks])
    except Exception as error:
        raise ItemFailedError(ReasonCode.EMBEDDING_FAILED, type(error).__name__) from error
    expected = (len(chunks), tools.embedder.dimensions)
    # A damaged vector would make its document unfindable, or be refused by every process that loads it.
    if vectors.shape != expected or not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=_UNIT_TOLERANCE):
        raise ItemFailedError(ReasonCode.EMBEDDING_FAILED, "the engine gave no unit vectors")
    return vectors.astype(np.float32, copy=False)


def _embedded(title: str, chunk: NewChunk) -> str:
    """What is embedded: the passage with its title and headings, which are not part of the stored body.

    Both are cut: a document with a huge title would otherwise give all its passages the same vector.
    """
    return " > ".join([title, *chunk.headings])[:_PREFIX_CHARACTERS] + "\n" + chunk.text
