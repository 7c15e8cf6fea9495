"""`secure-rag init`: create a home, asking what it would be dangerous to guess."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from secure_rag.config import Profile
from secure_rag.errors import InvalidRequestError
from secure_rag_api import starter
from secure_rag_api.cli.options import HomeOption, JsonOption
from secure_rag_api.cli.output import emit, printable
from secure_rag_api.starter import LABELS, NOBODY, Folder, Plan

_T = TypeVar("_T")
_READERS = "everyone (all members in the directory), nobody, or user:… and group:… with commas"


ReadersOption = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Who may read a folder: {_READERS}. Once for all folders, or once for each, in their order."
    ),
]
DefaultLabelOption = Annotated[
    list[str] | None,
    typer.Option(
        help=f"Label of documents without one: {', '.join(LABELS)}. Once for all folders, or once for each."
    ),
]
OperatorOption = Annotated[
    str | None,
    typer.Option(help="Principal that you act as in management commands, for example user:ada."),
]


def init(
    home: HomeOption,
    tenant: Annotated[str | None, typer.Option(help="Name of the tenant, for example your company.")] = None,
    documents: Annotated[
        list[Path] | None, typer.Option(help="Folder of documents to register as a source; repeat for more.")
    ] = None,
    readers: ReadersOption = None,
    default_label: DefaultLabelOption = None,
    operator: OperatorOption = None,
    production: Annotated[bool, typer.Option("--production", help="Not a development home.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Create a home: databases, keys, settings and, for first folders, sources, mappings, labels and a directory.

    What is not given by an option is asked.
    """
    company = _answer("Name of the tenant (a-z, 0-9, -)", tenant, "acme", starter.tenant_of)
    me = _answer("You are (a principal)", operator, f"user:{starter.user_name()}", starter.operator_of)
    paths = [starter.folder_of(x, home) for x in documents or ()] or _ask_folders(home, given=documents)
    who = _for_each(paths, readers, "--readers")
    labels = _for_each(paths, default_label, "--default-label")
    folders = tuple(
        Folder(
            path,
            _answer(f"Who may read {path}? {_READERS}", reader, NOBODY, starter.readers_of),
            _answer(
                f"Label of documents there that carry none ({', '.join(LABELS)})",
                label,
                LABELS[-1],
                starter.label_of,
            ),
        )
        for path, reader, label in zip(paths, who, labels, strict=True)
    )
    profile = Profile.PRODUCTION if production else Profile.DEVELOPMENT
    plan = Plan(company, me, profile, folders)
    written = starter.start(home, plan)
    steps = _next_steps(home, plan)
    if json_output:
        emit({"home": str(home), "tenant": company, "files": [str(x) for x in written], "next": steps})
        return
    typer.echo(printable(f"Created {home} (profile {profile.value}, tenant {company}, you are {me})."))
    for path in written:
        typer.echo(printable(f"  wrote {path}"))
    typer.echo("Next:")
    for step in steps:
        typer.echo(printable(f"  {step}"))


def _next_steps(home: Path, plan: Plan) -> list[str]:
    at = f"--home {shlex.quote(str(home))}"
    if not plan.folders:
        return [
            f"secure-rag labels import labels.yaml {at}",
            f"secure-rag directory import directory.yaml {at}",
            f"secure-rag ingest run source.yaml {at}",
        ]
    return [
        f"secure-rag ingest run {at}",
        f"secure-rag retrieve 'What is this about?' --as {plan.operator} {at}",
        f"secure-rag doctor --as {plan.operator} {at}",
    ]


def _ask_folders(home: Path, *, given: Sequence[Path] | None) -> list[Path]:
    """Folders from a person; a script names them or has none."""
    found: list[Path] = []
    while not given and sys.stdin.isatty():
        more = "Another folder of documents" if found else "Folder of documents"
        text = _line(f"{more} (Return: none): ")
        if not text:
            break
        try:
            found.append(starter.folder_of(Path(text), home))
        except InvalidRequestError as error:
            typer.echo(printable(str(error)), err=True)
    return found


def _for_each(paths: Sequence[Path], given: Sequence[str] | None, option: str) -> list[str | None]:
    values = list(given or ())
    if not values:
        return [None] * len(paths)
    if len(values) == 1:
        return [values[0]] * len(paths)
    if len(values) != len(paths):
        raise InvalidRequestError(f"{option} is given {len(values)} times for {len(paths)} folders")
    return [*values]


def _answer(question: str, given: str | None, default: str, check: Callable[[str], _T]) -> _T:
    """The checked value of an option, or of an answer; a wrong answer is asked again."""
    if given is not None:
        return check(given)
    while True:
        text = _line(f"{question} [{default}]: ")
        if text is None:
            raise InvalidRequestError(
                f"not answered: {question}; see the options of `secure-rag init --help`"
            )
        try:
            return check(text or default)
        except InvalidRequestError as error:
            typer.echo(printable(str(error)), err=True)


def _line(question: str) -> str | None:
    """One answer, `None` at the end of the input. Asked on stderr, so that stdout holds the result alone."""
    typer.echo(printable(question), nl=False, err=True)
    text = sys.stdin.readline()
    if not text:
        typer.echo(err=True)
        return None
    return text.strip()
