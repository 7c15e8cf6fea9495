"""`secure-rag upgrade`: bring a home of an older release to this one."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from secure_rag.audit.events import INSTALLATION
from secure_rag.audit.log import AuditLog, AuditOptions
from secure_rag.audit.signing import load_signer
from secure_rag.config import load_settings
from secure_rag.database import migrations
from secure_rag.database.backup import back_up
from secure_rag.database.home import Home
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import emit
from secure_rag_api.clock import SystemClock
from secure_rag_api.operators import operator


def upgrade(
    home: HomeOption,
    backup: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the backup; beside the home otherwise. It holds text and keys: guard it.",
            show_default=False,
            resolve_path=True,
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Back a home up, then bring its control database to this release: whole or not at all.

    Stop the service and ingest runs first: they were started with the older release.
    """
    installed = Home(home.resolve())
    found, head = installed.revision(), migrations.HEAD
    settings = load_settings(installed.root)
    actor = operator(settings)
    if found == head:
        result = {"from": found, "to": head, "backup": None}
        emit(result) if json_output else typer.echo(f"{home} is at revision {head} already.")
        return
    if found not in migrations.REVISIONS:
        # Nothing that an upgrade could help with; the check says what it is.
        installed.check()
    target = backup or _beside(installed.root, found)
    clock = SystemClock()
    back_up(installed, target, clock.now())
    result = {"from": found, "to": head, "backup": str(target)}
    options = AuditOptions(
        checkpoint_every=settings.audit.checkpoint_every, keep_query_text=settings.audit.query_text
    )
    # Not through the installation, which an older revision keeps closed. Recorded before it is done.
    with AuditLog(installed.audit, load_signer(installed.keys), clock, options) as audit:
        audit.record(INSTALLATION, "upgrade", secrets.token_hex(16), {"by": actor, **result})
        installed.upgrade()
    installed.check()
    if json_output:
        emit(result)
    else:
        typer.echo(f"{home}: revision {found} is now {head}. The backup is in {target}")


def _beside(root: Path, found: str | None) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return root.with_name(f"{root.name}.backup-{found}-{stamp}")
