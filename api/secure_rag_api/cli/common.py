"""What every command shares: the home, JSON output, exit codes and the operator's identity.

Exit codes: 0 done; 1 done, and something needs attention (failed scenario, failed item, problem found); 2 wrong
usage; 3 configuration or input file is wrong; 4 not available now; 5 not permitted; 6 not found.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from secure_rag.config import Settings
from secure_rag.errors import (
    AuthenticationError,
    ConfigError,
    IngestionError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    PolicyError,
    SecureRagError,
)
from secure_rag.model.ids import NEVER, Micros, PrincipalId, principal_id

P = ParamSpec("P")
T = TypeVar("T")


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    ATTENTION = 1
    USAGE = 2
    CONFIG = 3
    UNAVAILABLE = 4
    NOT_PERMITTED = 5
    NOT_FOUND = 6


HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="SECURE_RAG_HOME", help="Folder of the installation.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Tenant; the home's default otherwise.")]

_CODES: tuple[tuple[type[SecureRagError], ExitCode], ...] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (AuthenticationError, ExitCode.NOT_PERMITTED),
    (ConfigError, ExitCode.CONFIG),
    (PolicyError, ExitCode.CONFIG),
    (InvalidRequestError, ExitCode.USAGE),
    (ModelError, ExitCode.CONFIG),
    (IngestionError, ExitCode.CONFIG),
)


def reports_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Print our errors as one line on stderr and end with the exit code that belongs to them."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except SecureRagError as error:
            code = next((x for kind, x in _CODES if isinstance(error, kind)), ExitCode.UNAVAILABLE)
            typer.echo(f"secure-rag: {error}", err=True)
            raise typer.Exit(code) from error

    return wrapped


def operator(settings: Settings) -> PrincipalId:
    """The principal that this OS user acts as.

    Raises:
        AuthenticationError: `operators` in the settings does not name this user.
    """
    user = getpass.getuser()
    found = settings.operators.get(user)
    if found is None:
        raise AuthenticationError(
            f"OS user {user!r} is no operator of this home; see `operators` in config.yaml"
        )
    return principal_id(found)


def tenant_name(settings: Settings, given: str | None) -> str:
    """The tenant to work on.

    Raises:
        InvalidRequestError: none was named and the settings have no default.
    """
    found = given or settings.tenant
    if found is None:
        raise InvalidRequestError("name a tenant with --tenant")
    return found


def emit(document: object) -> None:
    """One JSON document on one line."""
    typer.echo(json.dumps(document, ensure_ascii=False, default=str))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table for people; plain and unwrapped when the output is no terminal."""
    console = console_out()
    if console.is_terminal:
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*(printable(str(x)) for x in row))
        console.print(table)
        return
    typer.echo("\t".join(columns))
    for row in rows:
        typer.echo("\t".join(printable(str(x)) for x in row))


def show_pairs(pairs: Mapping[str, object]) -> None:
    """Name and value, one a line."""
    for name, value in pairs.items():
        typer.echo(f"{name}: {printable(str(value))}")


def printable(text: str) -> str:
    """Text of documents without what could steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text)


def console_err() -> Console:
    """Console on stderr, for progress."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def console_out() -> Console:
    """Console on stdout; markup off, since what is printed may come from documents."""
    return Console(markup=False, highlight=False, emoji=False)


def is_terminal() -> bool:
    """Whether a person looks at stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"


def when(instant: int) -> str:
    """An instant for people."""
    if instant <= 0:
        return "never"
    if instant >= NEVER:
        return "no end"
    return datetime.fromtimestamp(instant / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(text: str) -> Micros:
    """An ISO 8601 date or instant; without a zone it is UTC.

    Raises:
        InvalidRequestError: the text is no date.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequestError(f"not an ISO 8601 date: {text!r}") from error
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return Micros(int(aware.timestamp() * 1_000_000))
