"""`secure-rag upgrade`, and what the other commands say before it was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_rag.audit import reading
from secure_rag.config import load_settings
from secure_rag.database import migrations
from secure_rag.database.home import Home
from secure_rag_api.cli.main import app
from tests.controls import control
from tests.integration.migrations.throwaway import NEXT, change, everything, filled, next_release

ADD_COLUMN = ("op.add_column('principal', sa.Column('badge', sa.Text(), nullable=True))",)
OURS = migrations.HEAD


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return filled(tmp_path / "home")


@control("ops:schema-checked")
@pytest.mark.parametrize(
    "command",
    [["serve", "--port", "0"], ["ingest", "run"], ["runs", "list"], ["backup", "unused"]],
    ids=["serve", "ingest", "runs", "backup"],
)
def test_an_older_home_is_refused_and_the_command_is_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    before = everything(home.control)
    result = CliRunner().invoke(app, [*command, "--home", str(home.root)])
    assert result.exit_code == 3
    advice = f"revision {OURS}, this release needs {NEXT}: run `secure-rag upgrade --home {home.root}`"
    assert advice in result.stderr
    assert everything(home.control) == before


@control("ops:schema-checked")
def test_a_newer_home_is_refused(home: Home, tmp_path: Path) -> None:
    change(home.control, "UPDATE alembic_version SET version_num = '7777'")
    for command in (["runs", "list"], ["upgrade"]):
        result = CliRunner().invoke(app, [*command, "--home", str(home.root)])
        assert result.exit_code == 3
        assert "revision 7777 is of a newer release" in result.stderr
    assert [x.name for x in tmp_path.iterdir()] == ["home"]


def test_upgrade_backs_up_then_upgrades_and_records_both(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = everything(home.control)
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    target = tmp_path / "kept"
    arguments = ["upgrade", "--home", str(home.root), "--json"]
    result = CliRunner().invoke(app, [*arguments, "--backup", str(target)])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"from": OURS, "to": NEXT, "backup": str(target)}
    assert everything(target / "control.db") == before
    assert target.stat().st_mode & 0o777 == 0o700
    home.check()
    (event,) = reading.tail(home.audit, 9, kind="upgrade")
    assert event.body == {"by": "user:ann", "from": OURS, "to": NEXT, "backup": str(target)}
    assert json.loads(CliRunner().invoke(app, arguments).stdout)["backup"] is None
    assert len(reading.tail(home.audit, 9, kind="upgrade")) == 1


def test_the_backup_lies_beside_the_home_unless_told_otherwise(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    next_release(monkeypatch, tmp_path / "release", ADD_COLUMN)
    result = CliRunner().invoke(app, ["upgrade", "--home", str(home.root)])
    assert result.exit_code == 0, result.output
    (backup,) = tmp_path.glob(f"home.backup-{OURS}-*Z")
    assert str(backup) in result.stdout
    assert (backup / "backup.json").is_file()


def test_without_a_backup_nothing_is_upgraded(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    before = everything(home.control)
    result = CliRunner().invoke(app, ["upgrade", "--home", str(home.root), "--backup", str(home.keys)])
    assert result.exit_code == 3
    assert everything(home.control) == before


@control("ops:operators-only")
def test_only_operators_upgrade(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    next_release(monkeypatch, tmp_path / "release", ADD_COLUMN)
    home.settings.write_text("profile: development\ntenant: acme\n", encoding="utf-8")
    assert load_settings(home.root).operators == {}
    before = everything(home.control)
    result = CliRunner().invoke(app, ["upgrade", "--home", str(home.root)])
    assert result.exit_code == 5
    assert everything(home.control) == before
    assert sorted(x.name for x in tmp_path.iterdir()) == ["home", "release"]
