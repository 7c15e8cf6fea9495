"""Unit tests reach no network: every socket but the ones that event loops need inside a process is refused."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> Generator[None]:
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
