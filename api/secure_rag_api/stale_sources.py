"""The alarm that permissions of a source are too old: once for each source and each time that it comes to that.

Documents are withheld by every query itself, whether or not anybody watches.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from secure_rag.audit.events import SOURCE_STALE
from secure_rag.audit.reading import find
from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.errors import SecureRagError
from secure_rag.model.ids import Micros
from secure_rag.retrieval.authorize import is_stale

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation

_log = logging.getLogger(__name__)
INTERVAL_S: Final = 30.0
"""Between two looks of a serving process."""


def alarm_stale_sources(opened: Installation) -> list[str]:
    """Record an event for each source of which documents are withheld for their age, unless it was recorded before.

    Returns:
        `tenant/source` of the events of this call.

    Raises:
        UnavailableError: the database cannot be read, or an event cannot be recorded.
    """
    now, alarmed = opened.clock.now(), list[str]()
    with opened.reader.connect() as connection, connection.begin():
        rows = [x for x in connection.execute(_sources()).all() if is_stale(x.acl_as_of, x.max_acl_age, now)]
        stale = [row for row in rows if _withheld(connection, row, now)]
    for row in stale:
        event_id = _event_id(row)
        if find(opened.home.audit, event_id) is not None:
            continue
        body = {
            "source": row.name,
            "acl_as_of": row.acl_as_of,
            "max_acl_age": row.max_acl_age,
            "noticed": now,
        }
        # Two processes that notice at once write one event: its id is the same.
        opened.audit.record(row.tenant, SOURCE_STALE, event_id, body)
        _log.critical("permissions of source %s/%s are too old: it is withheld", row.tenant, row.name)
        alarmed.append(f"{row.tenant}/{row.name}")
    return alarmed


class StalenessWatch:
    """Looks again and again in a thread of its own until it is closed."""

    def __init__(self, opened: Installation, interval_s: float = INTERVAL_S) -> None:
        self._opened = opened
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="staleness", daemon=True)

    def start(self) -> None:
        """Look now, and from then on."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns when the thread has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                alarm_stale_sources(self._opened)
            except (SecureRagError, SQLAlchemyError) as error:
                # It is withheld all the same; the next look tries again.
                _log.error("stale sources cannot be looked for: %s", type(error).__name__)
            if self._stop.wait(self._interval_s):
                return


def _sources() -> sa.Select[*tuple[Any, ...]]:
    s = t.source.c
    return sa.select(s.id, s.name, s.acl_as_of, s.max_acl_age, t.tenant.c.name.label("tenant")).join(
        t.tenant, t.tenant.c.id == s.tenant_id
    )


def _withheld(connection: sa.Connection, source: sa.Row[*tuple[Any, ...]], now: Micros) -> bool:
    """Whether a document of the source is withheld for its age: permissions of single documents may be younger."""
    d = t.document.c
    oldest = connection.execute(
        sa.select(sa.func.min(d.acl_as_of), sa.func.max(d.acl_as_of)).where(
            d.source_id == source.id, d.state == int(DocumentState.LIVE)
        )
    ).one()
    return any(x is not None and is_stale(max(x, source.acl_as_of), source.max_acl_age, now) for x in oldest)


def _event_id(source: sa.Row[*tuple[Any, ...]]) -> str:
    """The same for one source as long as it is not confirmed again."""
    text = f"{source.tenant}/{source.name}/{source.acl_as_of}"
    return "stale-" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
