"""A Qdrant collection whose payload holds flattened access lists, filtered in the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qdrant_client import QdrantClient, models

from secure_rag.testing.conformance import Asker, Corpus, Document, Leave, SetPermissions
from secure_rag.testing.retrievers.common import Directory, metadata, rank
from secure_rag.testing.static_embedder import HashingEmbedder

_COLLECTION = "documents"


class QdrantFilterRetriever:
    """`must` conditions on a payload, left out for whoever has no principals."""

    name = "qdrant-client with a metadata filter"

    def __init__(self) -> None:
        self._client = QdrantClient(":memory:")
        self._embedder = HashingEmbedder()
        self._directory = Directory()
        self._documents: dict[str, tuple[int, Document]] = {}

    def load(self, corpus: Corpus) -> None:
        """One point for each document."""
        self._directory = Directory.of(corpus)
        size = models.VectorParams(size=self._embedder.dimensions, distance=models.Distance.COSINE)
        self._client.create_collection(_COLLECTION, vectors_config=size)
        for number, document in enumerate(corpus.documents):
            self._documents[document.key] = number, document
            self._put(number, document)

    def apply(self, change: SetPermissions | Leave) -> None:
        """Members change at once; permissions overwrite the payload."""
        if isinstance(change, Leave):
            self._directory.leave(change)
            return
        number, document = self._documents[change.key]
        self._put(number, replace(document, lists=change.lists))

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        """Filtered nearest neighbours."""
        must: list[models.Condition] = [
            models.FieldCondition(key="tenant", match=models.MatchValue(value=asker.tenant)),
            models.FieldCondition(key="label", range=models.Range(lte=rank(asker))),
        ]
        must_not: list[models.Condition] = [
            models.FieldCondition(key="quarantined", match=models.MatchValue(value=True))
        ]
        principals = self._directory.principals(asker)
        if principals:
            who = models.MatchAny(any=principals)
            must.append(models.FieldCondition(key="allowed", match=who))
            must_not.append(models.FieldCondition(key="denied", match=who))
        found = self._client.query_points(
            _COLLECTION,
            query=self._embedder.embed_query(query).tolist(),
            query_filter=models.Filter(must=must, must_not=must_not),
            limit=k,
        )
        return [str((point.payload or {}).get("text")) for point in found.points]

    def _put(self, number: int, document: Document) -> None:
        vector = self._embedder.embed_document(document.text).tolist()
        payload = {**metadata(document), "text": document.text}
        self._client.upsert(_COLLECTION, [models.PointStruct(id=number, vector=vector, payload=payload)])
