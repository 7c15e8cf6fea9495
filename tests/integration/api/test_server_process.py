"""A real server process: the client against it, its end, and hostile bytes on its socket."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secure_rag import AuthenticationError, NotFoundError, UnavailableError
from secure_rag.config import Profile
from secure_rag.errors import ConfigError
from secure_rag_api.server import serve
from tests.controls import control
from tests.integration.api.process import Server, serving
from tests.unit.api.world import World

ANY = "0.0.0.0"  # noqa: S104 - the address that must be refused


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("home")) as found:
        yield found


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("impatient"), "impatient") as found:
        yield found


def test_the_client_gets_answers_and_errors(server: Server) -> None:
    with server.client() as client:
        answer = client.retrieve("How long is parental leave?", k=3, filter={"source": "handbook"})
        assert [x.text for x in answer] == ["Leave is 16 weeks."]
        assert client.chunk("chunk-0001").result == answer.results[0]
        with pytest.raises(NotFoundError):
            client.chunk("chunk-0002")
    with server.client("user:lin.okafor") as stranger:
        assert len(stranger.retrieve("leave")) == 0
        with pytest.raises(NotFoundError):
            stranger.chunk("chunk-0001")


def test_a_token_of_another_home_is_refused(server: Server, tmp_path: Path) -> None:
    other = Server(server.process, tmp_path, server.port)
    with other.client() as client, pytest.raises(AuthenticationError):
        client.retrieve("leave")


def test_a_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with serving(tmp_path) as found, found.client() as client:
        assert client.retrieve("leave")
        found.process.kill()
        found.process.wait()
        with pytest.raises(UnavailableError, match="cannot reach the service"):
            client.retrieve("leave")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_lets_what_has_begun_finish_and_closes_the_home(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    os.mkfifo(tmp_path / "holding")
    os.mkfifo(tmp_path / "release")
    with serving(tmp_path) as found, found.client() as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.retrieve, "hold")
        (tmp_path / "holding").read_text(encoding="utf-8")
        found.process.send_signal(number)
        (tmp_path / "release").write_text("", encoding="utf-8")
        assert len(answer.result()) == 1
        output, _ = found.process.communicate()
        assert output == "closed\n"
        assert found.process.returncode == status
    assert "Traceback" not in (tmp_path / "stderr.txt").read_text(encoding="utf-8")


def exchange(server: Server, *parts: bytes) -> bytes:
    """Send bytes and read until the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while more := connection.recv(65_536):
            found += more
        return found


@control("api:bounded-requests")
@pytest.mark.parametrize(
    "raw",
    [
        b"NONSENSE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-A: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_not_http_gets_a_problem_too(server: Server, raw: bytes) -> None:
    head, _, body = exchange(server, raw).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "urn:secure-rag:problem:invalid-request"


@control("api:one-meaning")
def test_length_and_chunks_together_are_refused(server: Server) -> None:
    tokens = server.tokens()
    raw = (
        "POST /v1/retrieve HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {tokens.token}\r\nX-Subject-Token: {tokens.subject_token}\r\n"
        "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    assert exchange(server, raw.encode("ascii")).startswith(b"HTTP/1.1 400")


@control("api:bounded-requests")
def test_a_head_of_200_mb_is_cut_off_and_never_held(server: Server) -> None:
    assert server.alive()
    before, sent, part = server.peak_kib(), 0, b"a" * (1 << 20)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Big: ")
        try:
            for _ in range(200):
                connection.sendall(part)
                sent += len(part)
        except OSError:
            pass
    assert sent < 100 << 20
    assert server.peak_kib() - before < 32 * 1024
    assert server.alive()


@control("api:bounded-requests")
@pytest.mark.parametrize("part", [b"", b"GET /healthz HTTP/1.1\r\nHost"])
def test_a_head_that_never_ends_is_closed(impatient: Server, part: bytes) -> None:
    assert exchange(impatient, part) == b""
    assert impatient.alive()


@control("api:bounded-requests")
def test_a_second_head_that_never_ends_is_closed_too(impatient: Server) -> None:
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        found = connection.recv(65_536)
        while not found.endswith(b"}"):
            found += connection.recv(65_536)
        connection.sendall(b"GET /hea")
        assert connection.recv(65_536) == b""
    assert found.startswith(b"HTTP/1.1 200")


@control("api:bounded-requests")
def test_a_body_that_stalls_gets_408(impatient: Server) -> None:
    head = b"POST /v1/retrieve HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
    assert exchange(impatient, head + b"Content-Length: 20\r\n\r\n{").startswith(b"HTTP/1.1 408")
    assert impatient.alive()


def test_the_server_says_nothing_about_itself(server: Server) -> None:
    head = exchange(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").lower()
    assert b"uvicorn" not in head
    assert b"server:" not in head


@control("api:errors-say-nothing")
def test_requests_leave_no_trace_in_the_log(server: Server) -> None:
    marked = b"GET /v1/chunks/chunk-0001?purpose=zq9xk HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert exchange(server, marked).startswith(b"HTTP/1.1 401")
    assert "zq9xk" not in (server.home / "stderr.txt").read_text(encoding="utf-8")


@control("api:development-issuer")
@pytest.mark.parametrize("host", [ANY, "::", "", "192.0.2.7", "rag.acme.example"])
def test_development_does_not_start_where_others_can_reach_it(host: str) -> None:
    opened: list[str] = []

    def open_home() -> object:
        opened.append(host)
        return World().served()

    with pytest.raises(ConfigError, match="loopback"):
        serve(open_home, host=host, port=0, profile=Profile.DEVELOPMENT)  # type: ignore[arg-type]  # never opened
    assert opened == []


def test_an_address_that_is_taken_is_a_clear_error(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"cannot bind to 127\.0\.0\.1"):
        serve(World().served, host="127.0.0.1", port=server.port, profile=Profile.PRODUCTION)
