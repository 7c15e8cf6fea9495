"""Run as a program: flips class and text of documents, both in one transaction, until its standard input closes.

Arguments: database, open class, secret class. A chunk keeps its key while its text changes, which the product
itself never does: the worst case for a reader.
"""

from __future__ import annotations

import select
import sqlite3
import sys


def main(path: str, open_class: int, secret_class: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    documents = [row[0] for row in connection.execute("SELECT id FROM document ORDER BY id")]
    turn = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        secret = turn // len(documents) % 2 == 0
        document = documents[turn % len(documents)]
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "UPDATE chunk SET text = ? WHERE document_id = ?", ("secret" if secret else "open", document)
        )
        connection.execute(
            "UPDATE document SET class_id = ?, version = version + 1, seq = (SELECT max(seq) + 1 FROM document) "
            "WHERE id = ?",
            (secret_class if secret else open_class, document),
        )
        connection.execute("COMMIT")
        turn += 1
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
