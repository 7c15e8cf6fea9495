"""What Alembic runs for every upgrade; `secure_rag.database.migrations` starts it with a connection of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

connection: sa.Connection = context.config.attributes["connection"]
# The transaction is the caller's: Alembic joins it and neither begins nor commits.
context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
