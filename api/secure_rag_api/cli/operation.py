"""A command at work on a home: opened for an operator, and every act recorded with the operator's principal."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from secure_rag.audit.events import INSTALLATION
from secure_rag.config import load_settings
from secure_rag.database.views import ReadView
from secure_rag.model.ids import PrincipalId, SourceKey, TenantKey
from secure_rag_acl.management import Action, NotPermittedError, manager
from secure_rag_api.operators import operator
from secure_rag_api.wiring import Installation, open_installation


@dataclass(frozen=True, slots=True)
class Operation:
    """An opened home and who works on it."""

    opened: Installation
    actor: PrincipalId
    refusing: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    """Tenant and source that a right was last asked for."""

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

    def require(
        self,
        action: Action,
        tenant: str,
        source: str | None = None,
        author: str | None = None,
    ) -> None:
        """Let nobody past whose roles in the tenant do not allow it. A refused act is on record.

        `operating` records the refusal, as it does for what is refused deeper down.
        In a tenant that does not exist yet nobody has a role, so its operators found it.

        Args:
            action: what is about to be done.
            tenant: where.
            source: of which source; None when it is about none. One that does not exist is nobody's own.
            author: who proposed it, when it must be somebody else's.

        Raises:
            NotPermittedError: the operator may not.
            UnavailableError: the roles cannot be read.
        """
        with self.opened.views.open() as view:
            key = view.tenant_key(tenant)
            if key is None:
                return
            who, about = manager(view, key, self.actor), _source(view, key, source)
        self.refusing[:] = [(tenant, source)]
        self.opened.management.require(who, action, about, author)

    def may(self, action: Action, tenant: str, source: str | None = None) -> bool:
        """Whether the operator's roles allow something; for listings, which leave out the rest."""
        with self.opened.views.open() as view:
            key = view.tenant_key(tenant)
            if key is None:
                return False
            who, about = manager(view, key, self.actor), _source(view, key, source)
        return self.opened.management.may(who, action, about)


def _source(view: ReadView, tenant: TenantKey, name: str | None) -> SourceKey | None:
    if name is None:
        return None
    found = (key for key, (known, _, _) in view.source_ages(tenant).items() if known == name)
    return next(found, SourceKey(-1))


@contextmanager
def operating(home: Path) -> Generator[Operation]:
    """Open a home for the OS user of this process.

    Raises:
        AuthenticationError: the home does not know this user as an operator; nothing was opened.
        ConfigError: there is no home, or a file of it is damaged.
    """
    actor = operator(load_settings(home))
    with open_installation(home) as opened:
        work = Operation(opened, actor)
        try:
            yield work
        except NotPermittedError as error:
            tenant, source = work.refusing[0] if work.refusing else (INSTALLATION, None)
            work.record("not_permitted", {"action": error.action.value, "source": source}, tenant=tenant)
            raise
