"""`secure-rag acl parity`."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_rag_acl.management import Action
from secure_rag_acl.parity import parity
from secure_rag_api.cli.operation import operating
from secure_rag_api.cli.options import HomeOption, JsonOption, TenantOption, tenant_name
from secure_rag_api.cli.output import emit, show_pairs, show_table
from secure_rag_api.mapping_names import readable_sources

_COLUMNS = ("kind", "why", "documents", "examples", "entries")


def show_parity(
    source: Annotated[str, typer.Option("--source", help="Source to compare.")],
    home: HomeOption,
    tenant: TenantOption = None,
    json_output: JsonOption = False,
) -> None:
    """Where the source shows more than we do, by reason: we are narrower, never wider."""
    with operating(home) as work:
        key = work.opened.tenant_key(tenant_name(work.opened.settings, tenant))
        (row,) = readable_sources(work.opened, key, work.actor, source, Action.POLICY_READ)
        with work.opened.reader.connect() as connection, connection.begin():
            found = parity(connection, row.key, row.name)
    if json_output:
        emit(found.to_dict())
        return
    show_pairs({"source": found.source, "documents": found.documents, "no known difference": found.equal})
    if found.differences:
        show_table(
            _COLUMNS,
            [
                (x.kind, x.why, x.documents, ", ".join(x.samples), "; ".join(x.entries))
                for x in found.differences
            ],
        )
