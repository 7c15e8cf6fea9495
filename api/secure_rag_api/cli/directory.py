"""`secure-rag directory import` and `secure-rag labels import|list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag_acl.directory import import_directory
from secure_rag_acl.directory_files import load_directory
from secure_rag_acl.labels import import_labels, load_labels
from secure_rag_api.cli.common import (
    ExitCode,
    HomeOption,
    JsonOption,
    TenantOption,
    emit,
    operator,
    reports_errors,
    show_pairs,
    show_table,
    tenant_name,
)
from secure_rag_api.wiring import open_installation

app = typer.Typer(no_args_is_help=True)
labels_app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Users, groups, applications, agents and their grants."""


@app.command("import")
@reports_errors
def import_(
    file: Annotated[
        Path, typer.Argument(help="directory.yaml, directory.json or a folder with users.csv and groups.csv.")
    ],
    home: HomeOption,
    forget: Annotated[
        list[str] | None, typer.Option(help="Deleted group whose old links may end now; repeat for more.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Import a directory. All of it takes effect at once, or none."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        report = import_directory(
            opened.engine, load_directory(file), actor=actor, now=opened.clock.now(), forget=forget or ()
        )
        body = report.to_dict()
        opened.audit.record(
            report.tenant, "directory_import", opened.new_id(), {"by": actor, **report.counts()}
        )
    emit(body) if json_output else show_pairs(body)
    raise typer.Exit(ExitCode.ATTENTION if report.needs_attention else ExitCode.DONE)


@labels_app.command("import")
@reports_errors
def import_labels_(
    file: Annotated[Path, typer.Argument(help="labels.yaml")],
    home: HomeOption,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Allow an order or default that may widen access.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Import the label taxonomy and the compartments of a tenant."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        report = import_labels(
            opened.engine,
            load_labels(file),
            actor=actor,
            now=opened.clock.now(),
            accept_changes=accept_changes,
        )
        body = report.to_dict()
        opened.audit.record(report.tenant, "labels_import", opened.new_id(), {"by": actor, **body})
    emit(body) if json_output else show_pairs(body)


@labels_app.command("list")
@reports_errors
def list_labels(home: HomeOption, tenant: TenantOption = None, json_output: JsonOption = False) -> None:
    """Labels of a tenant, lowest first."""
    with open_installation(home) as opened, opened.reader.connect() as connection:
        x = t.label.c
        rows = connection.execute(
            sa.select(x.priority, x.name, x.guid)
            .join(t.tenant, t.tenant.c.id == x.tenant_id)
            .where(t.tenant.c.name == tenant_name(opened.settings, tenant))
            .order_by(x.priority)
        ).all()
    if json_output:
        emit([{"priority": r.priority, "name": r.name, "id": r.guid} for r in rows])
    else:
        show_table(("priority", "name", "id"), rows)
