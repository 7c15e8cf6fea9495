"""An upgrade happens whole or not at all, and loses nothing that rights depend on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.exc import IntegrityError

from secure_rag.database import migrations
from secure_rag.database.backup import back_up, restore
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag.database.triggers import sqlite_triggers
from secure_rag.errors import ConfigError, UnavailableError
from secure_rag.model.ids import Micros
from tests.controls import control
from tests.integration.migrations.throwaway import (
    NEXT,
    change,
    dies,
    everything,
    filled,
    next_release,
    rows,
    schema,
)
from tests.worlds import NOW

REBUILD_PRINCIPAL = (
    "with op.batch_alter_table('principal', copy_from=t.principal, recreate='always'): pass",
)
ADD_COLUMN = ("op.add_column('principal', sa.Column('badge', sa.Text(), nullable=True))",)
DISABLE = "op.execute(\"UPDATE principal SET state = 'disabled' WHERE kind = 'member'\")"
VERSIONS = "SELECT t.name, v.n FROM policy_version AS v JOIN tenant AS t ON t.id = v.tenant_id"
MEMBERS = "SELECT id, member_id, group_id FROM membership ORDER BY id"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return filled(tmp_path / "home")


@control("ops:upgrade-whole")
def test_an_upgrade_brings_a_home_to_the_next_revision(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = rows(home.control, MEMBERS)
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    home.upgrade()
    home.check()
    assert home.revision() == NEXT
    assert rows(home.control, MEMBERS) == before != []
    assert rows(home.control, "SELECT count(*) FROM principal WHERE badge IS NULL") != [(0,)]
    done = everything(home.control)
    home.upgrade()
    assert everything(home.control) == done


@control("ops:upgrade-whole")
@pytest.mark.parametrize(
    "failing",
    ["raise RuntimeError('half way')", "op.execute('INSERT INTO no_such_table VALUES (1)')"],
)
def test_an_error_half_way_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, failing: str
) -> None:
    before = everything(home.control)
    half = (
        *ADD_COLUMN,
        DISABLE,
        "op.drop_table('receipt')",
    )
    next_release(monkeypatch, tmp_path, (*half, failing))
    with pytest.raises((RuntimeError, UnavailableError)):
        home.upgrade()
    assert everything(home.control) == before
    with pytest.raises(ConfigError, match="secure-rag upgrade"):
        home.check()


@control("ops:upgrade-whole")
def test_a_death_half_way_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = everything(home.control)
    dying = (*REBUILD_PRINCIPAL, "op.drop_table('receipt')", "os._exit(DIED)")
    next_release(monkeypatch, tmp_path, dying)
    assert dies(home, "upgrade")
    assert everything(home.control) == before


@control("ops:upgrade-whole")
def test_a_death_after_the_last_statement_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The revision number is in the transaction too: nobody sees a new number on an old schema."""
    before = everything(home.control)
    next_release(monkeypatch, tmp_path, ADD_COLUMN)

    assert dies(home, "upgrade", "before-commit")
    assert everything(home.control) == before


