"""Why an item failed: every exception becomes a reason code of the closed list."""

from __future__ import annotations

import structlog

from secure_rag.errors import (
    IngestionError,
    PermissionsUnknownError,
    PolicyError,
    QuotaExceededError,
)
from secure_rag_ingestion.parsing.model import ParseFailure
from secure_rag_ingestion.runs import ReasonCode

_log = structlog.get_logger(__name__)


class ItemFailedError(IngestionError):
    """One item cannot be taken. `reason` is what the run item records."""

    def __init__(self, reason: ReasonCode, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def reason_of(error: Exception, run: str) -> tuple[str, str]:
    """Reason code and detail for the run item. What nobody foresaw is `internal_error`, and logged."""
    if isinstance(error, ItemFailedError | ParseFailure):
        return error.reason.value, error.detail
    if isinstance(error, PermissionsUnknownError):
        return ReasonCode.PERMISSIONS_UNKNOWN.value, str(error)
    if isinstance(error, QuotaExceededError):
        return ReasonCode.QUOTA_EXCEEDED.value, str(error)
    if isinstance(error, PolicyError):
        return ReasonCode.BAD_PERMISSIONS.value, str(error)
    # The message may quote the document, so only the type goes on record.
    _log.error("document_failed", run=run, error=type(error).__name__)
    return ReasonCode.INTERNAL_ERROR.value, type(error).__name__
