"""The control database: registry, permissions and text of one home. Needs the `[server]` installation."""

from __future__ import annotations

from secure_rag.extras import require_server

require_server(__name__, "sqlalchemy")
