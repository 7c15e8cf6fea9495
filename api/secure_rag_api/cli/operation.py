"""A command at work on a home: opened for an operator, and every act recorded with the operator's principal."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secure_rag.audit.events import INSTALLATION
from secure_rag.config import load_settings
from secure_rag.model.ids import PrincipalId
from secure_rag_api.operators import operator
from secure_rag_api.wiring import Installation, open_installation


@dataclass(frozen=True, slots=True)
class Operation:
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


@contextmanager
def operating(home: Path) -> Generator[Operation]:
    """Open a home for the OS user of this process.

    Raises:
        AuthenticationError: the home does not know this user as an operator; nothing was opened.
        ConfigError: there is no home, or a file of it is damaged.
    """
    actor = operator(load_settings(home))
    with open_installation(home) as opened:
        yield Operation(opened, actor)
