"""Migrations and tables say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from secure_rag.database import migrations
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.home import Home
from tests.integration.migrations.throwaway import normalised, rows, schema

FOLDER = Path(migrations.__file__).parent


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    home = Home(tmp_path / "home")
    home.create()
    return home.control


def test_a_migrated_database_has_the_schema_of_the_tables(migrated: Path, tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "created.db")
    with write(engine) as connection:
        t.meta.create_all(connection)
    engine.dispose()
    found = schema(migrated)
    assert found.pop("table alembic_version").endswith("STRICT")
    assert found == schema(tmp_path / "created.db")
    assert len([x for x in found if x.startswith("table ")]) == len(t.meta.tables) + 1  # sqlite_sequence


def test_alembic_sees_no_difference(migrated: Path) -> None:
    assert _differences(migrated, t.meta) == []


def test_alembic_would_see_a_difference(migrated: Path) -> None:
    other = sa.MetaData(naming_convention=t.meta.naming_convention)
    for table in t.meta.sorted_tables:
        table.to_metadata(other)
    other.tables["principal"].append_column(sa.Column("shoe_size", sa.Integer()))
    assert [x[0] for x in _differences(migrated, other)] == ["add_column"]


def test_the_comparison_of_statements_sees_what_matters() -> None:
    base = "CREATE TABLE x (\n a TEXT, b TEXT, CONSTRAINT q CHECK (b IN ('p', 'q')), CONSTRAINT u UNIQUE (b))\n STRICT"
    same = "CREATE TABLE \"x\" (a TEXT, b TEXT, CONSTRAINT u UNIQUE (b), CONSTRAINT q CHECK (b IN ('p', 'q'))) STRICT"
    assert normalised(base) == normalised(same)
    others = (
        ("STRICT", ""),
        ("'q'", "'r'"),
        ("a TEXT, b TEXT", "b TEXT, a TEXT"),
        ("b TEXT", "b BLOB"),
    )
    for old, new in others:
        assert normalised(base) != normalised(base.replace(old, new))


def test_the_list_of_revisions_is_that_of_the_files() -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [migrations.HEAD]
    assert tuple(x.revision for x in script.walk_revisions())[::-1] == migrations.REVISIONS


def test_migrations_do_not_change_with_the_code() -> None:
    for path in (FOLDER / "versions").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [x.name for x in node.names] if isinstance(node, ast.Import) else []
            assert not [x for x in names if x.startswith("secure_rag")], path.name


def test_a_new_database_is_ready_to_be_used(migrated: Path) -> None:
    Home(migrated.parent).check()
    assert rows(migrated, "SELECT name, value FROM counter") == [("document_seq", 0)]
    loose = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict"
    assert {x for (x,) in rows(migrated, loose)} == {"sqlite_schema", "sqlite_sequence"}
    assert rows(migrated, "PRAGMA journal_mode") == [("wal",)]
    assert migrated.stat().st_mode & 0o777 == 0o600


def test_what_is_there_stays_as_it_is(migrated: Path) -> None:
    before = migrated.read_bytes()
    Home(migrated.parent).create()
    assert migrated.read_bytes() == before


@pytest.mark.parametrize("name", ["100%40 real", "what?mode=memory", "a#b;c:d"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / name)
    home.create()
    home.check()
    assert home.control.is_file()
    assert [x.name for x in tmp_path.iterdir()] == [name]


def _differences(path: Path, metadata: sa.MetaData) -> list[tuple[object, ...]]:
    engine = open_engine(path, read_only=True)
    with engine.connect() as connection:
        # Not defaults: an identity column has none on SQLite. The statements above are compared whole.
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, metadata)
    engine.dispose()
    return [tuple(x) for x in found]
