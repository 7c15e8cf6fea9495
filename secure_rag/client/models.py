"""What a caller sends and gets, as frozen values. The service documents its answers with these models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from secure_rag.model.labels import Trust


class _Value(BaseModel):
    # A newer service may say more than this client knows.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Result(_Value):
    """One chunk that the subject may read."""

    chunk_id: str
    document_id: str
    source: str
    title: str
    headings: tuple[str, ...]
    text: str
    score: float | None
    """Cosine similarity to the query; `None` for a chunk that was fetched by its id."""
    label: str
    """Name of the sensitivity label."""
    trust: Trust
    acl_as_of: datetime
    """When the source last confirmed the permissions that let this chunk through (UTC)."""
    flags: tuple[str, ...] = ()
    """Names of detectors that marked the chunk without withholding it."""
    explanation: dict[str, object] | None = None
    """Why it was allowed; only with `explain=True`."""


class RetrieveResponse(_Value):
    """An answer. Iterating gives its results, best first."""

    decision_id: str
    """Quote it to an auditor, who can look up why this answer is what it is."""
    policy_version: str
    """Opaque token of this decision; an auditor can resolve it."""
    effective_label: str | None
    """The highest label among the results; `None` without results."""
    complete: bool
    """False when the search stopped before it had tried every candidate."""
    notices: tuple[str, ...]
    results: tuple[Result, ...]

    def __iter__(self) -> Iterator[Result]:  # type: ignore[override]  # an answer is a sequence of results, not of its fields
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to_records(self) -> list[dict[str, object]]:
        """The results as plain dictionaries, as for `pandas.DataFrame(response.to_records())`."""
        return [result.model_dump(mode="python") for result in self.results]


class ChunkResponse(_Value):
    """One chunk, decided anew for this call."""

    decision_id: str
    policy_version: str
    result: Result


def _names(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Filter(BaseModel):
    """Narrows an answer; every given field must hold. It can never widen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Annotated[tuple[str, ...], BeforeValidator(_names), Field(min_length=1)] | None = None
    """Names of registered sources; a single name will do."""
    label_max: str | None = None
    """Nothing above this label."""
    modified_after: AwareDatetime | None = None
    """Only documents modified after this instant."""
