"""Runs the application in one process. Several processes may serve one home: each on its own port behind a proxy.

A process answers one SIGTERM by finishing what it has begun and closing the home; its exit status is then that of
the signal, which supervisors must take as success.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Final

import uvicorn

from secure_rag.config import Profile
from secure_rag.errors import ConfigError
from secure_rag_api.app import create_app
from secure_rag_api.auth.development_issuer import is_loopback
from secure_rag_api.http11 import MAX_HEAD_BYTES, BoundedH11
from secure_rag_api.served import ServedHome

MAX_CONNECTIONS: Final = 512
KEEP_ALIVE_SECONDS: Final = 15
SHUTDOWN_SECONDS: Final = 20
BACKLOG: Final = 1024


def serve(
    open_home: Callable[[], ServedHome],
    *,
    host: str,
    port: int,
    profile: Profile,
    started: Callable[[str, int], None] | None = None,
) -> None:
    """Serve a home until a signal ends it.

    The address is bound before the home is opened, and what was really bound is what is checked.

    Args:
        open_home: opens the home; its `close` is called at the end.
        host: address or name to bind to.
        port: port to bind to; 0 takes a free one.
        profile: development binds to loopback only.
        started: called with the bound address and port, before the first request is taken.

    Raises:
        ConfigError: development on an address that others can reach, or an address that cannot be bound.
    """
    if profile is Profile.DEVELOPMENT and not is_loopback(host):
        raise ConfigError("the development profile binds to a loopback address only (127.0.0.1, ::1)")
    listener = _bind(host, port)
    try:
        address, bound_port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
        if profile is Profile.DEVELOPMENT and not is_loopback(address):
            raise ConfigError("the development profile binds to a loopback address only (127.0.0.1, ::1)")
        app = create_app(open_home(), publish_contract=profile is Profile.DEVELOPMENT)
        if started is not None:
            started(address, bound_port)
        with contextlib.suppress(KeyboardInterrupt):
            # Raised again by uvicorn once it has shut down in good order.
            uvicorn.Server(server_config(app)).run(sockets=[listener])
    finally:
        listener.close()


def server_config(app: Callable[..., object]) -> uvicorn.Config:
    """How uvicorn runs: limits on everything, nothing of a request in its log."""
    return uvicorn.Config(
        app,
        http=BoundedH11,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here depends on the peer's address, so no header may claim one.
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
    )


def _bind(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot resolve the address to bind to: {host!r}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot bind to {host}:{port}: {error.strerror}") from error
    return listener
