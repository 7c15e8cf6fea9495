"""Reads events back, for auditors. Never writes: the file is opened read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from secure_rag.audit.schema import DATABASE_ERRORS, open_for_reading
from secure_rag.errors import InvalidRequestError, UnavailableError
from secure_rag.model.ids import Micros

MAX_TAIL: Final = 100_000
_COLUMNS: Final = "writer_id, n, at, tenant, kind, event_id, body, hash"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One recorded event. Reading it does not verify it."""

    writer: str
    n: int
    at: Micros
    tenant: str
    kind: str
    event_id: str
    body: Mapping[str, object]
    hash: str


def tail(path: Path, n: int, tenant: str | None = None, kind: str | None = None) -> tuple[AuditEvent, ...]:
    """The last `n` events in the order of their times, of one tenant or kind if given.

    Raises:
        InvalidRequestError: `n` is below 1 or above 100 000.
        NotFoundError: there is no log.
        UnavailableError: the log or one of these events cannot be read.
    """
    if not 1 <= n <= MAX_TAIL:
        raise InvalidRequestError(f"between 1 and {MAX_TAIL} events can be shown")
    conditions: list[str] = []
    values: list[str | int] = []
    for column, value in (("tenant", tenant), ("kind", kind)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {_COLUMNS} FROM event {where} ORDER BY at DESC, writer_id DESC, n DESC LIMIT ?"  # noqa: S608 - constants
    return tuple(reversed(_events(path, sql, (*values, n))))


def find(path: Path, event_id: str) -> AuditEvent | None:
    """The event with this id.

    Raises:
        NotFoundError: there is no log.
        UnavailableError: the log or this event cannot be read.
    """
    events = _events(path, f"SELECT {_COLUMNS} FROM event WHERE event_id = ?", (event_id,))  # noqa: S608 - constants
    return events[0] if events else None


def _events(path: Path, sql: str, values: tuple[str | int, ...]) -> list[AuditEvent]:
    with closing(open_for_reading(path)) as connection:
        try:
            return [_event(row) for row in connection.execute(sql, values)]
        except (*DATABASE_ERRORS, ValueError) as exc:
            raise UnavailableError("the audit log cannot be read; verify it") from exc


def _event(row: tuple[bytes, int, int, bytes, bytes, bytes, bytes, bytes]) -> AuditEvent:
    writer, n, at, tenant, kind, event_id, body, digest = row
    content = json.loads(body)
    if not isinstance(content, dict):
        raise ValueError("an event body is not an object")  # noqa: TRY004 - one handler names every damage
    return AuditEvent(
        writer.decode(),
        n,
        Micros(at),
        tenant.decode(),
        kind.decode(),
        event_id.decode(),
        cast("dict[str, object]", content),
        digest.hex(),
    )
