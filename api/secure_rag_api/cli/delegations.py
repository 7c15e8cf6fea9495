"""`secure-rag delegations create|revoke|list`."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation, revoke_delegation
from secure_rag.database.engine import write
from secure_rag.errors import InvalidRequestError, NotFoundError
from secure_rag.model.ids import LabelId, Micros, TenantKey, principal_id
from secure_rag_api.cli.common import (
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    instant,
    operator,
    reports_errors,
    show_table,
    tenant_name,
    when,
)
from secure_rag_api.wiring import Installation, open_installation

app = typer.Typer(no_args_is_help=True)
_HOUR = 3_600_000_000


@app.callback()
def _group() -> None:
    """Let an agent act for somebody, or stop it."""


@app.command("create")
@reports_errors
def create(
    home: HomeOption,
    agent: Annotated[str, typer.Option(help="Agent that will act.")],
    by: Annotated[
        str, typer.Option("--by", help="Previous hop: the application, or the agent of the parent.")
    ],
    for_: Annotated[
        str | None, typer.Option("--for", help="Person that the first delegation is for.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="Delegation that is passed on.")] = None,
    label: Annotated[str | None, typer.Option(help="Highest label.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only this source; repeat for more.")] = None,
    compartment: Annotated[
        list[str] | None, typer.Option(help="Only this compartment; repeat for more.")
    ] = None,
    purpose: Annotated[list[str] | None, typer.Option(help="Only this purpose; repeat for more.")] = None,
    expires: Annotated[str | None, typer.Option(help="ISO 8601; in one hour otherwise.")] = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Create one hop. What is not limited here is still limited by the agent's own grant."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        name = tenant_name(opened.settings, tenant)
        key, label_id = _tenant_and_label(opened, name, label)
        now = opened.clock.now()
        limits = Limits(
            label=label_id,
            sources=tuple(source) if source else None,
            compartments=tuple(compartment) if compartment else None,
            purposes=tuple(purpose) if purpose else None,
        )
        end = instant(expires) if expires else Micros(now + _HOUR)
        with write(opened.engine) as connection:
            public_id = create_delegation(
                connection,
                key,
                creator=principal_id(by),
                agent=principal_id(agent),
                subject=None if for_ is None else principal_id(for_),
                parent=parent,
                limits=limits,
                now=now,
                expires=end,
            )
        body = {"by": actor, "creator": by, "agent": agent, "subject": for_, "parent": parent, "expires": end}
        opened.audit.record(name, "delegation_created", public_id, body)
    emit({"delegation": public_id, "expires": when(end)}) if json_output else typer.echo(public_id)


@app.command("revoke")
@reports_errors
def revoke(
    delegation: Annotated[str, typer.Argument(help="Identifier of the delegation.")],
    home: HomeOption,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """End a delegation and all that was passed on from it. The very next query is without it."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        name = tenant_name(opened.settings, tenant)
        key, _ = _tenant_and_label(opened, name, None)
        with write(opened.engine) as connection:
            ended = revoke_delegation(connection, key, delegation, opened.clock.now())
        body = {"by": actor, "delegation": delegation, "ended": ended}
        opened.audit.record(name, "delegation_revoked", opened.new_id(), body)
    emit({"ended": ended}) if json_output else typer.echo(f"{ended} ended")


@app.command("list")
@reports_errors
def list_(home: HomeOption, tenant: TenantOption = None, json_output: JsonOption = False) -> None:
    """Delegations that have not ended."""
    who, agent, maker = t.principal.alias("who"), t.principal.alias("agent"), t.principal.alias("maker")
    d = t.delegation.c
    with open_installation(home) as opened, opened.reader.connect() as connection:
        rows = connection.execute(
            sa.select(
                d.public_id, who.c.name.label("subject"), maker.c.name.label("by"), agent.c.name, d.valid_to
            )
            .join(who, who.c.id == d.subject_id)
            .join(agent, agent.c.id == d.agent_id)
            .join(maker, maker.c.id == d.created_by)
            .join(t.tenant, t.tenant.c.id == d.tenant_id)
            .where(t.tenant.c.name == tenant_name(opened.settings, tenant), d.valid_to > opened.clock.now())
            .order_by(d.id)
        ).all()
    shown = [(r.public_id, r.subject, r.by, r.name, when(r.valid_to)) for r in rows]
    columns = ("delegation", "for", "by", "agent", "ends")
    if json_output:
        emit([dict(zip(columns, x, strict=True)) for x in shown])
    else:
        show_table(columns, shown)


def _tenant_and_label(opened: Installation, name: str, label: str | None) -> tuple[TenantKey, LabelId | None]:
    with opened.views.open() as view:
        key = view.tenant_key(name)
        if key is None:
            raise NotFoundError(f"no tenant {name!r}")
        if label is None:
            return key, None
        found = next((x.id for x in view.taxonomy(key).labels.values() if x.name == label), None)
    if found is None:
        raise InvalidRequestError(f"unknown label {label!r}")
    return key, found
