"""`secure-rag delegations create|revoke|list`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.database.delegations import Limits, create_delegation, revoke_delegation
from secure_rag.database.engine import write
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model.ids import Compartment, LabelId, Micros, TenantKey
from secure_rag_acl.management import Action
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, instant, principal, tenant_name
from secure_rag_api.cli.output import emit, show_table, when
from secure_rag_api.wiring import Installation

app = typer.Typer(no_args_is_help=True)
_HOUR = 3_600_000_000
_COLUMNS = (
    "delegation",
    "for",
    "by",
    "agent",
    "ends",
    "parent",
    "label",
    "sources",
    "compartments",
    "purposes",
)


@app.callback()
def _group() -> None:
    """Let an agent act for somebody, or stop it."""


SourceOption = Annotated[list[str] | None, typer.Option(help="Only this source; repeat for more.")]
CompartmentOption = Annotated[list[str] | None, typer.Option(help="Only this compartment; repeat for more.")]
PurposeOption = Annotated[list[str] | None, typer.Option(help="Only this purpose; repeat for more.")]
ByOption = Annotated[
    str, typer.Option("--by", help="Previous hop: the application, or the agent of the parent.")
]
ForOption = Annotated[str | None, typer.Option("--for", help="Person that the first delegation is for.")]


@app.command("create")
def create(
    home: HomeOption,
    agent: Annotated[str, typer.Option(help="Agent that will act.")],
    by: ByOption,
    for_: ForOption = None,
    parent: Annotated[str | None, typer.Option(help="Delegation that is passed on.")] = None,
    label: Annotated[str | None, typer.Option(help="Highest label.")] = None,
    source: SourceOption = None,
    compartment: CompartmentOption = None,
    purpose: PurposeOption = None,
    expires: Annotated[str | None, typer.Option(help="ISO 8601; in one hour otherwise.")] = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Create one hop. What is not limited here is still limited by the agent's own grant."""
    with operating(home) as work:
        if (for_ is None) == (parent is None):
            raise InvalidRequestError("give --for to begin a chain, or --parent to pass one on")
        creator, delegate = principal(by), principal(agent)
        subject = None if for_ is None else principal(for_)
        opened, now = work.opened, work.opened.clock.now()
        name = tenant_name(opened.settings, tenant)
        work.require(Action.DELEGATIONS_MANAGE, name)
        key = opened.tenant_key(name)
        limits = _limits(opened, key, label, source, compartment, purpose)
        end = instant(expires) if expires else Micros(now + _HOUR)
        with write(opened.engine) as connection:
            try:
                public_id = create_delegation(
                    connection,
                    key,
                    creator=creator,
                    agent=delegate,
                    subject=subject,
                    parent=parent,
                    limits=limits,
                    now=now,
                    expires=end,
                )
            except PolicyError as error:
                raise InvalidRequestError(str(error)) from error
            # A delegation that is passed on ends no later than its parent.
            d = t.delegation.c
            end = Micros(
                connection.execute(sa.select(d.valid_to).where(d.public_id == public_id)).scalar_one()
            )
            body = {"creator": by, "agent": agent, "subject": for_, "parent": parent, "expires": end}
            work.record("delegation_created", body, tenant=name, event_id=public_id)
    emit({"delegation": public_id, "expires": when(end)}) if json_output else typer.echo(public_id)


@app.command("revoke")
def revoke(
    delegation: Annotated[str, typer.Argument(help="Identifier of the delegation.")],
    home: HomeOption,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """End a delegation and all that was passed on from it. The very next query is without it."""
    with operating(home) as work:
        opened = work.opened
        name = tenant_name(opened.settings, tenant)
        work.require(Action.DELEGATIONS_MANAGE, name)
        key = opened.tenant_key(name)
        with write(opened.engine) as connection:
            ended = revoke_delegation(connection, key, delegation, opened.clock.now())
            body = {"delegation": delegation, "ended": ended}
            work.record("delegation_revoked", body, tenant=name)
    emit({"ended": ended}) if json_output else typer.echo(f"{ended} ended")


@app.command("list")
def list_(home: HomeOption, tenant: TenantOption = None, json_output: JsonOption = False) -> None:
    """Delegations that have not ended. An empty limit means: as far as the agent's own grant goes."""
    with operating(home) as work:
        opened = work.opened
        name = tenant_name(opened.settings, tenant)
        work.require(Action.DELEGATIONS_MANAGE, name)
        key = opened.tenant_key(name)
        with opened.reader.connect() as connection:
            rows = connection.execute(_live(key, opened.clock.now())).all()
    shown = [(*row[:4], when(row.valid_to), row.parent, row.label, *map(_names, row[7:])) for row in rows]
    if json_output:
        emit([dict(zip(_COLUMNS, x, strict=True)) for x in shown])
    else:
        show_table(_COLUMNS, [[_text(cell) for cell in x] for x in shown])


def _live(tenant: TenantKey, now: Micros) -> sa.Select[*tuple[Any, ...]]:
    who, agent, maker = t.principal.alias("who"), t.principal.alias("agent"), t.principal.alias("maker")
    above, d = t.delegation.alias("above"), t.delegation.c
    return (
        sa.select(
            d.public_id,
            who.c.name,
            maker.c.name,
            agent.c.name,
            d.valid_to,
            above.c.public_id.label("parent"),
            t.label.c.name.label("label"),
            d.sources,
            d.compartments,
            d.purposes,
        )
        .join(who, who.c.id == d.subject_id)
        .join(agent, agent.c.id == d.agent_id)
        .join(maker, maker.c.id == d.created_by)
        .outerjoin(above, above.c.id == d.parent_id)
        .outerjoin(t.label, sa.and_(t.label.c.tenant_id == d.tenant_id, t.label.c.guid == d.label))
        .where(d.tenant_id == tenant, d.valid_to > now)
        .order_by(d.id)
    )


def _names(stored: str | None) -> list[str] | None:
    return None if stored is None else list(json.loads(stored))


def _text(cell: object) -> str:
    if isinstance(cell, list):
        return ", ".join(str(x) for x in cell) or "none"
    return "" if cell is None else str(cell)


def _limits(
    opened: Installation,
    tenant: TenantKey,
    label: str | None,
    sources: Sequence[str] | None,
    compartments: Sequence[str] | None,
    purposes: Sequence[str] | None,
) -> Limits:
    """The limits, checked against what the tenant has: a misspelt one would silently allow nothing."""
    with opened.views.open() as view:
        labels = {x.name: x.id for x in view.taxonomy(tenant).labels.values()}
        known_sources = {name for name, _, _ in view.source_ages(tenant).values()}
    with opened.reader.connect() as connection:
        c = t.compartment.c
        rooms = set(connection.execute(sa.select(c.name).where(c.tenant_id == tenant)).scalars())
    found: LabelId | None = None
    if label is not None:
        _known("label", [label], labels)
        found = labels[label]
    return Limits(
        label=found,
        sources=_known("source", sources, known_sources),
        compartments=_known("compartment", compartments, {str(Compartment(x)) for x in rooms}),
        purposes=tuple(purposes) if purposes else None,
    )


def _known(
    what: str, given: Sequence[str] | None, known: set[str] | dict[str, LabelId]
) -> tuple[str, ...] | None:
    unknown = [x for x in given or () if x not in known]
    if unknown:
        raise InvalidRequestError(
            f"unknown {what} {unknown[0]!r}: one of {', '.join(sorted(known)) or 'none'}"
        )
    return tuple(given) if given else None
