"""Permissions of all stored documents of a source, computed anew from other rules than those of its last run.

A document whose permissions cannot be read now has no tag. Whoever writes withholds it, as a run would. Neither has
one whose content at the source is another by now: the permissions of today's content must not open yesterday's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from secure_rag.database.documents import StoredDocument
from secure_rag.ports import LivePermissions, PermissionMapper
from secure_rag_ingestion.connectors.filesystem import FilesystemConnector
from secure_rag_ingestion.rereading import Reread, Rereader
from secure_rag_ingestion.sources import RegisteredSource
from secure_rag_ingestion.tagging.tagger import Tag, Tagger

_NO_CONTENT = 0
"""Bytes of content that are read."""


@dataclass(frozen=True, slots=True)
class Retagged:
    """A stored document with its permissions as they are now, or why they are not known."""

    stored: StoredDocument
    tag: Tag | None
    problem: str = ""


def retag(
    source: RegisteredSource,
    stored: Mapping[str, StoredDocument],
    tagger: Tagger,
    mapper: PermissionMapper,
    live: LivePermissions | None,
) -> list[Retagged]:
    """Compute the permissions of every stored document of a source from its path, its sidecar and the source.

    Raises:
        IngestionError: the source cannot be opened.
    """
    if mapper.failure is not None:
        return [Retagged(x, None, mapper.failure) for x in stored.values()]
    with FilesystemConnector(source.manifest.root, _NO_CONTENT, live) as connector:
        rereader = Rereader(connector, mapper, tagger, "plan")
        return [_retagged(x) for x in rereader.all(stored)]


def _retagged(found: Reread) -> Retagged:
    if found.tag is None:
        return Retagged(found.stored, None, f"{found.reason} {found.detail}".rstrip())
    if found.changed and not found.same_content:
        return Retagged(found.stored, None, "its content was not read since it changed; run the source first")
    return Retagged(found.stored, found.tag)
