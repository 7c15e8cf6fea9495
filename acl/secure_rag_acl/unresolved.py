"""Native names that mean nobody: what they close or fail to grant, why, and whom the directory would suggest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import PrincipalId, SourceKey
from secure_rag.model.permissions import DENY
from secure_rag_acl.aliases import MAIL
from secure_rag_acl.formats.native import NativePrincipal
from secure_rag_acl.known_names import Gone, KnownNames
from secure_rag_acl.mapping_edits import NewLine
from secure_rag_acl.principals import PrincipalMapping, Why, identifier_aliases, is_broad, named, of_its_kind

SAMPLES: Final = 3
RESOLVED: Final = "mapped_since"
"""The mapping or the directory knows the name by now; the next run takes it up."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Whom the directory has under the identifier or address of a name."""

    principal: PrincipalId
    by: str
    """`sid`, `object` or `mail`."""
    merge: bool
    """Whether the principal has other names in the mapping, so that its line says `merge: true`."""


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One name on one kind of list."""

    effect: str
    """`deny`: closes the lock for everybody. `allow`: grants nothing."""
    name: str
    why: str
    documents: int
    samples: tuple[str, ...]
    """Native ids of some of the documents."""
    candidates: tuple[PrincipalId, ...] = ()
    """Of an ambiguous name."""
    display: str | None = None
    suggestion: Suggestion | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(slots=True)
class _Seen:
    documents: int = 0
    samples: list[str] = field(default_factory=list[str])


def unresolved(
    connection: sa.Connection,
    source: SourceKey,
    principals: PrincipalMapping,
    known: KnownNames,
    hints: Mapping[str, NativePrincipal],
) -> list[Unresolved]:
    """Names of one source that meant nobody when its documents were tagged: denies first, then by documents.

    Args:
        connection: of the control database.
        source: whose.
        principals: its mapping as it is now.
        known: aliases of the tenant's directory.
        hints: names with what the source says of them, by name; others are taken as they are written.
    """
    found = [
        _described(effect, name, seen, principals, hints.get(name) or named(name))
        for (effect, name), seen in _stored(connection, source).items()
    ]
    found.sort(key=lambda x: (x.effect != DENY, -x.documents, x.name))
    return list(_suggested(found, principals, known, hints))


def confirmations(names: Iterable[Unresolved]) -> list[NewLine]:
    """Lines that take every suggestion, each name once."""
    lines = {
        x.name: NewLine(x.name, x.suggestion.principal, x.suggestion.merge)
        for x in names
        if x.suggestion is not None
    }
    return list(lines.values())


def _stored(connection: sa.Connection, source: SourceKey) -> dict[tuple[str, str], _Seen]:
    d = t.document.c
    rows = connection.execute(
        sa.select(d.native_id, d.unresolved)
        .where(d.source_id == source, d.unresolved != "[]", d.state != int(DocumentState.DELETED))
        .order_by(d.native_id)
    )
    found: dict[tuple[str, str], _Seen] = {}
    parsed: dict[str, list[tuple[str, str]]] = {}
    for native_id, stored in rows:
        if stored not in parsed:
            parsed[stored] = [_split(x) for x in json.loads(stored)]
        for key in parsed[stored]:
            seen = found.setdefault(key, _Seen())
            seen.documents += 1
            if len(seen.samples) < SAMPLES:
                seen.samples.append(native_id)
    return found


def _split(entry: str) -> tuple[str, str]:
    effect, _, name = entry.partition(" ")
    return effect, name


def _described(
    effect: str, name: str, seen: _Seen, principals: PrincipalMapping, native: NativePrincipal
) -> Unresolved:
    now = principals.look_up(native)
    return Unresolved(
        effect=effect,
        name=name,
        why=RESOLVED if now.why is None else now.why.value,
        documents=seen.documents,
        samples=tuple(seen.samples),
        candidates=now.candidates,
        display=native.display,
    )


def _suggested(
    names: Sequence[Unresolved],
    principals: PrincipalMapping,
    known: KnownNames,
    hints: Mapping[str, NativePrincipal],
) -> Iterable[Unresolved]:
    taken = set(principals.names.values())
    lines: dict[str, Suggestion] = {}
    for x in names:
        if x.why != Why.UNMAPPED or x.name in lines:
            continue
        found = _suggestion(hints.get(x.name) or named(x.name), known)
        if found is not None:
            principal, by = found
            merge = principal in taken or any(cover.claims(principal) for cover in principals.covers)
            taken.add(principal)
            lines[x.name] = Suggestion(principal, by, merge)
    for x in names:
        yield replace(x, suggestion=lines.get(x.name))


def _suggestion(native: NativePrincipal, known: KnownNames) -> tuple[PrincipalId, str] | None:
    """One principal and only one; nobody for everyone-like names and for addresses that changed hands."""
    if native.broad or is_broad(native.name):
        return None
    aliases = identifier_aliases(native)
    if native.mail is not None:
        aliases = (*aliases, f"{MAIL}:{native.mail}")
    hits: list[tuple[PrincipalId, str]] = []
    for alias in aliases:
        who = of_its_kind(native, known.find(alias))
        if isinstance(who, Gone):
            return None
        if who is not None:
            hits.append((who, alias.partition(":")[0]))
    hits = [(who, by) for who, by in hits if not known.contradict(who, identifier_aliases(native))]
    return hits[0] if len({who for who, _ in hits}) == 1 else None
