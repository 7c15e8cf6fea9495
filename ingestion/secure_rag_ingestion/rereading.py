"""Permissions of stored documents read anew at their source, without opening any content.

Invariants
- The permissions of a file are read first, then what the file is now: a file that is still the one that was indexed
  had these permissions, so that they never meet the text of another moment.
- Whoever cannot be read has no tag, and a reason of the closed list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from secure_rag.database.documents import StoredDocument
from secure_rag.errors import ConfigError, UnavailableError
from secure_rag.ports import PermissionMapper
from secure_rag_ingestion.connectors.filesystem import SIDECAR_SUFFIX, FilesystemConnector, Listed
from secure_rag_ingestion.failures import ItemFailedError, reason_of
from secure_rag_ingestion.runs import ReasonCode
from secure_rag_ingestion.tagging.tagger import Tag, Tagger


@dataclass(frozen=True, slots=True)
class Reread:
    """A stored document with its permissions as they are now, or why they are not known.

    `same_content`: the file is still the one whose content is stored.
    """

    stored: StoredDocument
    tag: Tag | None
    same_content: bool = False
    reason: str = ""
    detail: str = ""

    @property
    def changed(self) -> bool:
        """Whether the permissions differ from the stored ones."""
        return self.tag is not None and self.tag.digest != self.stored.permission_digest


@dataclass(frozen=True, slots=True)
class Rereader:
    """Reads permissions through an opened connector."""

    connector: FilesystemConnector
    mapper: PermissionMapper
    tagger: Tagger
    run: str

    def all(self, stored: Mapping[str, StoredDocument]) -> Iterator[Reread]:
        """Every stored document, by a listing of the source; `connector.complete` tells what that is worth."""
        listing = {x.native_id: x for x in self.connector.list()}
        for name, document in stored.items():
            listed = listing.get(name)
            if listed is not None:
                yield self._listed(document, listed, sidecar=name + SIDECAR_SUFFIX in listing)
            elif self.connector.complete:
                yield Reread(document, None, reason=ReasonCode.GONE_AT_SOURCE.value)
            else:
                reason = ReasonCode.UNREADABLE.value
                yield Reread(document, None, reason=reason, detail="a folder could not be read")

    def some(self, documents: Iterable[StoredDocument]) -> Iterator[Reread]:
        """Single documents, each with nothing but its folder listed."""
        for document in documents:
            name = document.native_id
            try:
                listing = {x.native_id: x for x in self.connector.beside(name)}
            except ItemFailedError as error:
                yield Reread(document, None, reason=error.reason.value, detail=error.detail)
                continue
            if name in listing:
                yield self._listed(document, listing[name], sidecar=name + SIDECAR_SUFFIX in listing)
            else:
                yield Reread(document, None, reason=ReasonCode.GONE_AT_SOURCE.value)

    def _listed(self, document: StoredDocument, listed: Listed, *, sidecar: bool) -> Reread:
        if listed.problem is not None:
            return Reread(document, None, reason=listed.problem.value, detail=listed.detail)
        return self._read(document, sidecar=sidecar)

    def _read(self, document: StoredDocument, *, sidecar: bool) -> Reread:
        try:
            tag = self._tag(document.native_id, sidecar=sidecar)
            signature = self.connector.signature(document.native_id)
        except UnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 -- one document must not stop the run: it is withheld and reported
            reason, detail = reason_of(error, self.run)
            return Reread(document, None, reason=reason, detail=detail)
        return Reread(document, tag, same_content=signature == document.signature != "")

    def _tag(self, name: str, *, sidecar: bool) -> Tag:
        found, live = self.connector.guards(name) if sidecar or self.connector.guarded else (None, None)
        sidecar_name = None if found is None else name + SIDECAR_SUFFIX
        try:
            if live is None:
                mapped = self.mapper.map(name, found, sidecar_name)
            else:
                mapped = self.mapper.map(name, found, sidecar_name, live)
        except ConfigError as error:
            raise ItemFailedError(ReasonCode.BAD_SIDECAR, str(error)) from error
        return self.tagger.tag(mapped)
