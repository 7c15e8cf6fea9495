"""Documents that somebody plants in a small home, readable by one group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secure_rag.database import documents as db
from secure_rag.database.documents import NewChunk, NewContent, Permission, PublicIds
from secure_rag.database.engine import write
from secure_rag.database.interning import intern_class
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import NEVER, LabelId, Micros
from secure_rag.model.labels import Trust
from secure_rag.model.locks import AclClass, Lock
from secure_rag.testing.static_embedder import HashingEmbedder
from tests.support.filled_home import DIMENSIONS, FilledHome
from tests.worlds import LABELS, NOW


def plant(
    filled: FilledHome,
    texts: Sequence[str],
    *,
    name: str = "planted",
    trust: Trust = Trust.EXTERNAL,
    label: str = LABELS[0],
    contributor: str = "user:otis",
    per_document: int = 1,
    allow: str = "group:g",
) -> None:
    """Write texts as chunks, `per_document` of them into each document."""
    stored, ids, embedder = filled.stored, PublicIds(b"p" * 32), HashingEmbedder(DIMENSIONS)
    tenant, source = stored.tenants["acme"], stored.sources["acme", "wiki"]
    lock = Lock.of([(stored.principals["acme", allow], NEVER)])
    guarded = AclClass(tenant, (lock,), LabelId(label), frozenset(), trust, source)
    with write(stored.engine) as connection:
        guard = intern_class(connection, guarded)
        for first in range(0, len(texts), per_document):
            part = texts[first : first + per_document]
            key = db.ensure_document(connection, ids, tenant, source, f"{name}/{first}", Micros(NOW))
            permission = Permission(guard, b"", "[]", "[]", Micros(NOW))
            db.put_permission(connection, key, permission, Micros(NOW))
            content = NewContent(
                name, "text/plain", contributor, f"{first:064x}", "test", Micros(NOW),
                [NewChunk(text, 0, len(text), ()) for text in part],
                np.stack([embedder.embed_document(text) for text in part]), [],
            )  # fmt: skip
            db.put_content(connection, ids, key, content, DocumentState.LIVE)
