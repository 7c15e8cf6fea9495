"""`secure-rag quarantine list|show|release`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_rag.database import quarantine as db
from secure_rag.database.engine import write
from secure_rag_api.cli.common import (
    HomeOption,
    JsonOption,
    emit,
    operator,
    printable,
    reports_errors,
    show_pairs,
    show_table,
    when,
)
from secure_rag_api.wiring import open_installation

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Documents that detectors held back."""


@app.command("list")
@reports_errors
def list_(home: HomeOption, json_output: JsonOption = False) -> None:
    """Every quarantined document with the detectors that hit."""
    with open_installation(home) as opened, opened.reader.connect() as connection:
        operator(opened.settings)
        rows = [
            {
                "document": x.public_id,
                "tenant": x.tenant,
                "path": f"{x.source}/{x.native_id}",
                "contributor": x.contributor,
                "version": x.version,
                "detectors": sorted({f.detector for f in db.findings(connection, x)}),
            }
            for x in db.quarantined(connection)
        ]
    if json_output:
        emit(rows)
    else:
        columns = ("document", "tenant", "path", "contributor", "version", "detectors")
        show_table(columns, [[_join(x[c]) for c in columns] for x in rows])


@app.command("show")
@reports_errors
def show(
    document: Annotated[str, typer.Argument(help="Identifier of the document.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Findings with their evidence, and reviews. The text is shown as inert text; looking is recorded."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        with opened.reader.connect() as connection:
            found = db.find(connection, document)
            findings = db.findings(connection, found)
            reviews = db.reviews(connection, found)
            text = db.maintenance_text(connection, found)
        body = {"by": actor, "document": document, "version": found.version}
        opened.audit.record(found.tenant, "quarantine_viewed", opened.new_id(), body)
    head = {
        "document": found.public_id,
        "path": f"{found.source}/{found.native_id}",
        "title": found.title,
        "state": found.state.name.lower(),
        "version": found.version,
        "sha256": found.content_sha256,
        "contributor": found.contributor,
    }
    evidence = [
        {
            "detector": f.detector,
            "verdict": f.verdict.value,
            "rule": f.rule,
            "span": f.span,
            "evidence": f.evidence,
        }
        for f in findings
    ]
    decided = [{"action": r.action, "by": r.reviewer, "at": when(r.at), "note": r.note} for r in reviews]
    if json_output:
        emit({**head, "findings": evidence, "reviews": decided, "text": text})
        return
    show_pairs(head)
    for x in evidence:
        typer.echo(printable(f"- {x['detector']} ({x['verdict']}), {x['rule']}: {x['evidence']}"))
    for r in decided:
        typer.echo(printable(f"- {r['action']} by {r['by']} at {r['at']}: {r['note']}"))
    typer.echo(printable(text))


@app.command("release")
@reports_errors
def release(
    document: Annotated[str, typer.Argument(help="Identifier of the document.")],
    home: HomeOption,
    version: Annotated[int, typer.Option(help="Version that was reviewed.")],
    note: Annotated[str, typer.Option(help="Why it is harmless.")],
    json_output: JsonOption = False,
) -> None:
    """Release exactly this version. Its contributor cannot; a new version is scanned anew."""
    with open_installation(home) as opened:
        actor = operator(opened.settings)
        with write(opened.engine) as connection:
            found = db.release(
                connection, document, version=version, reviewer=actor, note=note, now=opened.clock.now()
            )
        body = {
            "by": actor,
            "document": document,
            "version": version,
            "sha256": found.content_sha256,
            "note": note,
        }
        opened.audit.record(found.tenant, "quarantine_released", opened.new_id(), body)
    emit({"released": document, "version": version}) if json_output else typer.echo(f"Released {document}")


def _join(value: object) -> object:
    return ", ".join(str(x) for x in value) if isinstance(value, list) else value
