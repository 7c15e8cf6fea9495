"""Whom the source authenticated as author. Never what a document says of itself."""

from __future__ import annotations

from secure_rag.globs import Glob
from secure_rag_ingestion.sources import SourceManifest, unknown_contributor


class Contributors:
    """Ordered rules of one source; the last matching one decides."""

    def __init__(self, manifest: SourceManifest) -> None:
        self._rules = [(Glob(rule.path), rule.principal) for rule in manifest.contributors]
        self._unknown = unknown_contributor(manifest.id)

    def of(self, path: str) -> str:
        """Contributor of an item; one unknown, lowest-trust contributor per source without a rule."""
        found = (principal for glob, principal in reversed(self._rules) if glob.matches(path))
        return next(found, self._unknown)
