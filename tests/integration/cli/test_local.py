"""`secure_rag.local`: the same answers inside this process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secure_rag import (
    AuthenticationError,
    ConfigError,
    Filter,
    InvalidRequestError,
    NotFoundError,
    StaleSourceError,
)
from secure_rag.client.models import ChunkResponse, RetrieveResponse
from secure_rag.local import open_folder, open_home
from tests.integration.cli.company import ROOT, Company, environment, set_operators


def test_a_home_is_asked_as_anybody_and_each_time_on_record(company: Company) -> None:
    delegation = company.delegation()
    with open_home(company.home) as local:
        answer = local.retrieve("prototype drive", as_="user:ann", app="app:chat", k=1, explain=True)
        assert isinstance(answer, RetrieveResponse)
        (drive,) = answer
        assert (drive.title, drive.label, answer.effective_label) == ("drive", "Confidential", "Confidential")
        assert drive.explanation is not None
        assert [
            x.title for x in local.retrieve("drive", as_="user:ben", app="app:chat") if x.title == "drive"
        ] == []
        assert len(local.retrieve("drive", delegation=delegation)) == 3
        found = local.chunk(drive.chunk_id, as_="user:ann", app="app:chat")
        assert isinstance(found, ChunkResponse)
        assert (found.result.text, found.result.score) == (drive.text, None)
        with pytest.raises(NotFoundError):
            local.chunk(drive.chunk_id, as_="user:ben", app="app:chat")
        assert local.not_indexed == ()
    acted = [(x["body"]["by"], x["body"]["subject"]) for x in company.events("acted_as")][-5:]
    assert acted == [("user:operator", x) for x in ("user:ann", "user:ben", None, "user:ann", "user:ben")]


def test_without_a_subject_the_operator_asks(company: Company) -> None:
    with open_home(str(company.home)) as local:
        assert sorted(x.title for x in local.retrieve("pump torque", app="app:chat")) == ["colours", "manual"]


def test_a_filter_narrows_as_it_does_over_http(company: Company) -> None:
    with open_home(company.home) as local:
        ask = {"as_": "user:ann", "app": "app:chat"}
        assert len(local.retrieve("pump", filter={"label_max": "Internal"}, **ask)) == 2  # type: ignore[arg-type]
        assert len(local.retrieve("pump", filter=Filter(source="other"), **ask)) == 0  # type: ignore[arg-type]
        assert len(local.retrieve("pump", filter={"modified_after": "2999-01-01T00:00:00Z"}, **ask)) == 0  # type: ignore[arg-type]


def test_errors_are_those_of_the_product(company: Company) -> None:
    with open_home(company.home) as local:
        for arguments in (
            {"query": ""},
            {"query": "x", "k": 0},
            {"query": "x", "filter": {"colour": "red"}},
            {"query": "x" * 4097},
            {"query": "x\ud800"},
            {"query": "x", "as_": "ann"},
            {"query": "x", "as_": "user:ann", "delegation": "g_1"},
            {"query": "x", "app": "app:nobody"},
        ):
            with pytest.raises(InvalidRequestError):
                local.retrieve(**{"app": "app:chat", **arguments})  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match=r"^k: less_than_equal$"):
            local.retrieve("x", app="app:chat", k=101)
        with pytest.raises(InvalidRequestError, match="one of app:chat, app:other"):
            local.retrieve("x", as_="user:ann")
        with pytest.raises(AuthenticationError):
            local.retrieve("x", as_="user:ann", app="agent:helper")
        with pytest.raises(NotFoundError):
            local.retrieve("x", as_="user:ann", app="app:chat", tenant="globex")
        with pytest.raises(StaleSourceError):
            local.retrieve("x", as_="user:ann", app="app:chat", max_staleness_s=0)


def test_strangers_and_strange_folders_are_refused(company: Company, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="creates a home"), open_home(tmp_path / "nothing"):
        pass
    set_operators(company.home, {"somebody-else": "user:operator"})
    with pytest.raises(AuthenticationError, match="no operator of this home"), open_home(company.home):
        pass


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    place = tmp_path / "documents"
    place.mkdir()
    (place / "travel.txt").write_text("Flights need approval.", encoding="utf-8")
    (place / "broken.pdf").write_text("%PDF-1.7 nothing", encoding="utf-8")
    return place


def test_a_folder_is_one_call_away_and_leaves_nothing_behind(
    documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with open_folder(documents, readers="everyone", default_label="Internal") as local:
        assert [x.title for x in local.retrieve("flights")] == ["travel"]
        assert [x.split(": ")[0] for x in local.not_indexed] == ["broken.pdf"]
        assert len(list(temporary.iterdir())) >= 1
    assert [x for x in temporary.iterdir() if x.name.startswith("secure-rag-")] == []


def test_who_may_read_a_folder_is_never_guessed(documents: Path) -> None:
    with open_folder(documents, readers="nobody", default_label="Public") as local:
        assert len(local.retrieve("flights")) == 0
    with open_folder(documents, readers="user:bo", default_label="Public") as local:
        assert len(local.retrieve("flights")) == 0
        assert len(local.retrieve("flights", as_="user:bo")) == 1
    for readers, label in (("everybody", "Public"), ("everyone", "Secret"), ("app:x", "Public")):
        with pytest.raises(InvalidRequestError), open_folder(documents, readers=readers, default_label=label):
            pass
    with (
        pytest.raises(InvalidRequestError, match="no such folder"),
        open_folder(documents / "x", readers="everyone", default_label="Public"),
    ):
        pass


def test_a_kept_home_is_brought_up_to_date_and_bound_to_its_folder(documents: Path, tmp_path: Path) -> None:
    home = tmp_path / "kept"
    with open_folder(documents, readers="everyone", default_label="Public", home=home):
        pass
    (documents / "travel.txt").unlink()
    (documents / "pay.txt").write_text("Salaries are paid on the 25th.", encoding="utf-8")
    with open_folder(documents, readers="everyone", default_label="Public", home=home) as local:
        assert [x.title for x in local.retrieve("salaries flights")] == ["pay"]
    for readers, label in (("nobody", "Public"), ("everyone", "Internal")):
        with (
            pytest.raises(ConfigError, match="another folder, readers or label"),
            open_folder(documents, readers=readers, default_label=label, home=home),
        ):
            pass


def test_the_base_installation_says_what_is_missing() -> None:
    code = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fastapi", "sqlalchemy"):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in ("fastapi", "sqlalchemy") else real(name)
from secure_rag.local import open_home
try:
    open_home("x")
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "secure_rag.local is part of the service and needs fastapi, sqlalchemy: pip install 'secure-rag[server]'\n"
    )
