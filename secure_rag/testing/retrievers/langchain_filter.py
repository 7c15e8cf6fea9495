"""A LangChain vector store as a retriever with a metadata filter. Needs `pip install 'secure-rag[conform]'`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.documents import Document as Page
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from secure_rag.testing.conformance import LABELS, Asker, Corpus, Document, Leave, SetPermissions
from secure_rag.testing.retrievers.common import Directory, metadata, names, rank
from secure_rag.testing.static_embedder import HashingEmbedder


class _Hashing(Embeddings):
    def __init__(self) -> None:
        self._embedder = HashingEmbedder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self._embedder.embed_document(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        found: list[float] = self._embedder.embed_query(text).tolist()
        return found


class LangChainFilterRetriever:
    """A predicate over metadata; what a page does not say counts as open, as in many tutorials."""

    name = "LangChain retriever with a metadata filter"

    def __init__(self) -> None:
        self._store = InMemoryVectorStore(_Hashing())
        self._directory = Directory()
        self._documents: dict[str, Document] = {}

    def load(self, corpus: Corpus) -> None:
        """One page for each document."""
        self._directory = Directory.of(corpus)
        self._documents = {document.key: document for document in corpus.documents}
        self._store.add_documents([_page(x) for x in corpus.documents], ids=list(self._documents))

    def apply(self, change: SetPermissions | Leave) -> None:
        """Members change at once; permissions replace the page."""
        if isinstance(change, Leave):
            self._directory.leave(change)
            return
        changed = replace(self._documents[change.key], lists=change.lists)
        self._store.add_documents([_page(changed)], ids=[change.key])

    def search(self, asker: Asker, query: str, k: int) -> Sequence[str]:
        """The retriever that `as_retriever` makes."""
        principals = self._directory.principals(asker)

        def admits(page: Page) -> bool:
            found: dict[str, object] = page.metadata
            listed = "allowed" not in found or any(x in names(found, "allowed") for x in principals)
            denied = any(x in names(found, "denied") for x in principals)
            label = found.get("label", LABELS.index("Public"))
            labels = label if isinstance(label, list) else [label]
            within = any(isinstance(x, int) and x <= rank(asker) for x in labels)
            return (
                listed
                and not denied
                and within
                and found["tenant"] == asker.tenant
                and not found["quarantined"]
            )

        retriever = self._store.as_retriever(search_kwargs={"k": k, "filter": admits})
        return [page.page_content for page in retriever.invoke(query)]


def _page(document: Document) -> Page:
    return Page(page_content=document.text, metadata=metadata(document))
