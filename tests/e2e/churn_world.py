"""Ends and renews memberships of a filled home, one a transaction, and logs each with its policy version.

`python -m tests.e2e.churn_world HOME LOG` runs until it is told to stop. Line n of a link is the n-th membership row
of the tenant, in the order in which they were written.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from secure_rag.model.ids import NEVER

MOST_CHANGES = 200_000


def main() -> None:
    home, log = Path(sys.argv[1]), Path(sys.argv[2])
    random = np.random.default_rng(7)
    with (
        closing(sqlite3.connect(home / "control.db", timeout=60, isolation_level=None)) as connection,
        log.open("w", encoding="utf-8") as file,
    ):
        connection.execute("PRAGMA recursive_triggers=ON")
        tenant = connection.execute("SELECT id FROM tenant WHERE name = 'acme'").fetchone()[0]
        rows = connection.execute(
            "SELECT * FROM membership WHERE tenant_id = ? ORDER BY id", (tenant,)
        ).fetchall()
        live = [(n, row) for n, row in enumerate(rows) if row[5] == NEVER]
        current = {n: row[0] for n, row in live}
        print("churning", flush=True)  # noqa: T201 -- the parent waits for this line
        for _ in range(MOST_CHANGES):
            n, row = live[int(random.integers(len(live)))]
            connection.execute("BEGIN IMMEDIATE")
            now = time.time_ns() // 1000
            if n in current:
                connection.execute("UPDATE membership SET valid_to = ? WHERE id = ?", (now, current.pop(n)))
            else:
                made = connection.execute(
                    "INSERT INTO membership(tenant_id, member_id, group_id, valid_from) "
                    "VALUES (?, ?, ?, ?) RETURNING id",
                    (row[1], row[2], row[3], now),
                ).fetchone()
                current[n] = made[0]
            version = connection.execute(
                "SELECT n FROM policy_version WHERE tenant_id = ?", (tenant,)
            ).fetchone()[0]
            file.write(json.dumps({"n": version, "link": n, "ended": n not in current}) + "\n")
            file.flush()
            connection.execute("COMMIT")


if __name__ == "__main__":
    main()
