"""How the parts of an office file point at each other (ECMA-376, part 2, section 9)."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from secure_rag_ingestion.parsing.archive import OfficeArchive

_RELATION = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


def relationships(archive: OfficeArchive, part: str) -> dict[str, str]:
    """Names of the parts that a part refers to, by relationship id."""
    return {identifier: target for identifier, (target, _) in _all(archive, part).items()}


def related(archive: OfficeArchive, part: str, kind: str) -> str | None:
    """Name of the first part that a part refers to as `kind`, the last segment of the relationship type."""
    return next((target for target, found in _all(archive, part).values() if found == kind), None)


def _all(archive: OfficeArchive, part: str) -> dict[str, tuple[str, str]]:
    folder, name = posixpath.split(part)
    root = archive.xml(f"{folder}/_rels/{name}.rels")
    found: dict[str, tuple[str, str]] = {}
    for entry in () if root is None else root.iter(_RELATION):
        if entry.get("TargetMode") == "External":
            continue
        target = unquote(entry.get("Target", ""))
        path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
        found[entry.get("Id", "")] = (path, entry.get("Type", "").rpartition("/")[2])
    return found
