"""`secure-rag quarantine list|show|release`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_rag.database import quarantine as db
from secure_rag.database.engine import write
from secure_rag.database.quarantine import Review, ReviewedDocument
from secure_rag.database.tables import DocumentState
from secure_rag.errors import InvalidRequestError, PolicyError
from secure_rag.model.findings import Finding
from secure_rag_acl.management import Action
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import emit, printable, printable_lines, show_pairs, show_table, when

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Documents that detectors held back."""


@app.command("list")
def list_(home: HomeOption, json_output: JsonOption = False) -> None:
    """Every quarantined document with the detectors that hit."""
    with operating(home) as work, work.opened.reader.connect() as connection:
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
            if work.may(Action.QUARANTINE_REVIEW, x.tenant, x.source)
        ]
    if json_output:
        emit(rows)
    else:
        columns = ("document", "tenant", "path", "contributor", "version", "detectors")
        show_table(columns, [[_join(x[c]) for c in columns] for x in rows])


@app.command("show")
def show(
    document: Annotated[str, typer.Argument(help="Identifier of the document.")],
    home: HomeOption,
    json_output: JsonOption = False,
) -> None:
    """Findings with their evidence, and reviews. The text is shown as inert text; looking is recorded.

    The text of a document that is not in quarantine is not shown: what is live is read like by anybody else.
    """
    with operating(home) as work:
        with work.opened.reader.connect() as connection, connection.begin():
            found = db.find(connection, document)
            work.require(Action.QUARANTINE_REVIEW, found.tenant, found.source)
            findings = db.findings(connection, found)
            reviews = db.reviews(connection, found)
            held = found.state is DocumentState.QUARANTINED
            shown = db.maintenance_text(connection, found) if held else None
        body = {"document": document, "version": found.version, "read": held}
        work.record("quarantine_viewed", body, tenant=found.tenant)
    if json_output:
        emit({**_head(found), "findings": _evidence(findings), "reviews": _decided(reviews), "text": shown})
        return
    show_pairs(_head(found))
    for x in _evidence(findings):
        typer.echo(printable(f"- {x['detector']} ({x['verdict']}), {x['rule']}: {x['evidence']}"))
    for r in _decided(reviews):
        typer.echo(printable(f"- {r['action']} by {r['by']} at {r['at']}: {r['note']}"))
    typer.echo("Not in quarantine; its text is not shown." if shown is None else printable_lines(shown))


@app.command("release")
def release(
    document: Annotated[str, typer.Argument(help="Identifier of the document.")],
    home: HomeOption,
    version: Annotated[int, typer.Option(help="Version that was reviewed.")],
    note: Annotated[str, typer.Option(help="Why it is harmless.")],
    json_output: JsonOption = False,
) -> None:
    """Release exactly this version. Its contributor cannot; a new version is scanned anew."""
    with operating(home) as work:
        if not note.strip():
            raise InvalidRequestError("--note: say why it is harmless")
        now = work.opened.clock.now()
        with work.opened.reader.connect() as reading:
            held = db.find(reading, document)
        work.require(Action.QUARANTINE_REVIEW, held.tenant, held.source)
        with write(work.opened.engine) as connection:
            try:
                found = db.release(
                    connection, document, version=version, reviewer=work.actor, note=note, now=now
                )
            except PolicyError as error:
                raise InvalidRequestError(str(error)) from error
            body = {"document": document, "version": version, "sha256": found.content_sha256, "note": note}
            work.record("quarantine_released", body, tenant=found.tenant)
        work.opened.documents_changed()
    emit({"released": document, "version": version}) if json_output else typer.echo(f"Released {document}")


def _head(found: ReviewedDocument) -> dict[str, object]:
    return {
        "document": found.public_id,
        "tenant": found.tenant,
        "path": f"{found.source}/{found.native_id}",
        "title": found.title,
        "state": found.state.name.lower(),
        "version": found.version,
        "sha256": found.content_sha256,
        "contributor": found.contributor,
    }


def _evidence(findings: list[Finding]) -> list[dict[str, object]]:
    return [
        {
            "detector": f.detector,
            "verdict": f.verdict.value,
            "rule": f.rule,
            "span": f.span,
            "evidence": f.evidence,
        }
        for f in findings
    ]


def _decided(reviews: list[Review]) -> list[dict[str, object]]:
    return [{"action": r.action, "by": r.reviewer, "at": when(r.at), "note": r.note} for r in reviews]


def _join(value: object) -> object:
    return ", ".join(str(x) for x in value) if isinstance(value, list) else value
