"""`secure-rag runs list|show`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from secure_rag.database import tables as t
from secure_rag.errors import NotFoundError
from secure_rag_acl.management import Action
from secure_rag_api.cli.operation import Operation, operating
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import emit, show_pairs, show_table, when
from secure_rag_ingestion.runs import Outcome

app = typer.Typer(no_args_is_help=True)
_COLUMNS: tuple[str, ...] = (
    "run",
    "tenant",
    "source",
    "reads",
    "status",
    "started",
    "finished",
    "by",
    "items",
    "detail",
)


@app.callback()
def _group() -> None:
    """What ingest runs did."""


@app.command("list")
def list_(
    home: HomeOption,
    limit: Annotated[int, typer.Option(min=1, help="Newest runs to show.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Runs, newest first."""
    with operating(home) as work, work.opened.reader.connect() as connection:
        shown = [_shown(row) for row in islice(_readable(work, connection), limit)]
    if json_output:
        emit([dict(zip(_COLUMNS, x, strict=True)) for x in shown])
    else:
        show_table(_COLUMNS, shown)


@app.command("show")
def show(
    run: Annotated[str, typer.Argument(help="Identifier of the run.")],
    home: HomeOption,
    outcome: Annotated[Outcome | None, typer.Option(help="Only items with this outcome.")] = None,
    json_output: JsonOption = False,
) -> None:
    """One run with every item: outcome, reason code, durations."""
    with operating(home) as work, work.opened.reader.connect() as connection:
        head = connection.execute(_runs().where(t.run.c.public_id == run)).one_or_none()
        if head is None:
            raise NotFoundError(f"there is no run {run!r}; `secure-rag runs list` shows what there is")
        work.require(Action.RUNS_READ, head.tenant, head.source)
        items = [_item(row) for row in connection.execute(_items(run, outcome)).all()]
    summary = dict(zip(_COLUMNS, _shown(head), strict=True))
    if json_output:
        emit({"run": summary, "items": items})
        return
    show_pairs(summary)
    columns = ("item", "outcome", "reason", "detail", "chunks", "total_ms")
    show_table(columns, [[x[c] for c in columns] for x in items])


def _readable(work: Operation, connection: sa.Connection) -> Iterator[sa.Row[*tuple[Any, ...]]]:
    """Runs of the sources whose runs the operator may read, newest first."""
    known: dict[tuple[str, str], bool] = {}
    for row in connection.execute(_runs()):
        key = (str(row.tenant), str(row.source))
        if key not in known:
            known[key] = work.may(Action.RUNS_READ, *key)
        if known[key]:
            yield row


def _items(run: str, outcome: Outcome | None) -> sa.Select[*tuple[Any, ...]]:
    i = t.run_item.c
    statement = sa.select(t.run_item).join(t.run, t.run.c.id == i.run_id).where(t.run.c.public_id == run)
    if outcome is not None:
        statement = statement.where(i.outcome == outcome.value)
    return statement.order_by(i.id)


def _item(row: sa.Row[*tuple[Any, ...]]) -> dict[str, object]:
    return {
        "item": row.native_id,
        "outcome": row.outcome,
        "reason": row.reason,
        "detail": row.detail,
        "version": row.version,
        "class_before": row.class_before,
        "class_after": row.class_after,
        "chunks": row.chunks,
        "parse_ms": round(row.parse_us / 1000, 1),
        "embed_ms": round(row.embed_us / 1000, 1),
        "total_ms": round(row.total_us / 1000, 1),
    }


def _runs() -> sa.Select[*tuple[Any, ...]]:
    count = sa.select(sa.func.count()).where(t.run_item.c.run_id == t.run.c.id).scalar_subquery()
    return (
        sa.select(
            t.run, t.source.c.name.label("source"), t.tenant.c.name.label("tenant"), count.label("items")
        )
        .join(t.source, t.source.c.id == t.run.c.source_id)
        .join(t.tenant, t.tenant.c.id == t.run.c.tenant_id)
        .order_by(t.run.c.id.desc())
    )


def _shown(row: sa.Row[*tuple[Any, ...]]) -> Sequence[object]:
    return (
        row.public_id,
        row.tenant,
        row.source,
        row.kind,
        row.status,
        when(row.started_at),
        when(row.finished_at),
        row.started_by,
        row.items,
        row.detail,
    )
