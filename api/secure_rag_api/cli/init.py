"""`secure-rag init`: create a home, asking what it would be dangerous to guess."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
import yaml

from secure_rag.config import Profile
from secure_rag.errors import InvalidRequestError
from secure_rag.model.ids import name, principal_id
from secure_rag_api.cli.common import HomeOption, JsonOption, emit, reports_errors
from secure_rag_api.cli.starter import write_starter
from secure_rag_api.wiring import create_installation


@reports_errors
def init(
    home: HomeOption,
    tenant: Annotated[str | None, typer.Option(help="Name of the tenant, for example your company.")] = None,
    documents: Annotated[
        Path | None, typer.Option(help="Folder of documents to register as a source.")
    ] = None,
    readers: Annotated[
        str | None, typer.Option(help="Who may read them: `everyone`, `nobody` or principals with commas.")
    ] = None,
    default_label: Annotated[
        str | None,
        typer.Option(
            help="Label of documents without one: Public, General, Internal, Confidential, Restricted."
        ),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(help="Principal that you act as in management commands, for example user:ada."),
    ] = None,
    production: Annotated[bool, typer.Option("--production", help="Not a development home.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Create a home: databases, keys, settings and, for a first folder, source, mapping, labels and directory."""
    tenant = name(tenant or _ask("Name of the tenant (a-z, 0-9, -)", "acme"), "tenant")
    who = principal_id(operator or _ask("You are (a principal)", f"user:{_user()}"))
    profile = Profile.PRODUCTION if production else Profile.DEVELOPMENT
    settings = {"profile": profile.value, "tenant": tenant, "operators": {getpass.getuser(): who}}
    written: list[Path] = []
    if documents is not None:
        readers = readers or _ask("Who may read these documents? (everyone, nobody, or principals)", "nobody")
        default_label = default_label or _ask("Label of documents that carry none", "Restricted")
    created = create_installation(home, yaml.safe_dump(settings, sort_keys=False))
    if documents is not None and readers is not None and default_label is not None:
        written = write_starter(created.root, tenant, who, documents.resolve(), readers, default_label)
    next_steps = [f"secure-rag labels import {x} --home {home}" for x in written if x.name == "labels.yaml"]
    next_steps += [
        f"secure-rag directory import {x} --home {home}" for x in written if x.name == "directory.yaml"
    ]
    next_steps += [f"secure-rag ingest run {x} --home {home}" for x in written if x.name == "source.yaml"]
    if json_output:
        emit(
            {
                "home": str(created.root),
                "tenant": tenant,
                "files": [str(x) for x in written],
                "next": next_steps,
            }
        )
        return
    typer.echo(f"Created {created.root} (profile {profile.value}, tenant {tenant}).")
    for path in written:
        typer.echo(f"  wrote {path}")
    for step in next_steps:
        typer.echo(f"Next: {step}")


def _ask(question: str, default: str) -> str:
    try:
        return str(typer.prompt(question, default=default, err=True))
    except typer.Abort as error:
        raise InvalidRequestError(
            f"not answered: {question}; see the options of `secure-rag init --help`"
        ) from error


def _user() -> str:
    return (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in getpass.getuser().lower()).strip("-")
        or "me"
    )
