"""`secure-rag acl unresolved`. Further commands of the group are in files `acl_*.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure_rag.errors import InvalidRequestError
from secure_rag_acl.data_files import read_bytes
from secure_rag_acl.fields import StrictModel
from secure_rag_acl.management import Action
from secure_rag_acl.mapping_edits import NewLine
from secure_rag_acl.principal_lines import PrincipalEntry
from secure_rag_acl.unresolved import Unresolved, confirmations
from secure_rag_acl.yaml_files import parse_yaml
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, printable, show_table
from secure_rag_api.mapping_names import (
    Confirmed,
    SourceNames,
    SourceRow,
    confirm,
    names_of,
    readable_sources,
)

app = typer.Typer(no_args_is_help=True)
SourceOption = Annotated[str | None, typer.Option("--source", help="Only this source.", show_default=False)]
_COLUMNS = ("source", "effect", "name", "why", "documents", "examples", "suggestion")


@app.callback()
def _group() -> None:
    """Permissions: what the mappings leave open, and how sources compare."""


class _Confirmed(StrictModel):
    """A file of lines that somebody has looked through."""

    principals: list[PrincipalEntry]


@app.command("unresolved")
def unresolved(
    home: HomeOption,
    source: SourceOption = None,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Look in the directory for the same identifier or address.")
    ] = False,
    confirm_file: Annotated[
        Path | None,
        typer.Option("--confirm", help="File with `principals:` lines to put into the mapping of --source."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Put every suggestion into the mapping of --source.")
    ] = False,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Names of sources that mean nobody, those that close documents first.

    Exit code 1 when there are some. What is confirmed takes effect with the next run of the source.
    """
    if confirm_file is not None and yes:
        raise InvalidRequestError("either --confirm or --yes")
    if (confirm_file is not None or yes) and source is None:
        raise InvalidRequestError("to confirm names, say of which source with --source")
    with operating(home) as work:
        key = work.opened.tenant_key(tenant_name(work.opened.settings, tenant))
        rows = readable_sources(work.opened, key, work.actor, source, Action.POLICY_READ)
        found = [names_of(work.opened, key, x, suggest=suggest or yes) for x in rows]
        if confirm_file is not None or yes:
            lines = _read(confirm_file) if confirm_file is not None else confirmations(found[0].names)
            _show_confirmed(_confirm(work, found[0], lines), lines, json_output=json_output)
            return
    _show(found, json_output=json_output)
    raise typer.Exit(ExitCode.ATTENTION if any(x.names for x in found) else ExitCode.DONE)


def _confirm(work: Operation, found: SourceNames, lines: list[NewLine]) -> Confirmed | None:
    if not lines:
        return None
    key = work.opened.tenant_key(found.manifest.tenant)
    return confirm(work.opened, key, work.actor, found.source, lines)


def _read(path: Path) -> list[NewLine]:
    """Lines of a file, `principals: [{native, principal, merge}]`.

    Raises:
        ConfigError: it is malformed; names file and line.
    """
    file = parse_yaml(read_bytes(path), str(path))
    entries = file.validate(_Confirmed).principals
    for index, entry in enumerate(entries):
        if entry.native is None:
            raise file.error(("principals", index), "only names are confirmed; write other lines by hand")
    return [NewLine(x.native, x.fixed, x.merge) for x in entries if x.native is not None]


def _show(found: list[SourceNames], *, json_output: bool) -> None:
    if json_output:
        emit(
            {
                "sources": [
                    {
                        "source": x.source.name,
                        "warning": x.warning,
                        "names": [name.to_dict() for name in x.names],
                    }
                    for x in found
                ]
            }
        )
        return
    show_table(_COLUMNS, [_row(x.source, name) for x in found for name in x.names])
    for x in found:
        if x.warning is not None:
            typer.echo(f"{x.source.name}: {printable(x.warning)}", err=True)


def _row(source: SourceRow, name: Unresolved) -> tuple[object, ...]:
    why = f"{name.why}: {' or '.join(name.candidates)}" if name.candidates else name.why
    offered = name.suggestion
    suggestion = "" if offered is None else f"{offered.principal} (by {offered.by})"
    shown = name.name if name.display is None else f"{name.name} ({name.display})"
    return source.name, name.effect, shown, why, name.documents, ", ".join(name.samples), suggestion


def _show_confirmed(done: Confirmed | None, lines: list[NewLine], *, json_output: bool) -> None:
    if json_output:
        written = {} if done is None else {"mapping": str(done.path), "proposal": done.proposal}
        emit({"mapping": None, "proposal": False, **written, "lines": [x.data() for x in lines]})
        return
    if done is None:
        typer.echo("nothing to confirm")
        return
    show_table(("name", "principal"), [(x.native, x.principal) for x in lines])
    then = (
        "secure-rag acl plan, since an applied version decides" if done.proposal else "secure-rag ingest run"
    )
    typer.echo(f"written to {printable(str(done.path))}; now: {then}")
