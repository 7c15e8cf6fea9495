"""A command at work on a home: opened for an operator, and every act recorded with the operator's principal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_rag.audit.events import INSTALLATION
from secure_rag.config import load_settings
from secure_rag.model.ids import PrincipalId, TenantKey
from secure_rag_api.operators import operator
from secure_rag_api.wiring import Installation, open_installation


@dataclass(frozen=True, slots=True)
class Session:
    """An opened home and who works on it."""

    opened: Installation
    actor: PrincipalId

    def record(
        self,
        kind: str,
        body: Mapping[str, object],
        *,
        tenant: str = INSTALLATION,
        event_id: str | None = None,
    ) -> None:
        """Record what the operator does. Call it before the act becomes visible or durable.

        Raises:
            UnavailableError: it could not be recorded, so it must not happen.
        """
        event = {"by": self.actor, **body}
        self.opened.audit.record(tenant, kind, event_id or self.opened.new_id(), event)

    def tenant_key(self, name: str) -> TenantKey:
        """Key of a tenant.

        Raises:
            NotFoundError: there is no such tenant.
        """
        return self.opened.tenant_key(name)


@contextmanager
def operating(home: Path) -> Iterator[Session]:
    """Open a home for the OS user of this process.

    Raises:
        AuthenticationError: the home does not know this user as an operator; nothing was opened.
        ConfigError: there is no home, or a file of it is damaged.
    """
    actor = operator(load_settings(home))
    with open_installation(home) as opened:
        yield Session(opened, actor)
