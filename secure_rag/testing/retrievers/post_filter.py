"""A plain vector search whose results are checked afterwards, one decision for each identifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from secure_rag.testing.conformance import LABELS, Asker, Corpus, Document, Leave, SetPermissions
from secure_rag.testing.retrievers.common import Directory, rank
from secure_rag.testing.static_embedder import HashingEmbedder

_MORE = 3
"""How many times `k` are fetched, in the hope that enough are left."""


class PostFilterRetriever:
    """Fetches a few times `k` and drops what the asker may not see."""

    name = "vector search with a check afterwards"

    def __init__(self) -> None:
        self._embedder = HashingEmbedder()
        self._directory = Directory()
        self._documents: list[Document] = []
        self._vectors = np.zeros((0, self._embedder.dimensions), np.float32)

    def load(self, corpus: Corpus) -> None:
        """A matrix and a list."""
        self._directory = Directory.of(corpus)
        self._documents = list(corpus.documents)
        self._vectors = np.stack([self._embedder.embed_document(x.text) for x in self._documents])

    def apply(self, change: SetPermissions | Leave) -> None:
        """Everything changes at once."""
        if isinstance(change, Leave):
            self._directory.leave(change)
            return
        self._documents = [
            replace(x, lists=change.lists) if x.key == change.key else x for x in self._documents
        ]

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        """Nearest neighbours, then one batch of checks."""
        scores = self._vectors @ self._embedder.embed_query(query)
        found = [self._documents[int(i)] for i in np.argsort(-scores, kind="stable")[: _MORE * k]]
        # One verdict for each identifier, as a batch check returns them: without identifiers the last one counts.
        verdicts = {document.id: self._may_read(asker, document) for document in found}
        return [document.text for document in found if verdicts[document.id]][:k]

    def _may_read(self, asker: Asker, document: Document) -> bool:
        principals = self._directory.principals(asker)
        entries = [entry for entries in document.lists or () for entry in entries if "read" in entry.rights]
        allowed = any(entry.allow and entry.principal in principals for entry in entries)
        denied = any(not entry.allow and entry.principal in principals for entry in entries)
        # The last label that was written is the one that is kept.
        kept = document.second_label or document.label
        label = len(LABELS) - 1 if kept is None else LABELS.index(kept)
        within = document.tenant == asker.tenant and label <= rank(asker) and not document.quarantined
        return allowed and not denied and within
