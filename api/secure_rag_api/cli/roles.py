"""`secure-rag roles import|list`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.database.views import ReadView
from secure_rag.model.ids import Micros, TenantKey
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.management import Action
from secure_rag_acl.role_files import RolesEntry, import_roles
from secure_rag_acl.yaml_files import parse_yaml
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, show_pairs, show_table, when

app = typer.Typer(no_args_is_help=True)
_COLUMNS = ("principal", "role", "source", "until")


@app.callback()
def _group() -> None:
    """Who manages what: data owners, auditors, ingestion engineers, agent registrars, security officers."""


@app.command("import")
def import_(
    home: HomeOption,
    file: Annotated[Path, typer.Option("--file", "-f", help="roles.yaml")],
    json_output: JsonOption = False,
) -> None:
    """Make the roles of a tenant what a file says. From the first import on, an operator has only these."""
    with operating(home) as work:
        tenant = parse_yaml(read_bytes(file), str(file)).validate(RolesEntry).tenant
        work.require(Action.ROLES_ASSIGN, tenant)
        opened, event = work.opened, work.opened.new_id()
        work.record("roles_import_started", {"file": file.name}, tenant=tenant, event_id=f"{event}-started")
        report = import_roles(
            opened.engine,
            file,
            actor=work.actor,
            now=opened.clock.now(),
            view_of=ReadView,
            policy=opened.management,
        )
        work.record("roles_import", asdict(report), tenant=report.tenant, event_id=event)
    emit(asdict(report)) if json_output else show_pairs(asdict(report))


@app.command("list")
def list_(home: HomeOption, tenant: TenantOption = None, json_output: JsonOption = False) -> None:
    """Roles that hold now. Without any, operators of the home have all of them."""
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        key = work.opened.tenant_key(name)
        work.require(Action.POLICY_READ, name)
        with work.opened.reader.connect() as connection:
            rows = connection.execute(_live(key, work.opened.clock.now())).all()
    shown = [(r.name, r.role, r.source, when(r.valid_to)) for r in rows]
    if json_output:
        emit([dict(zip(_COLUMNS, x, strict=True)) for x in shown])
    else:
        show_table(_COLUMNS, [["every source" if x is None else x for x in row] for row in shown])


def _live(tenant: TenantKey, now: Micros) -> sa.Select[*tuple[Any, ...]]:
    r, p, s = t.role_assignment.c, t.principal.c, t.source.c
    return (
        sa.select(p.name, r.role, s.name.label("source"), r.valid_to)
        .join(t.principal, p.id == r.principal_id)
        .outerjoin(t.source, s.id == r.source_id)
        .where(r.tenant_id == tenant, r.valid_from <= now, r.valid_to > now)
        .order_by(p.name, r.role, s.name)
    )
