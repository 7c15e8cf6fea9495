"""Run as a program: writes random changes for ever and prints a sequence number after each commit.

Arguments: root of a home, seed, dimensions. Meant to be killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.model.ids import ClassKey, DocumentKey, SourceKey
from secure_rag.testing.index_builder import IndexBuilder, unit_vectors


def main(root: str, seed: int, dimensions: int) -> None:
    random = np.random.default_rng(seed)
    builder = IndexBuilder(Path(root), dimensions=dimensions)
    with builder.engine.connect() as connection:
        source = SourceKey(connection.execute(sa.select(t.source.c.id)).scalar_one())
        classes = [ClassKey(x) for x in connection.execute(sa.select(t.acl_class.c.id)).scalars()]
    while True:
        picked = f"{random.integers(60)}.txt"
        cls = classes[int(random.integers(len(classes)))]
        with builder.engine.connect() as connection:
            found = connection.execute(
                sa.select(t.document.c.id).where(t.document.c.native_id == picked)
            ).scalar()
        match int(random.integers(4)):
            case 0 if found is not None:
                builder.delete([DocumentKey(found)])
            case 1 if found is not None:
                builder.repoint([DocumentKey(found)], cls)
            case _:
                vectors = unit_vectors(random, int(random.integers(1, 9)), dimensions)
                builder.document(source, cls, vectors, native_id=picked)
        sys.stdout.write(f"{builder.seq()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
