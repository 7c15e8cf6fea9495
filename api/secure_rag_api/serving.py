"""From an opened installation to what the HTTP layer serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_rag_api.auth.setup import verifier_of
from secure_rag_api.explaining import Explaining
from secure_rag_api.rate import RateLimiter
from secure_rag_api.served import ServedHome
from secure_rag_api.stale_sources import StalenessWatch

if TYPE_CHECKING:
    from secure_rag_api.wiring import Installation


def served_home(opened: Installation, host: str) -> ServedHome:
    """Load everything that a query needs, before the first one comes.

    Raises:
        ConfigError: no issuer is configured, or its keys cannot be read.
        ModelError: the embedding model is missing or altered.
        StoreError: the vector store cannot be reached or belongs to another engine.
    """
    tokens = verifier_of(opened.home.root, opened.settings, opened.clock, host=host)
    retrieval = opened.retrieval
    retrieval.embedder.embed_query("warm-up")
    if opened.remote_store is not None:
        opened.remote_store.follow()

    watch = StalenessWatch(opened)
    opened.closing.callback(watch.close)
    watch.start()

    def not_ready() -> list[str]:
        checks = {"vector store": retrieval.store.ready(), "audit log": opened.audit.ready()}
        return [name for name, good in checks.items() if not good]

    return ServedHome(
        retriever=retrieval,
        explainer=Explaining(opened),
        tokens=tokens,
        limiter=RateLimiter(opened.settings.requests_per_minute, opened.clock),
        ready=not_ready,
        close=opened.close,
    )
