"""`secure-rag serve`: the HTTP service."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_rag_api.cli.options import HomeOption
from secure_rag_api.server import serve as serve_home
from secure_rag_api.serving import served_home
from secure_rag_api.wiring import open_installation


def serve(
    home: HomeOption,
    host: Annotated[
        str, typer.Option(help="Address to bind to; loopback only in the development profile.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
) -> None:
    """Serve retrieval over HTTP until the process is told to stop.

    The one command that needs no operator: it manages nothing, and whoever asks it brings tokens.
    """
    with open_installation(home) as opened:
        serve_home(
            lambda: served_home(opened, host),
            host=host,
            port=port,
            profile=opened.settings.profile,
            started=lambda address, bound: typer.echo(f"Serving on http://{_bracketed(address)}:{bound}"),
        )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
