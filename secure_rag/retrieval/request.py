"""What a caller asks."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_rag.errors import InvalidRequestError
from secure_rag.model.decisions import Filter

MAX_QUERY = 4096
MAX_K = 100
MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class RetrievalRequest:
    """One retrieval.

    Attributes:
        query: 1 to 4096 characters.
        k: 1 to 100 results wanted.
        filter: the caller's own narrowing.
        purpose: must be among the purposes of every grant in the chain.
        context_id: names one conversation; external and confidential content are then kept apart across its calls.
        max_staleness_s: refuse when permissions of a source open to the caller are older than this, in seconds.
        explain: add to each returned result why it was allowed.

    Raises:
        InvalidRequestError: a field is out of its range.
    """

    query: str
    k: int = 10
    filter: Filter = field(default_factory=Filter)
    purpose: str = "qa"
    context_id: str | None = None
    max_staleness_s: int | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.query) <= MAX_QUERY or not self.query.strip():
            raise InvalidRequestError(f"query must have 1 to {MAX_QUERY} characters")
        if not 1 <= self.k <= MAX_K:
            raise InvalidRequestError(f"k must be 1 to {MAX_K}")
        if not 1 <= len(self.purpose) <= MAX_NAME:
            raise InvalidRequestError(f"purpose must have 1 to {MAX_NAME} characters")
        if self.context_id is not None and not 1 <= len(self.context_id) <= 2 * MAX_NAME:
            raise InvalidRequestError(f"context_id must have 1 to {2 * MAX_NAME} characters")
        if self.max_staleness_s is not None and self.max_staleness_s < 0:
            raise InvalidRequestError("max_staleness_s must not be negative")
