"""A restored home knows less than it thinks; nothing that was taken away since the backup may come back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database.backup import ID_GAP, back_up, restore
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag.database.views import Views
from secure_rag.model.ids import Micros, PrincipalId, principal_id
from secure_rag.model.subject import CallerIdentity
from secure_rag_acl.directory import DirectoryReport, import_directory
from secure_rag_acl.directory_files import parse_directory
from secure_rag_acl.labels import import_labels, parse_labels
from tests.controls import control

LABELS = b"""
tenant: acme
labels: [{id: 00000001-0000-4000-8000-000000000000, name: Secret, priority: 1}]
compartments: []
default: Secret
external_mix_threshold: Secret
"""
DIRECTORY = """
tenant: acme
complete: true
users:
  - {{id: user:eve, kind: member, clearance: Secret}}
  - {{id: user:bob, kind: member, clearance: Secret}}
groups:
  - {{id: group:board, complete: {complete}, members: [{members}]}}
  - {{id: group:company, members: [group:board]}}
applications:
  - id: app:desk
    grant: {{actions: [read], label: Secret, compartments: [], sources: ["*"], purposes: [qa], expires: 2099-01-01}}
agents: []
"""
EVE = CallerIdentity("acme", principal_id("app:desk"), principal_id("user:eve"))


def imported(engine: sa.Engine, members: str, now: int, *, complete: str = "true") -> DirectoryReport:
    document = parse_directory(
        DIRECTORY.format(members=members, complete=complete).encode(), "directory.yaml"
    )
    return import_directory(engine, document, actor="user:op", now=Micros(now))


def closure_and_doubts(engine: sa.Engine, now: int) -> tuple[set[PrincipalId], set[PrincipalId]]:
    with Views(engine, lambda: Micros(now)).open() as view:
        tenant = view.tenant_key("acme")
        assert tenant is not None
        subject = view.subject(tenant, EVE, "qa")
        names: dict[int, PrincipalId] = dict(
            view._connection.execute(sa.text("SELECT id, name FROM principal")).all()
        )
        return {names[x] for x in subject.closure}, {names[x] for x in subject.uncertain}


@pytest.fixture(name="restored")
def _restored(tmp_path: Path) -> sa.Engine:
    """Eve was on the board when the backup was made, and is not any more."""
    home = Home(tmp_path / "home")
    home.create()
    engine = open_engine(home.control)
    import_labels(engine, parse_labels(LABELS, "labels.yaml"), actor="user:op", now=Micros(1))
    imported(engine, "user:eve, user:bob", 10)
    back_up(home, tmp_path / "backup", Micros(20))
    imported(engine, "user:bob", 30)
    engine.dispose()
    again = Home(tmp_path / "again")
    restore(tmp_path / "backup", again, Micros(40))
    return open_engine(again.control)


@control("ops:restore-serves-nothing", "acl:directory-incomplete")
def test_an_incompletely_known_group_does_not_bring_back_whom_the_backup_had(restored: sa.Engine) -> None:
    assert closure_and_doubts(restored, 50)[0] == set()
    assert imported(restored, "user:bob", 60, complete="false").serving
    closure, doubts = closure_and_doubts(restored, 70)
    assert closure == {"user:eve", "everyone"}
    assert {"group:board", "group:company"} <= doubts, "a deny of either stays closed for all"


def test_once_known_again_an_incomplete_group_keeps_its_members_as_ever(restored: sa.Engine) -> None:
    imported(restored, "user:eve, user:bob", 60)
    imported(restored, "user:bob", 70, complete="false")
    assert "group:board" in closure_and_doubts(restored, 80)[0]


@control("ops:ids-never-return")
def test_ids_of_tables_that_were_empty_move_on_too(restored: sa.Engine) -> None:
    path = restored.url.database
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'"
        ).fetchall()
        moved = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    assert len(tables) > 15
    assert [name for (name,) in tables if moved.get(name, 0) < ID_GAP] == []
