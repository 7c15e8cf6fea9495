"""`secure-rag backup` and `secure-rag restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_rag.database.backup import back_up
from secure_rag.database.backup import restore as restore_home
from secure_rag.database.home import Home
from secure_rag_api.cli.common import HomeOption, JsonOption, emit, operator, reports_errors
from secure_rag_api.clock import SystemClock
from secure_rag_api.wiring import open_installation


@reports_errors
def backup(
    target: Annotated[
        Path, typer.Argument(help="New folder for the backup; it holds text and keys: guard it.")
    ],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Copy a home consistently while it is in use."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        files = back_up(opened.home, target, opened.clock.now())
        body = {"by": actor, "files": files}
        opened.audit.record(opened.settings.tenant or "", "backup", opened.new_id(), body)
    emit({"backup": str(target), "files": files}) if json_output else typer.echo(
        f"{len(files)} files in {target}"
    )


@reports_errors
def restore(
    source: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Make a new home from a backup. It serves nothing until directory and sources are read again."""
    restore_home(source, Home(home.resolve()), SystemClock().now())
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        body = {"by": actor, "from": str(source)}
        opened.audit.record(opened.settings.tenant or "", "restore", opened.new_id(), body)
    next_steps = ["secure-rag directory import …", "secure-rag ingest run"]
    if json_output:
        emit({"home": str(home), "next": next_steps})
    else:
        typer.echo(f"Restored {home}. Nothing is served until: {'; '.join(next_steps)}")
