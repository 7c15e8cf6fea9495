"""`secure-rag acl lint`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.database.views import ReadView
from secure_rag.errors import SecureRagError
from secure_rag.model.ids import SourceKey, TenantKey
from secure_rag_acl.formats.resolve import FormatPermissionMapper
from secure_rag_acl.known_names import read_known_names
from secure_rag_acl.lint import LintFinding
from secure_rag_acl.lint import lint as find
from secure_rag_acl.management import Action
from secure_rag_acl.mappings import FilePermissionMapper, Rule
from secure_rag_api.change_control import in_force, open_mapper
from secure_rag_api.cli.boundary import ExitCode
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, printable
from secure_rag_ingestion.sources import load_manifest


def lint(
    home: HomeOption,
    source: Annotated[
        str | None, typer.Option("--source", help="Only this source.", show_default=False)
    ] = None,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Look for permissions that are probably not meant, each with a hint. Exit code 1 when there are some.

    The text of documents is looked through for markings, and none of it is shown; that is recorded.
    """
    with operating(home) as work:
        name = tenant_name(work.opened.settings, tenant)
        key = work.opened.tenant_key(name)
        if source is not None:
            work.require(Action.POLICY_READ, name, source)
        with work.opened.views.open() as view:
            chosen = _sources(work, view, key, name, source)
            if not chosen:
                work.require(Action.POLICY_READ, name, source)
            work.record("acl_linted", {"sources": sorted(x for x, _ in chosen.values())}, tenant=name)
            rules, left = _rules(view, key, list(chosen.values()))
            found = find(view, key, {k: x for k, (x, _) in chosen.items()}, rules)
    _show(found, left, json_output=json_output)
    raise typer.Exit(ExitCode.ATTENTION if found or left else ExitCode.DONE)


def _sources(
    work: Operation, view: ReadView, tenant: TenantKey, name: str, source: str | None
) -> dict[SourceKey, tuple[str, Path]]:
    """Sources whose policy the operator may read."""
    s = t.source.c
    rows = view._connection.execute(sa.select(s.id, s.name, s.manifest).where(s.tenant_id == tenant)).all()
    return {
        SourceKey(key): (str(found), Path(manifest))
        for key, found, manifest in rows
        if source in (None, found) and work.may(Action.POLICY_READ, name, found)
    }


def _rules(
    view: ReadView, tenant: TenantKey, sources: Sequence[tuple[str, Path]]
) -> tuple[dict[str, Sequence[Rule]], list[str]]:
    """Rules in force of each mapping, and sources whose mapping cannot be read."""
    rules: dict[str, Sequence[Rule]] = {}
    left: list[str] = []
    known = read_known_names(view._connection, tenant, view.now)
    for name, path in sources:
        try:
            decided = in_force(view._connection, tenant, load_manifest(path))
            mapper, _ = open_mapper(decided.manifest, decided.mapping, known)
        except SecureRagError as error:
            left.append(f"{name}: {error}")
            continue
        if isinstance(mapper, FilePermissionMapper | FormatPermissionMapper):
            rules[name] = mapper.rules
    return rules, left


def _show(found: Sequence[LintFinding], left: Sequence[str], *, json_output: bool) -> None:
    if json_output:
        emit({"findings": [x.to_dict() for x in found], "not_read": list(left)})
        return
    for x in found:
        many = f", {x.documents} documents ({', '.join(x.samples)})" if x.documents else ""
        typer.echo(printable(f"{x.check.value}: {x.source or 'tenant'}: {x.what}{many}"))
        typer.echo(printable(f"  {x.hint}"))
    for line in left:
        typer.echo(printable(f"! the mapping cannot be read: {line}"))
    typer.echo(f"{len(found)} findings." if found else "Nothing found.")
