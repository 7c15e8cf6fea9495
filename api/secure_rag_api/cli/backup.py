"""`secure-rag backup` and `secure-rag restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_rag.config import load_settings
from secure_rag.database.backup import back_up
from secure_rag.database.backup import restore as restore_home
from secure_rag.database.home import Home
from secure_rag.errors import ConfigError
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import emit, printable
from secure_rag_api.clock import SystemClock
from secure_rag_api.operators import operator


def backup(
    target: Annotated[
        Path, typer.Argument(help="New folder for the backup; it holds text and keys: guard it.")
    ],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Copy a home consistently while it is in use."""
    with operating(home) as work:
        # Before anything is copied: a copy of everything must not exist without a trace.
        work.record("backup", {"to": str(target.resolve())})
        files = back_up(work.opened.home, target, work.opened.clock.now())
    if json_output:
        emit({"backup": str(target), "files": files})
    else:
        typer.echo(printable(f"{len(files)} files in {target}"))


def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Make a new home from a backup. It serves nothing until directory and sources are read again."""
    if not (source / "config.yaml").is_file():
        raise ConfigError(f"{source}: not a backup")
    operator(load_settings(source))
    restore_home(source, Home(home), SystemClock().now())
    with operating(home) as work:
        work.record("restore", {"from": str(source.resolve())})
    directory = home / "directory.yaml"
    steps = [
        f"secure-rag directory import {directory if directory.is_file() else 'FILE'} --home {home}",
        f"secure-rag ingest run --home {home}",
    ]
    if json_output:
        emit({"home": str(home), "next": steps})
    else:
        typer.echo(printable(f"Restored {home}. Nothing is served until:"))
        for step in steps:
            typer.echo(printable(f"  {step}"))
