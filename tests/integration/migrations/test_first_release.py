"""The control database of the first release becomes today's, with what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from secure_rag.database import migrations
from secure_rag.database import tables as t
from secure_rag.database.engine import open_engine
from secure_rag.database.triggers import missing_triggers
from tests.controls import control
from tests.integration.migrations.throwaway import schema

_HELD = (
    "INSERT INTO tenant (name) VALUES ('acme')",
    "INSERT INTO principal (tenant_id, name, kind, state) VALUES (1, 'user:ada', 'member', 'active')",
    "INSERT INTO source (tenant_id, name, kind, trust, max_acl_age, manifest) "
    "VALUES (1, 'hr', 'filesystem', 'internal', 1, '')",
    "INSERT INTO run (tenant_id, source_id, public_id, started_by, started_at, status, detail) "
    "VALUES (1, 1, 'r1', 'user:ada', 5, 'completed', '')",
)


@control("ops:upgrade-keeps-guards")
def test_a_database_of_the_first_release_is_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    to_head = command.upgrade
    with monkeypatch.context() as first:
        first.setattr(migrations, "HEAD", "0001")
        first.setattr(command, "upgrade", lambda config, _revision: to_head(config, "0001"))
        # Today's triggers would be on tables that the first release does not have.
        first.setattr(migrations, "install_triggers", lambda _connection: None)
        migrations.upgrade(old)
    engine = open_engine(old)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        assert migrations.revision(connection) == "0001"
        for statement in _HELD:
            connection.exec_driver_sql(statement)
    engine.dispose()
    migrations.upgrade(old)
    migrations.upgrade(new)
    assert schema(old) == schema(new)
    engine = open_engine(old, read_only=True)
    with engine.connect() as connection:
        assert missing_triggers(connection) == []
        assert connection.execute(sa.select(t.run.c.public_id, t.run.c.kind)).all() == [("r1", "content")]
        assert connection.execute(sa.select(t.principal.c.name)).scalars().all() == ["user:ada"]
    engine.dispose()
