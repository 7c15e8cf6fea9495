"""The service: HTTP API, command line, and `wiring`, the only place where components are joined."""

from __future__ import annotations

from secure_rag.extras import require_server

require_server(__name__, "fastapi", "uvicorn", "joserfc", "orjson")
