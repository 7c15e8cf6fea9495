"""Files of a home that a killed process could leave half-made."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from secure_rag.database import backup
from secure_rag.database.backup import back_up, restore
from secure_rag.database.home import Home
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros
from tests.support.ingest_home import Source, acl_as_of, company, opened


def test_a_key_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with monkeypatch.context() as patched:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patched.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            home.key("public-ids")
    assert list(home.keys.iterdir()) == []
    made = home.key("public-ids")
    assert len(made) == 32
    assert home.key("public-ids") == made
    assert [stat.S_IMODE(x.stat().st_mode) for x in home.keys.iterdir()] == [0o600]


def test_processes_that_need_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: home.key("contexts"), range(32)))
    assert len(keys) == 1
    assert [x.name for x in home.keys.iterdir()] == ["contexts"]


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    (home.keys / "contexts").write_bytes(b"short")
    with pytest.raises(ConfigError, match="not a key"):
        home.key("contexts")


def test_a_killed_restore_leaves_no_home_that_serves_old_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki = Source(tmp_path, "wiki")
    wiki.write("pump.txt", "The pump is changed every second year.")
    with company(tmp_path) as world:
        world.run(wiki)
        back_up(world.opened.home, tmp_path / "backup", Micros(1))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_forget", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "backup", Home(tmp_path / "killed" / "home"), Micros(2))
    with pytest.raises(ConfigError, match="no home here"):
        Home(tmp_path / "killed" / "home").check()

    restore(tmp_path / "backup", Home(tmp_path / "restored" / "home"), Micros(2))
    assert not list((tmp_path / "restored" / "home").glob("*.restoring*"))
    with opened(tmp_path / "restored") as world:
        assert acl_as_of(world.opened, "wiki") == 0
        # A run confirms its permissions again; nothing has to be parsed or embedded for that.
        ran = world.run(wiki)
        assert (ran.report.outcomes, ran.report.embedded) == ({"unchanged": 1}, 0)
        assert acl_as_of(world.opened, "wiki") > 0
