"""Vector stores behind `secure_rag.ports.VectorStore`. Needs the `[server]` installation."""

from __future__ import annotations

from secure_rag.extras import require_server

require_server(__name__, "numpy", "sqlalchemy")
