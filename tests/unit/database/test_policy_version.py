"""Every write to an authority table moves the policy version of its tenant, whichever code wrote it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine, write
from secure_rag.database.triggers import install_triggers

MINE, OTHER = 1, 2


@pytest.fixture
def control(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "control.db"
    engine = open_engine(path)
    with write(engine) as made:
        t.meta.create_all(made)
        install_triggers(made)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Rows are made up here: what matters is that they are written.
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection


def made_up(table: sa.Table) -> dict[str, object]:
    """A value for each column, of its type; STRICT tables take no other."""
    values: dict[str, object] = {}
    for n, column in enumerate(table.columns):
        number, text = 10**6 + n, f"made up {n}"
        kinds = {sa.BigInteger: number, sa.LargeBinary: text.encode()}
        values[column.name] = next((x for kind, x in kinds.items() if isinstance(column.type, kind)), text)
    return {**values, "tenant_id": MINE}


def version(connection: sqlite3.Connection, tenant: int = MINE) -> int:
    row = connection.execute("SELECT n FROM policy_version WHERE tenant_id = ?", (tenant,)).fetchone()
    return 0 if row is None else int(row[0])


# ruff: noqa: S608 -- names of tables and columns are our own
def insert(connection: sqlite3.Connection, table: sa.Table) -> int:
    row = made_up(table)
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join("?" * len(row))
    done = connection.execute(f'INSERT INTO "{table.name}"({names}) VALUES ({marks})', tuple(row.values()))
    return int(done.lastrowid or 0)


@pytest.mark.parametrize("table", t.AUTHORITY, ids=lambda table: table.name)
def test_inserting_updating_and_deleting_move_it(control: sqlite3.Connection, table: sa.Table) -> None:
    seen = [version(control)]
    rowid = insert(control, table)
    seen.append(version(control))
    # Even an update that changes nothing: better one version too many.
    control.execute(f'UPDATE "{table.name}" SET tenant_id = tenant_id WHERE rowid = ?', (rowid,))
    seen.append(version(control))
    control.execute(f'DELETE FROM "{table.name}" WHERE rowid = ?', (rowid,))
    seen.append(version(control))
    assert sorted(set(seen)) == seen, f"a write to {table.name} left the policy version as it was: {seen}"


@pytest.mark.parametrize("table", t.AUTHORITY, ids=lambda table: table.name)
def test_a_row_that_changes_tenants_moves_both(control: sqlite3.Connection, table: sa.Table) -> None:
    rowid = insert(control, table)
    before = version(control), version(control, OTHER)
    control.execute(f'UPDATE "{table.name}" SET tenant_id = ? WHERE rowid = ?', (OTHER, rowid))
    assert version(control) > before[0]
    assert version(control, OTHER) > before[1]


def test_a_new_document_moves_nothing_and_other_rights_to_it_do(control: sqlite3.Connection) -> None:
    before = version(control)
    rowid = insert(control, t.document)
    control.execute("UPDATE document SET title = 'other', version = 9 WHERE rowid = ?", (rowid,))
    assert version(control) == before
    control.execute("UPDATE document SET class_id = 5 WHERE rowid = ?", (rowid,))
    assert version(control) == before + 1
    control.execute("UPDATE document SET state = 2 WHERE rowid = ?", (rowid,))
    assert version(control) == before + 2
