"""A release that does not exist: a copy of the migrations with one more, and homes that are one behind it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from secure_rag.database import migrations
from secure_rag.database.engine import open_engine
from secure_rag.database.home import Home
from secure_rag_api.operators import os_user
from secure_rag_api.wiring import create_installation
from tests.support.server import PYTHONPATH, ROOT
from tests.support.small_world import small_world
from tests.worlds import store

NEXT = "9999"
DIED = 77
"""Exit code of a process that a migration ends with `os._exit(DIED)`."""
_HEADER = f"""
import os
DIED = {DIED}
import sqlalchemy as sa
from alembic import op
from secure_rag.database import tables as t
revision, down_revision = "{NEXT}", "{migrations.HEAD}"
def upgrade():
"""


def next_release(monkeypatch: pytest.MonkeyPatch, folder: Path, body: Sequence[str]) -> None:
    """Let this process be of a release whose last migration has these statements."""
    # Alembic reads the folder through a parser that gives % a meaning.
    copy = folder / "100%40 migrations"
    copy.parent.mkdir(exist_ok=True)
    shutil.copytree(Path(migrations.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    lines = "".join(f"    {line}\n" for line in body)
    (copy / "versions" / f"{NEXT}_throwaway.py").write_text(_HEADER + lines, encoding="utf-8")
    pretend(monkeypatch, copy)


def pretend(monkeypatch: pytest.MonkeyPatch, copy: Path) -> None:
    """Let this process be of the release that has this folder of migrations."""
    monkeypatch.setattr(migrations, "_FOLDER", copy)
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, NEXT))
    monkeypatch.setattr(migrations, "HEAD", NEXT)


def dies(home: Home, act: str, when: str = "in-migration") -> bool:
    """Whether a child process of the same release, upgrading or creating a home, is killed on the way."""
    child = [sys.executable, "-m", "tests.integration.migrations.dying", str(migrations._FOLDER)]
    done = subprocess.run(
        [*child, str(home.root), act, when],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        timeout=120,
        check=False,
    )
    return done.returncode == DIED


def filled(root: Path) -> Home:
    """A home of this release with the small world in it."""
    settings = {"profile": "development", "tenant": "acme", "operators": {os_user(): "user:ann"}}
    home = create_installation(root, yaml.safe_dump(settings))
    store(small_world(), home.control).engine.dispose()
    return home


def everything(path: Path) -> list[str]:
    """Schema and rows of a database as statements, id sequences among them."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def schema(path: Path) -> dict[str, str]:
    """Statement of every table, index and trigger, without what has no meaning: blanks, quotes, order of the parts."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
    return {f"{kind} {name}": normalised(sql) for kind, name, sql in rows}


def normalised(sql: str) -> str:
    """One spelling for statements that mean the same."""
    flat = re.sub(r"\s+", " ", sql.replace('"', "")).strip()
    if not flat.startswith("CREATE TABLE"):
        return flat
    head, _, rest = flat.partition("(")
    body, _, tail = rest.rpartition(")")
    # Columns keep their order: it is what SELECT * and INSERT without names go by.
    parts = _split(body)
    columns = [x for x in parts if not x.startswith("CONSTRAINT")]
    constraints = sorted(x for x in parts if x.startswith("CONSTRAINT"))
    return f"{head.strip()} ({', '.join([*columns, *constraints])}) {tail.strip()}"


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Rows of one query."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(statement).fetchall()


def change(path: Path, *statements: str) -> None:
    """Statements in one transaction, with the pragmas of the product."""
    engine = open_engine(path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def _split(body: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for i, c in enumerate(body):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(body[start:i].strip())
            start = i + 1
    return [*parts, body[start:].strip()]
