"""A home whose vectors lie in Qdrant: the client's local mode stands for the server."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from secure_rag.config import QdrantSettings
from secure_rag.errors import ConfigError, StoreError
from secure_rag.stores.qdrant import QdrantStore
from secure_rag_api import qdrant_following
from secure_rag_api.qdrant_following import FollowedQdrant, connect
from secure_rag_api.serving import served_home
from secure_rag_api.wiring import Installation, open_installation
from tests.integration.cli.company import Company, set_operators

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]


class Server:
    """One collection that outlives the clients of single commands."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.down = False

    def connect(self, settings: QdrantSettings, home: Path) -> Any:
        if self.down:
            return connect(QdrantSettings(url="http://127.0.0.1:1"), home)
        return _Kept(self.client)

    def points(self) -> int:
        return self.client.count("secure-rag").count


class _Kept:
    """A client whose closing leaves the collection there."""

    def __init__(self, client: QdrantClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def close(self) -> None:
        pass


@pytest.fixture
def server(company: Company, monkeypatch: pytest.MonkeyPatch) -> Generator[Server]:
    made = Server()
    monkeypatch.setattr(qdrant_following, "connect", made.connect)
    set_operators(company.home, qdrant={"url": "http://127.0.0.1:6333"})
    yield made
    made.client.close()


@contextmanager
def opened(company: Company) -> Generator[Installation]:
    with open_installation(company.home) as installation:
        yield installation


def test_the_first_query_fills_the_collection_and_answers_like_the_embedded_store(
    company: Company, server: Server, founded: Company
) -> None:
    assert company.titles("user:ann") == founded.titles("user:ann") == ["colours", "drive", "manual"]
    assert company.titles("user:ben") == ["colours", "manual"]
    assert server.points() == 5


def test_runs_and_releases_bring_the_collection_in_step(company: Company, server: Server) -> None:
    assert company.run("ingest", "run").code == 1
    assert server.points() == 5
    document = company.quarantined()
    assert company.run("quarantine", "release", document, "--version", "1", "--note", "ok").code == 0
    assert server.points() == 6
    assert "planted" in company.titles("user:ann")


def test_a_server_that_is_away_is_one_line_and_the_run_is_not_lost(company: Company, server: Server) -> None:
    server.down = True
    ran = company.ask("user:ann")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "secure-rag: the Qdrant store failed\n"
    ran = company.run("ingest", "run")
    assert (ran.code, ran.err.splitlines()[-1]) == (4, "secure-rag: the Qdrant store failed")
    assert company.run("runs", "list", "--limit", "1", "--json").json[0]["status"] == "completed"
    assert "! the Qdrant store failed" in company.run("doctor").out
    server.down = False
    assert company.titles("user:ann") == ["colours", "drive", "manual"]


def test_a_served_home_follows_changes_of_other_processes(company: Company, server: Server) -> None:
    applied = threading.Event()
    with opened(company) as serving, opened(company) as other:
        served = served_home(serving, "127.0.0.1")
        store = serving.remote_store
        assert store is not None
        assert served.ready() == []
        inner = store._store
        sync = inner.sync

        def watched(engine: Any) -> int:
            done = sync(engine)
            applied.set()
            return done

        inner.sync = watched  # type: ignore[method-assign]
        from secure_rag.database import quarantine as db
        from secure_rag.database.engine import write
        from secure_rag.model.ids import principal_id

        before = server.points()
        with write(other.engine) as connection:
            document = db.quarantined(connection)[0]
            reviewer = principal_id("user:operator")
            db.release(
                connection, document.public_id, version=1, reviewer=reviewer, note="ok", now=other.clock.now()
            )
        assert applied.wait(60)
        assert server.points() == before + 1
        assert served.ready() == []


class Broken:
    """A store whose server went away."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.calls = 0

    def lag(self, _: object) -> int:
        self.calls += 1
        if self.calls > 1:
            self.asked.set()
        raise StoreError("the Qdrant store failed")

    def ready(self) -> bool:
        return True

    def close(self) -> None:
        pass


def test_who_falls_behind_for_long_is_not_ready(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant_following, "POLL_S", 0.001)
    broken = Broken()
    with opened(company) as installation:
        store = FollowedQdrant(broken, installation.reader, company.home / "locks" / "qdrant.lock")  # type: ignore[arg-type]
        assert store.ready()
        store.follow()
        assert broken.asked.wait(60)
        assert store.ready()  # a short outage is none yet
        monkeypatch.setattr(qdrant_following, "MAX_LAG_S", 0.0)
        assert not store.ready()
        store.close()


def test_a_key_is_private_and_never_travels_in_the_clear(tmp_path: Path) -> None:
    key = tmp_path / "qdrant.key"
    key.write_text("secret", encoding="ascii")
    key.chmod(0o600)
    file = Path("qdrant.key")
    for url in ("http://rag.acme.example:6333", "http://192.0.2.7:6333"):
        with pytest.raises(ConfigError, match="over https only"):
            connect(QdrantSettings(url=url, api_key_file=file), tmp_path)
    for url in (
        "http://127.0.0.1:6333",
        "http://localhost:6333",
        "http://[::1]:6333",
        "https://rag.acme.example",
    ):
        connect(QdrantSettings(url=url, api_key_file=file), tmp_path).close()
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read this secret"):
        connect(QdrantSettings(url="https://rag.acme.example", api_key_file=file), tmp_path)


def test_a_collection_of_another_engine_is_refused(company: Company, server: Server) -> None:
    QdrantStore(server.client, "secure-rag", "another-engine", 64)
    ran = company.ask("user:ann")
    assert (ran.code, ran.out) == (4, "")
    assert ran.err == "secure-rag: the collection holds vectors of another embedding engine\n"
