"""Principals → locks → label → AclClass.

A label that is missing or unknown becomes the source's default, and without one the taxonomy's default, which
ships as the highest. Several labels: the highest counts. A native name that could not be mapped grants nothing in
an allow list and closes the lock in a deny list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from secure_rag.database.documents import Permission
from secure_rag.database.interning import intern_class, intern_principals
from secure_rag.errors import PolicyError
from secure_rag.model import ids
from secure_rag.model.ids import Compartment, LabelId, Micros, PrincipalId, PrincipalKey
from secure_rag.model.labels import Taxonomy
from secure_rag.model.locks import AclClass, Lock, canonical_locks
from secure_rag.model.permissions import (
    MappedLock,
    MappedPermissions,
    Narrowed,
    Origin,
    canonical_origins,
    origins_to_json,
)
from secure_rag_ingestion.sources import RegisteredSource


@dataclass(frozen=True, slots=True)
class Tag:
    """Everything that decides the class of one item, by names; nothing is interned yet."""

    locks: tuple[MappedLock, ...]
    label: LabelId
    compartments: frozenset[Compartment]
    origins: tuple[Origin, ...]
    unknown_labels: tuple[str, ...]
    unresolved: tuple[str, ...]
    digest: bytes
    narrowed: tuple[Narrowed, ...] = ()

    @property
    def principals(self) -> frozenset[PrincipalId]:
        """Everybody that the locks name."""
        return frozenset(name for lock in self.locks for name in (*(x for x, _ in lock.allow), *lock.deny))


class Tagger:
    """Tags the items of one source under one taxonomy."""

    def __init__(self, source: RegisteredSource, taxonomy: Taxonomy) -> None:
        self._source = source
        self._taxonomy = taxonomy
        self._by_name = {label.name: label.id for label in taxonomy.labels.values()}

    def tag(self, mapped: MappedPermissions) -> Tag:
        """Decide label and locks.

        Raises:
            PolicyError: no lock, or a compartment name is malformed.
        """
        if not mapped.locks:
            raise PolicyError("permissions without a lock")
        label, unknown = self._label(mapped.labels, default_counts=mapped.default_counts)
        compartments = frozenset(ids.compartment(x) for x in mapped.compartments)
        manifest = self._source.manifest
        body: dict[str, object] = {
            "locks": sorted(_lock_form(lock) for lock in mapped.locks),
            "label": label,
            "compartments": sorted(compartments),
            "trust": manifest.trust.value,
            # Names and places are no part of the class, but a change of them must reach the explanations.
            "entries": [[x.lock, x.effect, x.entry, x.place, x.principal] for x in mapped.origins],
        }
        if mapped.narrowed:
            body["narrowed"] = [[x.entry, x.place, x.why] for x in mapped.narrowed]
        digest = hashlib.sha256(
            json.dumps(body, sort_keys=True, separators=(",", ":")).encode("utf-8")
        ).digest()
        return Tag(
            locks=mapped.locks,
            label=label,
            compartments=compartments,
            origins=mapped.origins,
            unknown_labels=unknown,
            unresolved=tuple(sorted({f"{x.effect} {x.name}" for x in mapped.unresolved})),
            digest=digest,
            narrowed=mapped.narrowed,
        )

    def acl_class(self, tag: Tag, keys: Mapping[PrincipalId, PrincipalKey]) -> AclClass:
        """The class of an item, given the keys of everybody that its locks name.

        Raises:
            PolicyError: a limit is exceeded.
        """
        return self._class(tag, [_lock(keys, lock) for lock in tag.locks])

    def _class(self, tag: Tag, locks: Sequence[Lock]) -> AclClass:
        return AclClass(
            tenant=self._source.tenant,
            locks=canonical_locks(locks),
            label=tag.label,
            compartments=tag.compartments,
            trust=self._source.manifest.trust,
            source=self._source.key,
        )

    def permission(self, connection: sa.Connection, tag: Tag, confirmed_at: Micros) -> Permission:
        """Intern principals, locks and class.

        Raises:
            PolicyError: a limit is exceeded; the document must not keep what it had.
        """
        keys = intern_principals(connection, self._source.tenant, tag.principals)
        locks = [_lock(keys, lock) for lock in tag.locks]
        origins = origins_to_json(canonical_origins(locks, tag.origins))
        unresolved = json.dumps(tag.unresolved, ensure_ascii=False)
        cls = self._class(tag, locks)
        return Permission(intern_class(connection, cls), tag.digest, origins, unresolved, confirmed_at)

    def _label(self, names: Sequence[str], *, default_counts: bool) -> tuple[LabelId, tuple[str, ...]]:
        unknown = tuple(sorted(x for x in names if x not in self._by_name))
        found = [self._by_name[x] for x in names if x in self._by_name]
        if unknown:
            found.append(self._taxonomy.default)
        if not found or default_counts:
            found.append(self._source.default_label or self._taxonomy.default)
        return self._taxonomy.highest(found), unknown


def _lock(keys: Mapping[PrincipalId, PrincipalKey], lock: MappedLock) -> Lock:
    return Lock.of(
        [(keys[name], expires) for name, expires in lock.allow],
        [keys[name] for name in lock.deny],
        unresolved_deny=lock.unresolved_deny,
    )


def _lock_form(lock: MappedLock) -> str:
    return json.dumps([sorted(lock.allow), sorted(lock.deny), lock.unresolved_deny], separators=(",", ":"))