@control("ops:upgrade-keeps-guards")
def test_a_rebuilt_table_has_its_triggers(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = schema(home.control)
    change(home.control, "CREATE TRIGGER of_old AFTER INSERT ON chunk BEGIN SELECT 1; END")
    rebuild = (
        *REBUILD_PRINCIPAL,
        "with op.batch_alter_table('acl_class', copy_from=t.acl_class, recreate='always'): pass",
        'left = op.get_bind().exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE tbl_name IN '
        "('principal', 'acl_class') AND type = 'trigger'\").scalar_one()",
        "assert left == 0, 'batch mode keeps triggers now'",
    )
    next_release(monkeypatch, tmp_path, rebuild)
    home.upgrade()
    home.check()
    assert schema(home.control) == before
    count = len(list(sqlite_triggers()))
    assert rows(home.control, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'") == [(count,)]
    moved = rows(home.control, VERSIONS)
    change(home.control, "UPDATE principal SET state = 'disabled' WHERE name = 'user:ann'")
    assert rows(home.control, VERSIONS) != moved
    with pytest.raises(IntegrityError, match="immutable"):
        change(home.control, "DELETE FROM acl_class")


@control("ops:upgrade-keeps-guards")
def test_rights_that_a_migration_changes_move_the_policy_version(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = rows(home.control, VERSIONS)
    next_release(monkeypatch, tmp_path, (DISABLE,))
    home.upgrade()
    assert rows(home.control, VERSIONS) != before


@control("ops:ids-never-return")
def test_ids_do_not_come_back_after_a_rebuild(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Batch mode counts from the largest id that is left: an id that was deleted would get another meaning."""
    someone = "(SELECT min(id) FROM principal)"
    insert = "INSERT INTO {} VALUES ({}, 1, 'group:x', 'group', 'active', 1, NULL, NULL)"
    change(
        home.control,
        insert.format("principal", 500_000),
        "DELETE FROM principal WHERE id = 500000",
        f"INSERT INTO alias VALUES (700, 1, 'x@acme.example', {someone}, 0, 1)",  # noqa: S608 -- constants of this test
        "DELETE FROM alias",
    )
    next_release(
        monkeypatch,
        tmp_path,
        (
            *REBUILD_PRINCIPAL,
            "t.alias.drop(op.get_bind())",
            "t.alias.create(op.get_bind())",
            "seq = op.get_bind().exec_driver_sql(\"SELECT seq FROM sqlite_sequence WHERE name = 'principal'\")",
            "assert seq.scalar_one() < 500000, 'batch mode keeps sequences now'",
        ),
    )
    home.upgrade()
    change(
        home.control,
        insert.format("principal", "NULL"),
        f"INSERT INTO alias VALUES (NULL, 1, 'y@acme.example', {someone}, 0, 1)",  # noqa: S608 -- constants of this test
    )
    assert rows(home.control, "SELECT max(id) FROM principal") == [(500_001,)]
    assert rows(home.control, "SELECT max(id) FROM alias") == [(701,)]


@control("ops:upgrade-keeps-guards", "ops:ids-never-return")
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "with op.batch_alter_table('alias', recreate='always', table_kwargs={'sqlite_strict': True}): pass",
            "given out again: alias",
        ),
        (
            "op.create_table('extra', sa.Column('id', sa.Integer(), primary_key=True), sqlite_autoincrement=True)",
            "not be STRICT: extra",
        ),
        ("op.execute('UPDATE membership SET group_id = 999')", "refer to nothing: membership"),
    ],
)
def test_a_migration_that_loses_a_promise_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, complaint: str
) -> None:
    before = everything(home.control)
    next_release(monkeypatch, tmp_path, (body,))
    with pytest.raises(ConfigError, match=complaint):
        home.upgrade()
    assert everything(home.control) == before


@pytest.mark.parametrize(("foreign_keys", "left"), [("ON", 0), ("OFF", 1)])
def test_the_trap_with_foreign_keys_on_a_rebuild_deletes_what_refers_to_the_table(
    tmp_path: Path, foreign_keys: str, left: int
) -> None:
    """SQLite deletes the rows of a table before it drops it. The cascade follows and success is reported."""
    engine = open_engine(tmp_path / "trap.db")
    with engine.connect().execution_options(writes=True) as connection:
        raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]  # SQLite's own
        raw.execute("CREATE TABLE principal (id INTEGER PRIMARY KEY, name TEXT)")
        raw.execute("CREATE TABLE badge (owner INTEGER REFERENCES principal (id) ON DELETE CASCADE)")
        raw.execute("INSERT INTO principal VALUES (1, 'user:ann')")
        raw.execute("INSERT INTO badge VALUES (1)")
        raw.execute(f"PRAGMA foreign_keys={foreign_keys}")
        with connection.begin():
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table("principal", recreate="always"):
                pass
    engine.dispose()
    assert rows(tmp_path / "trap.db", "SELECT count(*) FROM principal") == [(1,)]
    assert rows(tmp_path / "trap.db", "SELECT count(*) FROM badge") == [(left,)]


@control("ops:upgrade-keeps-guards")
def test_a_rebuild_keeps_what_refers_to_the_table(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change(
        home.control,
        "CREATE TABLE badge (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, "
        "owner INTEGER NOT NULL REFERENCES principal (id) ON DELETE CASCADE) STRICT",
        "INSERT INTO badge (owner) SELECT id FROM principal",
    )
    queries = ("SELECT * FROM badge", MEMBERS)
    before = [rows(home.control, query) for query in queries]
    next_release(monkeypatch, tmp_path, REBUILD_PRINCIPAL)
    home.upgrade()
    assert [rows(home.control, query) for query in queries] == before
    assert all(before)
    # And the next connection enforces references again.
    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        change(home.control, "INSERT INTO badge (owner) VALUES (999)")


@control("ops:upgrade-keeps-guards")
def test_an_upgrade_with_foreign_keys_on_is_refused(home: Home) -> None:
    engine = open_engine(home.control)
    with (
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
        pytest.raises(ConfigError, match="foreign keys are on"),
    ):
        migrations.migrate(connection)
    engine.dispose()


@control("ops:upgrade-whole")
def test_a_home_of_a_newer_release_is_left_alone(home: Home) -> None:
    change(home.control, "UPDATE alembic_version SET version_num = '7777'")
    before = everything(home.control)
    with pytest.raises(ConfigError, match="revision 7777 is of a newer release"):
        home.check()
    with pytest.raises(ConfigError, match="revision 7777, which this release"):
        home.upgrade()
    assert everything(home.control) == before


@control("ops:upgrade-whole")
@pytest.mark.parametrize(
    "statement", ["DROP TABLE alembic_version", "DELETE FROM alembic_version"], ids=["dropped", "emptied"]
)
def test_a_database_without_a_revision_is_left_alone(home: Home, statement: str) -> None:
    change(home.control, statement)
    before = everything(home.control)
    with pytest.raises(ConfigError, match="not a control database of any release"):
        home.check()
    with pytest.raises(ConfigError, match="no revision"):
        home.upgrade()
    assert everything(home.control) == before


def test_a_release_that_names_a_revision_it_does_not_hold_upgrades_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = migrations.HEAD
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, NEXT))
    monkeypatch.setattr(migrations, "HEAD", NEXT)
    with pytest.raises(ConfigError, match=f"ended at revision {last} instead of 9999"):
        home.upgrade()


def test_two_revisions_in_one_database_are_refused(home: Home) -> None:
    change(home.control, "INSERT INTO alembic_version VALUES ('0000')")
    with pytest.raises(ConfigError, match="2 revisions"):
        home.check()
    with pytest.raises(ConfigError, match="2 revisions"):
        home.upgrade()


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 9])
def test_what_is_no_control_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "control.db").write_bytes(content)
    with pytest.raises(ConfigError, match="not a control database"):
        Home(tmp_path).check()


def test_there_is_nothing_to_upgrade_without_a_home(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="secure-rag init"):
        Home(tmp_path).upgrade()


def test_a_locked_database_is_not_upgraded(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    monkeypatch.setattr(migrations, "open_engine", partial(open_engine, busy_timeout_ms=1))
    before = everything(home.control)
    with closing(sqlite3.connect(home.control, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="nothing was changed: database is locked"):
            home.upgrade()
        writer.execute("ROLLBACK")
    assert everything(home.control) == before


def test_a_home_whose_making_was_killed_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next_release(monkeypatch, tmp_path, ("os._exit(DIED)",))
    home = Home(tmp_path / "home")
    assert dies(home, "create")
    with pytest.raises(ConfigError, match="no home here"):
        home.check()
    monkeypatch.undo()
    home.create()
    home.check()


@control("ops:restore-serves-nothing")
def test_a_backup_of_an_older_release_is_upgraded_when_it_is_restored(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    back_up(home, tmp_path / "backup", Micros(NOW))
    next_release(monkeypatch, tmp_path, ADD_COLUMN)
    restored = Home(tmp_path / "restored")
    restore(tmp_path / "backup", restored, Micros(NOW))
    assert restored.revision() == NEXT
    assert rows(restored.control, "SELECT DISTINCT directory_as_of FROM tenant") == [(0,)]
