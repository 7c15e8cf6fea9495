"""Says by name what to install when a part of the service is imported with only the base installation.

A package that needs more than httpx and pydantic starts its `__init__.py` with

    from secure_rag.extras import require_server

    require_server(__name__, "sqlalchemy")

so that the import of any of its modules ends in one sentence instead of a stray `No module named …`.
"""

from __future__ import annotations

from importlib.util import find_spec

from secure_rag.errors import SecureRagError


class MissingExtraError(SecureRagError, ImportError):
    """A part of the service was imported, but only what applications need is installed."""


def require_server(module: str, *needs: str) -> None:
    """Check that the third-party packages of a module are installed, without importing them.

    Args:
        module: the module that needs them; named in the message.
        needs: top-level import names.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    missing = [name for name in needs if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        raise MissingExtraError(
            f"{module} is part of the service and needs {needed}: pip install 'secure-rag[server]'",
            name=module,
        )
