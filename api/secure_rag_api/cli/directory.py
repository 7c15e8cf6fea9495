"""`secure-rag directory import` and `secure-rag labels import|list`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag_acl.identity_exports import DirectoryFormat, load_identities
from secure_rag_acl.labels import load_labels
from secure_rag_acl.management import Action
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, show_pairs, show_table
from secure_rag_api.importing import apply_directory, apply_labels

app = typer.Typer(no_args_is_help=True)
labels_app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Users, groups, applications, agents and their grants."""


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="directory.yaml, directory.json, a folder with users.csv and groups.csv, or an export."
        ),
    ],
    home: HomeOption,
    kind: Annotated[
        DirectoryFormat, typer.Option("--format", help="scim or ldif for exports of identity systems.")
    ] = DirectoryFormat.NATIVE,
    identity: Annotated[
        Path | None, typer.Option(help="identity.yaml: how an export's ids, kinds and clearances are made.")
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="Deleted group whose old links may end now; repeat for more.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Import a directory. All of it takes effect at once, or none. Exit code 1 when something is left doubtful."""
    with operating(home) as work:
        found = load_identities(file, kind, identity)
        work.require(Action.DIRECTORY_IMPORT, found.document.tenant)
        report = apply_directory(work.opened, found.document, work.actor, forget or ())
    said = {**report.to_dict(), "notes": list(found.notes)}
    emit(said) if json_output else show_pairs(said)
    attention = report.needs_attention or bool(found.notes)
    raise typer.Exit(ExitCode.ATTENTION if attention else ExitCode.DONE)


@labels_app.command("import")
def import_labels_(
    file: Annotated[Path, typer.Argument(help="labels.yaml")],
    home: HomeOption,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Allow an order or default that may widen access.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Import the label taxonomy and the compartments of a tenant."""
    with operating(home) as work:
        document = load_labels(file)
        work.require(Action.LABELS_APPLY, document.tenant)
        report = apply_labels(work.opened, document, work.actor, accept_changes=accept_changes)
    emit(report.to_dict()) if json_output else show_pairs(report.to_dict())


@labels_app.command("list")
def list_labels(home: HomeOption, tenant: TenantOption = None, json_output: JsonOption = False) -> None:
    """Labels of a tenant, lowest first."""
    with operating(home) as work, work.opened.reader.connect() as connection:
        key = work.opened.tenant_key(tenant_name(work.opened.settings, tenant))
        x = t.label.c
        rows = connection.execute(
            sa.select(x.priority, x.name, x.guid).where(x.tenant_id == key).order_by(x.priority)
        ).all()
    if json_output:
        emit([{"priority": r.priority, "name": r.name, "id": r.guid} for r in rows])
    else:
        show_table(("priority", "name", "id"), rows)
