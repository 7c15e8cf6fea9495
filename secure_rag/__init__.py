"""Permission-aware, poisoning-aware retrieval: what applications import.

`Client` asks a running service. Everything here needs only the base installation and is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_rag.client import ChunkResponse, Client, Filter, Result, RetrieveResponse
    from secure_rag.errors import (
        AuthenticationError,
        ConfigError,
        IngestionError,
        InvalidRequestError,
        ModelError,
        NotFoundError,
        PolicyError,
        RateLimitedError,
        SecureRagError,
        StaleSourceError,
        StoreError,
        UnavailableError,
    )

__all__ = [
    "AuthenticationError",
    "ChunkResponse",
    "Client",
    "ConfigError",
    "Filter",
    "IngestionError",
    "InvalidRequestError",
    "ModelError",
    "NotFoundError",
    "PolicyError",
    "RateLimitedError",
    "Result",
    "RetrieveResponse",
    "SecureRagError",
    "StaleSourceError",
    "StoreError",
    "UnavailableError",
]

_CLIENT = frozenset({"ChunkResponse", "Client", "Filter", "Result", "RetrieveResponse"})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "secure_rag.client" if name in _CLIENT else "secure_rag.errors"
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
