"""Permissions: Casbin decides, bitmaps answer fast, and files of data owners become locks."""

from __future__ import annotations

from secure_rag.extras import require_server

require_server(__name__, "casbin", "numpy", "pyroaring", "sqlalchemy", "yaml")
