"""How commands print: text for people, JSON for programs, and nothing that could steer a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from secure_rag.model.ids import NEVER

_PLAIN_WIDTH = 160


def emit(document: object) -> None:
    """One JSON document on one line.

    Only what a terminal may print as it is stays as it is: output ends up there too, and it holds names and text
    that strangers chose.
    """
    text = json.dumps(document, ensure_ascii=False, default=str)
    typer.echo("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table on a terminal; otherwise lines with tabs, for `cut` and `awk`."""
    console = console_out()
    if console.is_terminal:
        table = Table(title=title)
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(printable(str(x)) for x in row))
        console.print(table)
        return
    typer.echo("\t".join(columns))
    for row in rows:
        typer.echo("\t".join(printable(str(x)) for x in row))


def show_pairs(pairs: Mapping[str, object]) -> None:
    """Name and value, one a line; lists with commas, empty ones left out."""
    for name, value in pairs.items():
        if isinstance(value, list | tuple):
            if value:
                typer.echo(f"{name}: {', '.join(printable(str(x)) for x in value)}")
        else:
            typer.echo(f"{name}: {printable(str(value))}")


def printable(text: str) -> str:
    """One line of text without what could steer a terminal or hide in it."""
    return "".join(c if c.isprintable() else " " if c in "\t\n\r" else "�" for c in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(printable(line) for line in text.splitlines())


def console_err() -> Console:
    """Console on stderr, for progress."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


def console_out() -> Console:
    """Console on stdout; markup off, since what is printed may come from documents."""
    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_terminal:
        # A file has no width; a fixed one reads the same everywhere.
        console.width = _PLAIN_WIDTH
    return console


def is_terminal() -> bool:
    """Whether a person looks at stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"


def when(instant: int) -> str:
    """An instant for people."""
    if instant <= 0:
        return "never"
    if instant >= NEVER:
        return "no end"
    return datetime.fromtimestamp(instant / 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
