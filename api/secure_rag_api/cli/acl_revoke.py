"""`secure-rag acl revoke|revocations|lift`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from secure_rag.database.revocations import Revocation
from secure_rag_api import revoking
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, principal, tenant_name
from secure_rag_api.cli.output import emit, show_table, when

_COLUMNS = ("revocation", "who", "from", "by", "since", "ended", "ended by", "reason")


def revoke(
    home: HomeOption,
    who: Annotated[
        str | None,
        typer.Option("--principal", help="Who: a person, group, agent or application; everybody otherwise."),
    ] = None,
    document: Annotated[
        str | None, typer.Option("--document", help="From one document: SOURCE/PATH, or its identifier.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="From one source.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Take a right away before the source or the directory does. The next query in every process is without it."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        public_id = revoking.revoke(
            work.opened,
            name,
            work.actor,
            principal=None if who is None else principal(who),
            source=source,
            document=document,
            reason=reason,
        )
    emit({"revocation": public_id}) if json_output else typer.echo(public_id)


def lift(
    revocation: Annotated[str, typer.Argument(help="Identifier of the revocation.")],
    home: HomeOption,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """End a revocation. It takes somebody else than who made it."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        revoking.lift(work.opened, name, work.actor, revocation)
    emit({"lifted": revocation}) if json_output else typer.echo(f"Lifted {revocation}")


def revocations(
    home: HomeOption,
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Revocations that hold, newest first."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        found = revoking.visible(work.opened, name, work.actor, ended=ended)
        now = work.opened.clock.now()
    if json_output:
        emit([asdict(x) for x in found])
        return
    show_table(_COLUMNS, [_row(x, now) for x in found])


def _row(found: Revocation, now: int) -> tuple[object, ...]:
    target = found.document or (None if found.source is None else f"source {found.source}")
    return (
        found.id,
        found.principal or "everybody",
        target or "everything",
        found.revoked_by,
        when(found.valid_from),
        "" if found.valid_to > now else when(found.valid_to),
        found.ended_by or "",
        found.reason,
    )
