"""Reading what the confined process answers. A hostile document may have written it, so nothing is taken on trust."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secure_rag_ingestion.parsing.document import EXCERPT_CHARS
from secure_rag_ingestion.parsing.layers import Layer
from secure_rag_ingestion.parsing.model import (
    Heading,
    HiddenKind,
    HiddenText,
    ParsedDocument,
    ParseFailure,
    ParseReason,
)

MAX_LAYERS_BYTES = 16 * 1024
_CHILD_REASONS = frozenset(
    {
        ParseReason.EMPTY_EXTRACTION,
        ParseReason.UNSUPPORTED_TYPE,
        ParseReason.CORRUPT,
        ParseReason.ARCHIVE_LIMIT,
        ParseReason.ENCRYPTED,
    }
)


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_M = TypeVar("_M", bound=_Message)


class _Hidden(_Message):
    kind: HiddenKind
    place: Annotated[str, Field(max_length=200)]
    excerpt: Annotated[str, Field(max_length=EXCERPT_CHARS)]
    sha256: Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]


class _Heading(_Message):
    level: Annotated[int, Field(ge=1, le=6)]
    text: Annotated[str, Field(min_length=1)]
    offset: Annotated[int, Field(ge=0)]


class _Document(_Message):
    text: Annotated[str, Field(min_length=1)]
    title: Annotated[str, Field(min_length=1, max_length=500)] | None
    metadata: Annotated[
        dict[Annotated[str, Field(max_length=100)], Annotated[str, Field(max_length=1000)]],
        Field(max_length=200),
    ]
    hidden: Annotated[list[_Hidden], Field(max_length=2000)]
    headings: Annotated[list[_Heading], Field(max_length=100_000)]


class _Failure(_Message):
    reason: ParseReason
    detail: Annotated[str, Field(pattern=r"\A[A-Za-z0-9 ,.:;'()_-]{0,120}\z")]


class _Answer(_Message):
    document: _Document | None = None
    failure: _Failure | None = None


class _Layer(_Message):
    name: Annotated[str, Field(pattern=r"\A[a-z_]{1,40}\z")]
    holds: bool
    note: Annotated[str, Field(max_length=200)]


class _Layers(_Message):
    layers: Annotated[list[_Layer], Field(max_length=32)]


def read_layers(frame: bytes) -> tuple[Layer, ...]:
    """Read the first frame, which the child sends before it knows the document.

    Raises:
        ParseFailure: `bad_output`.
    """
    found = _validated(_Layers, frame)
    return tuple(Layer(layer.name, layer.holds, layer.note) for layer in found.layers)


def read_answer(frame: bytes, mime: str) -> ParsedDocument:
    """Read the second frame.

    Raises:
        ParseFailure: what the child reported, `empty_extraction`, or `bad_output` when it does not fit the schema.
    """
    answer = _validated(_Answer, frame)
    if answer.failure is not None and answer.document is None and answer.failure.reason in _CHILD_REASONS:
        raise ParseFailure(answer.failure.reason, answer.failure.detail)
    document = answer.document
    if document is None or answer.failure is not None or not _fits(document):
        raise ParseFailure(ParseReason.BAD_OUTPUT, "the parser's answer is neither a document nor a failure")
    if not document.text.strip():
        raise ParseFailure(ParseReason.EMPTY_EXTRACTION, "no text in it")
    return ParsedDocument(
        text=document.text,
        title=document.title,
        mime=mime,
        metadata=dict(document.metadata),
        hidden=tuple(
            HiddenText(entry.kind, entry.place, entry.excerpt, entry.sha256) for entry in document.hidden
        ),
        headings=tuple(Heading(entry.level, entry.text, entry.offset) for entry in document.headings),
    )


def _fits(document: _Document) -> bool:
    """Headings stand in the text, in order."""
    position = 0
    for heading in document.headings:
        if heading.offset < position or not document.text.startswith(heading.text, heading.offset):
            return False
        position = heading.offset
    return True


def _validated(model: type[_M], frame: bytes) -> _M:
    try:
        return model.model_validate_json(frame)
    except ValidationError as error:
        # The error quotes the answer, so it is not passed on.
        raise ParseFailure(
            ParseReason.BAD_OUTPUT, f"{error.error_count()} faults in the parser's answer"
        ) from None
