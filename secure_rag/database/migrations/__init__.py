"""Migrations: how the control database of one release becomes that of the next.

An upgrade is one transaction, the revision number included: it happens whole or not at all. There is no downgrade;
the way back is the backup that `secure-rag upgrade` makes first.

Rules for a migration (a file in `versions/`, its number appended to `REVISIONS`):
    * Prefer `op.add_column` and the like. Rebuild a table (`op.batch_alter_table`) only when SQLite has no ALTER for
      it, and then with `copy_from=`, a table written out with `sqlite_strict=True` and `sqlite_autoincrement=True`.
    * Import nothing of `secure_rag`: what a migration builds must not change with the code around it.
    * Rows of authority tables are changed by statements, so that triggers move the policy version.
    * Who removes content adds 1 to the counter `unerased`, so that the next ingest run takes it out of the files too.
What a rebuild loses (triggers, id sequences) is put back here; what it must not lose is checked before the commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol, cast

import sqlalchemy as sa
from sqlalchemy import exc

from secure_rag.database.engine import open_engine
from secure_rag.database.triggers import install_triggers
from secure_rag.errors import ConfigError, UnavailableError

REVISIONS: Final = ("0001", "0002")
"""Every revision, oldest first. Known without importing Alembic, so that the check at each start stays cheap."""
HEAD: Final = REVISIONS[-1]
"""The revision that this release works with."""

_FOLDER: Final = Path(__file__).resolve().parent
_VERSION_TABLE: Final = "alembic_version"
# Alembic's own would not be STRICT.
_CREATE_VERSION_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS alembic_version (version_num TEXT NOT NULL PRIMARY KEY) STRICT"
)


class _Driver(Protocol):
    def execute(self, statement: str, /) -> object: ...


def revision(connection: sa.Connection) -> str | None:
    """Revision of a control database; None when no release of ours has made it.

    Raises:
        ConfigError: it claims several revisions at once.
    """
    if _VERSION_TABLE not in _tables(connection):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
    if len(found) > 1:
        raise ConfigError(f"{_VERSION_TABLE}: {len(found)} revisions in one database")
    return str(found[0]) if found else None


def upgrade(path: Path) -> None:
    """Bring a control database to `HEAD`: an empty file becomes a new one, one at `HEAD` stays as it is.

    Raises:
        ConfigError: the database is of a newer release or of none, or would not be sound afterwards.
        UnavailableError: it is locked, full or read-only. After any error nothing was changed.
    """
    engine = open_engine(path)
    try:
        with engine.connect().execution_options(writes=True) as connection:
            # With foreign keys on, the rebuild of a table deletes its rows first, and what refers to them: they go by
            # ON DELETE, or the rebuild fails. Inside a transaction the pragma does nothing, so it comes before BEGIN.
            driver = cast("_Driver", connection.connection.dbapi_connection)
            driver.execute("PRAGMA foreign_keys=OFF")
            with connection.begin():
                migrate(connection)
    except exc.OperationalError as error:
        raise UnavailableError(f"{path}: cannot be upgraded, nothing was changed: {error.orig}") from error
    except exc.DatabaseError as error:
        raise ConfigError(f"{path}: cannot be upgraded, nothing was changed: {error.orig}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: cannot be upgraded, nothing was changed: {error}") from error
    finally:
        engine.dispose()


def migrate(connection: sa.Connection) -> None:
    """The steps of an upgrade, inside a write transaction of the caller that was begun with foreign keys off.

    Raises:
        ConfigError: as `upgrade`; the caller must roll back.
    """
    if connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() != 0:
        raise ConfigError("foreign keys are on, and the rebuild of a table would delete rows")
    _refuse_foreign(connection)
    sequences = _sequences(connection)
    connection.exec_driver_sql(_CREATE_VERSION_TABLE)
    _run_alembic(connection)
    _restore_sequences(connection, sequences)
    _replace_triggers(connection)
    _refuse_unsound(connection)


def _refuse_foreign(connection: sa.Connection) -> None:
    found = revision(connection)
    if found is None and _tables(connection) - {_VERSION_TABLE}:
        raise ConfigError("it has tables but no revision: no release has made it")
    if found is not None and found not in REVISIONS:
        raise ConfigError(f"it is at revision {found}, which this release (revision {HEAD}) does not know")


def _run_alembic(connection: sa.Connection) -> None:
    # Imported here: it takes a sixth of a second, and only new and old databases need it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # Alembic reads its options through a parser that gives % a meaning.
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    command.upgrade(config, "head")


def _restore_sequences(connection: sa.Connection, before: dict[str, int]) -> None:
    """A rebuilt table counts from its largest id again; the ids above it were given out and deleted."""
    after = _sequences(connection)
    for table in before.keys() & _tables(connection):
        if table not in after:
            connection.exec_driver_sql(
                "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, before[table])
            )
        elif after[table] < before[table]:
            connection.exec_driver_sql(
                "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", (before[table], table)
            )


def _replace_triggers(connection: sa.Connection) -> None:
    """A rebuilt table has lost its triggers, and a release may drop some: only today's are left."""
    names = (
        connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").scalars().all()
    )
    for name in names:
        quoted = connection.dialect.identifier_preparer.quote_identifier(name)
        connection.exec_driver_sql(f"DROP TRIGGER {quoted}")
    install_triggers(connection)


def _refuse_unsound(connection: sa.Connection) -> None:
    """What every table of ours promises, whoever wrote the migration."""
    found = revision(connection)
    if found != HEAD:
        raise ConfigError(f"the upgrade ended at revision {found} instead of {HEAD}")
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if dangling:
        tables = sorted({str(row[0]) for row in dangling})
        raise ConfigError(f"{len(dangling)} rows would refer to nothing: {', '.join(tables)}")
    loose = connection.exec_driver_sql(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict"
    ).scalars()
    if bad := sorted(set(loose) & _tables(connection)):
        raise ConfigError(f"tables would not be STRICT: {', '.join(bad)}")
    reusing = connection.exec_driver_sql(
        "SELECT m.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c ON c.name = 'id' "
        "WHERE m.type = 'table' AND m.sql NOT LIKE '%AUTOINCREMENT%'"
    ).scalars()
    if bad := sorted(reusing):
        raise ConfigError(f"deleted ids would be given out again: {', '.join(bad)}")


def _tables(connection: sa.Connection) -> set[str]:
    """Names of the tables; SQLite's own have none that a table of ours may have."""
    rows = connection.exec_driver_sql(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    )
    return {str(name) for name in rows.scalars()}


def _sequences(connection: sa.Connection) -> dict[str, int]:
    if not connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'").all():
        return {}
    rows = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all()
    return {str(name): int(seq) for name, seq in rows}
