"""Options that commands share, and how their values are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from secure_rag.config import Settings
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import Micros, PrincipalId

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="SECURE_RAG_HOME",
        help="Folder of the installation.",
        show_default=False,
        resolve_path=True,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Tenant; the home's default otherwise.", show_default=False)
]
AsOption = Annotated[
    str | None, typer.Option("--as", help="Subject: user:…, service:… or agent:….", show_default=False)
]
AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        help="Calling application or, with --delegation, the agent that is its last hop; the only one otherwise.",
        show_default=False,
    ),
]
DelegationOption = Annotated[
    str | None, typer.Option(help="Delegation, instead of --as; its last hop asks.", show_default=False)
]


def tenant_name(settings: Settings, given: str | None) -> str:
    """The tenant to work on.

    Raises:
        InvalidRequestError: none was named and the settings have no default, or it is no name.
    """
    found = given or settings.tenant
    if found is None:
        raise InvalidRequestError("name a tenant with --tenant")
    try:
        return ids.name(found, "tenant")
    except PolicyError as error:
        raise InvalidRequestError(str(error)) from error


def principal(text: str) -> PrincipalId:
    """A principal that was given on the command line.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return ids.principal_id(text)
    except PolicyError as error:
        raise InvalidRequestError(str(error)) from error


def instant(text: str) -> Micros:
    """An ISO 8601 date or instant; without a zone it is UTC.

    Raises:
        InvalidRequestError: the text is no date.
    """
    try:
        parsed = datetime.fromisoformat(text)
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return Micros((aware - _EPOCH) // timedelta(microseconds=1))
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"not an ISO 8601 date: {text!r}") from error
