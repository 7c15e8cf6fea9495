"""Where errors of commands end: one line on stderr and an exit code, for every command alike.

Exit codes: 0 done; 1 done, and something needs attention (failed scenario, failed item, problem found); 2 wrong
usage; 3 a file or a setting is wrong; 4 not possible now (database, disk, network); 5 not permitted; 6 not found;
70 a fault of this program; 130 interrupted; 141 whoever read the output is gone.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import traceback
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final

import typer
from sqlalchemy import exc
from typer.core import TyperGroup

from secure_rag.errors import (
    AuthenticationError,
    ConfigError,
    IngestionError,
    InvalidRequestError,
    ModelError,
    NotFoundError,
    PolicyError,
    SecureRagError,
)
from secure_rag_api.cli.output import printable


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    ATTENTION = 1
    USAGE = 2
    CONFIG = 3
    UNAVAILABLE = 4
    NOT_PERMITTED = 5
    NOT_FOUND = 6
    FAULT = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


_CODES: Final[tuple[tuple[type[SecureRagError], ExitCode], ...]] = (
    (NotFoundError, ExitCode.NOT_FOUND),
    (AuthenticationError, ExitCode.NOT_PERMITTED),
    (ConfigError, ExitCode.CONFIG),
    (PolicyError, ExitCode.CONFIG),
    (InvalidRequestError, ExitCode.USAGE),
    (ModelError, ExitCode.CONFIG),
    (IngestionError, ExitCode.CONFIG),
)
_OURS: Final = (SecureRagError, OSError, sqlite3.Error, exc.SQLAlchemyError, KeyboardInterrupt)


def exit_code(error: BaseException) -> ExitCode:
    """The exit code that belongs to an error."""
    if isinstance(error, SecureRagError):
        return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.UNAVAILABLE)
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return ExitCode.PIPE_CLOSED
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError):
        return ExitCode.CONFIG
    if isinstance(error, OSError | sqlite3.Error | exc.SQLAlchemyError):
        return ExitCode.UNAVAILABLE
    return ExitCode.FAULT


def complain(error: BaseException) -> None:
    """Print an error on stderr: one line, whatever its text holds."""
    typer.echo(f"secure-rag: {printable(_message(error))}", err=True)


class Boundary(TyperGroup):
    """The root of all commands. What a command raises does not pass it."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the base class names types that typer keeps to itself
        """Run a command; an error becomes a line and an exit code."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            _silence_stdout()
            raise typer.Exit(ExitCode.PIPE_CLOSED) from error
        except _OURS as error:
            complain(error)
            _settle_stdout()
            raise typer.Exit(exit_code(error)) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):
                # A usage error, which typer shows together with the usage of the command.
                raise
            traceback.print_exc()
            complain(error)
            raise typer.Exit(ExitCode.FAULT) from error


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SecureRagError):
        return str(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    if isinstance(error, sqlite3.Error | exc.SQLAlchemyError):
        cause = getattr(error, "orig", None) or error
        return f"a database of the home cannot be used: {cause}"
    return f"a fault of this program: {type(error).__name__}"


def _settle_stdout() -> None:
    """What cannot be written must not fail again at the end of the process, with the exit code of the interpreter."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _silence_stdout()


def _silence_stdout() -> None:
    """Let nothing that is still buffered be written to a reader that is gone, also not at the end of the process."""
    with suppress(OSError, ValueError):
        empty = os.open(os.devnull, os.O_WRONLY)
        os.dup2(empty, sys.stdout.fileno())
        os.close(empty)
