"""Client of the HTTP API; needs only the base installation."""

from __future__ import annotations

from secure_rag.client.client import Client
from secure_rag.client.models import ChunkResponse, Filter, Result, RetrieveResponse

__all__ = ["ChunkResponse", "Client", "Filter", "Result", "RetrieveResponse"]
