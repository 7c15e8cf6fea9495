"""Requests in, answers out: strict on what comes in, one shape for all that goes out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from secure_rag.errors import NotFoundError
from secure_rag.model.decisions import Answer, Filter, Retrieved
from secure_rag.model.ids import NEVER, Micros
from secure_rag.retrieval.request import MAX_K, MAX_NAME, MAX_QUERY, RetrievalRequest
from secure_rag_api.problems import FieldError, RequestRefusedError

MAX_SOURCES: Final = 64
MAX_STALENESS_S: Final = 2**31 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
)

_NOT_BLANK: Final = r"[^\s\u001c-\u001f\u0085]"
"""For the contract: what this matches is not blank to Python either."""


def _is_instant(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("blank")
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


SourceName = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
Instant = Annotated[
    str, Field(pattern=_INSTANT, json_schema_extra={"format": "date-time"}), AfterValidator(_is_instant)
]


class FilterBody(_Strict):
    """Narrows the answer; every given field must hold. It can never widen."""

    source: (
        Annotated[
            tuple[SourceName, ...],
            Field(min_length=1, max_length=MAX_SOURCES, description="Names of registered sources."),
        ]
        | None
    ) = None
    label_max: (
        Annotated[str, Field(min_length=1, max_length=MAX_NAME, description="Nothing above this label.")]
        | None
    ) = None
    modified_after: (
        Annotated[
            Instant,
            Field(description="Only documents modified after this instant, with its offset from UTC."),
        ]
        | None
    ) = None


class RetrieveBody(_Strict):
    """One query."""

    query: Annotated[
        str,
        Field(min_length=1, max_length=MAX_QUERY, json_schema_extra={"pattern": _NOT_BLANK}),
        AfterValidator(_not_blank),
    ]
    k: Annotated[int, Field(ge=1, le=MAX_K, description="Results wanted.")] = 10
    filter: FilterBody | None = None
    purpose: Annotated[
        str,
        Field(min_length=1, max_length=MAX_NAME, description="Must be granted to everybody in the chain."),
    ] = "qa"
    context_id: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=2 * MAX_NAME,
                description="Names one conversation, in which external and confidential content are kept apart.",
            ),
        ]
        | None
    ) = None
    max_staleness_s: (
        Annotated[
            int,
            Field(
                ge=0,
                le=MAX_STALENESS_S,
                description="Refuse when permissions of an open source are older (seconds).",
            ),
        ]
        | None
    ) = None
    explain: Annotated[bool, Field(description="Add to each result why it was allowed.")] = False


_FIELDS: Final = frozenset(RetrieveBody.model_fields) | frozenset(FilterBody.model_fields)


def parse_request(raw: bytes) -> RetrievalRequest:
    """A validated request.

    Raises:
        RequestRefusedError: malformed; names fields of ours with fixed codes, never what was sent.
        InvalidRequestError: the kernel refuses a field.
    """
    try:
        body = RetrieveBody.model_validate_json(raw)
        # Two readers of one duplicated key may see two requests; what is valid here is shallow and small.
        json.loads(raw, object_pairs_hook=_unique)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        refused = [FieldError(_field(x["loc"]), str(x["type"])) for x in found]
    except _DuplicateKeyError:
        refused = [FieldError("body", "duplicate_key")]
    else:
        return RetrievalRequest(
            query=body.query,
            k=body.k,
            filter=_filter(body.filter),
            purpose=body.purpose,
            context_id=body.context_id,
            max_staleness_s=body.max_staleness_s,
            explain=body.explain,
        )
    raise RequestRefusedError(refused)


def answer_body(answer: Answer) -> bytes:
    """JSON of an answer. Empty, denied and unknown have the same shape."""
    return orjson.dumps(
        {
            "decision_id": answer.decision_id,
            "policy_version": answer.policy_version,
            "effective_label": answer.effective_label,
            "complete": answer.complete,
            "notices": [str(x) for x in answer.notices],
            "results": [_result(x) for x in answer.results],
        }
    )


def chunk_body(answer: Answer) -> bytes:
    """JSON of an answer that holds one chunk.

    Raises:
        NotFoundError: it holds none.
    """
    if len(answer.results) != 1:
        raise NotFoundError("no such chunk")
    return orjson.dumps(
        {
            "decision_id": answer.decision_id,
            "policy_version": answer.policy_version,
            "result": _result(answer.results[0]),
        }
    )


def _result(found: Retrieved) -> dict[str, object]:
    return {
        "chunk_id": found.chunk_id,
        "document_id": found.document_id,
        "source": found.source,
        "title": found.title,
        "headings": list(found.headings),
        "text": found.text,
        "score": found.score,
        "label": found.label,
        "trust": str(found.trust),
        "acl_as_of": _iso(found.acl_as_of),
        "flags": list(found.flags),
        "explanation": None if found.explanation is None else dict(found.explanation),
    }


def _iso(instant: Micros) -> str:
    bounded = min(max(instant, 0), NEVER - 1, 253_402_300_799_000_000)
    return (
        (_EPOCH + timedelta(microseconds=bounded)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def _filter(given: FilterBody | None) -> Filter:
    if given is None:
        return Filter()
    after = None
    if given.modified_after is not None:
        instant = datetime.fromisoformat(given.modified_after)
        after = Micros((instant - _EPOCH) // timedelta(microseconds=1))
    return Filter(sources=frozenset(given.source or ()), label_max=given.label_max, modified_after=after)


class _DuplicateKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _field(location: tuple[int | str, ...]) -> str:
    known = [str(x) for x in location if isinstance(x, int) or x in _FIELDS]
    return ".".join(known) or "body"
