"""`secure-rag acl drift`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_rag.errors import InvalidRequestError
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption
from secure_rag_api.cli.output import emit, printable, show_pairs, show_table
from secure_rag_api.drift import Drifted, DriftReport, check_drift
from secure_rag_api.permission_syncing import chosen_sources
from secure_rag_ingestion.runs import RunStatus

_DEFAULT = 200
_COLUMNS = ("document", "now", "reason", "lost", "gained", "entries lost", "entries gained")


def drift(
    source: Annotated[str, typer.Option("--source", help="Name or manifest of the source.")],
    home: HomeOption,
    sample: Annotated[
        int | None, typer.Option("--sample", min=1, help=f"Documents to look at; {_DEFAULT} otherwise.")
    ] = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Look at every document.")] = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Compare the index with the source's permissions now, and bring what differs in line at once.

    No content is opened. A document whose permissions cannot be read is withheld. Exit code 1 when anything differed
    or could not be read.
    """
    if sweep and sample is not None:
        raise InvalidRequestError("either --sample or --sweep")
    with operating(home) as work:
        (manifest,) = chosen_sources(work.opened, tenant, source)
        wanted = None if sweep else sample or _DEFAULT
        report = check_drift(work.opened, manifest, work.actor, wanted)
    emit(report.to_dict()) if json_output else _show(report)
    clean = not report.drifted and report.run.status is RunStatus.COMPLETED
    raise typer.Exit(ExitCode.DONE if clean else ExitCode.ATTENTION)


def _show(report: DriftReport) -> None:
    run = report.run
    interval = "" if report.low == report.high else f" (95 %: {report.low:.2%} to {report.high:.2%})"
    show_pairs(
        {
            "source": f"{run.tenant}/{run.source}",
            "checked": f"{run.checked} of {report.documents} documents in view",
            "drifted": f"{len(report.drifted)}, {report.wider} of them wider in the index than at the source",
            "rate": f"{report.rate:.2%}{interval}",
            "run": run.run_id,
        }
    )
    if report.drifted:
        show_table(_COLUMNS, [_row(x) for x in report.drifted])
    if run.detail:
        typer.echo(printable(f"{run.status.value}: {run.detail}"), err=True)


def _row(found: Drifted) -> tuple[object, ...]:
    names = found.difference
    lists = ((), (), (), ()) if names is None else (
        names.lost, names.gained, names.entries_lost, names.entries_gained
    )  # fmt: skip
    now = "withheld" if names is None else "as at the source"
    return (found.document, now, found.reason, *(", ".join(x) for x in lists))
