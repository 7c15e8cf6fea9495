"""Who has a name that other systems gave: by the directory's dated aliases, or by a table beside a mapping.

Invariants
- A name that ever belonged to two principals means nobody, and so does one that is not valid now: who gets a
  recycled mail address does not inherit.
- An address does not say who somebody is whose identifier the directory does not have for its owner: an account that
  was made anew under an old address is another one.
- ASCII case does not distinguish names, so that no spelling escapes that rule; any other letter does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError
from secure_rag.model.ids import Micros, PrincipalId, TenantKey
from secure_rag_acl.aliases import OBJECT, SID, stored
from secure_rag_acl.data_files import decode
from secure_rag_acl.fields import canonical, native_name

MAX_TABLE_BYTES: Final = 64 << 20
_COLUMNS: Final = 2
_IDENTIFIERS: Final = (f"{SID}:", f"{OBJECT}:")


class Gone(StrEnum):
    """Why a name that the directory knows means nobody."""

    RECYCLED = "recycled"
    """It belonged to two principals."""
    ENDED = "ended"
    """It belongs to nobody now."""


def _empty() -> Mapping[str, PrincipalId | Gone]:
    return MappingProxyType({})


def _no_identifiers() -> Mapping[PrincipalId, frozenset[str]]:
    return MappingProxyType({})


def _kind(alias: str) -> str:
    return f"{alias.partition(':')[0]}:"


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Every alias that the directory of a tenant ever had, as it stands at one instant."""

    names: Mapping[str, PrincipalId | Gone] = field(default_factory=_empty)
    identifiers: Mapping[PrincipalId, frozenset[str]] = field(default_factory=_no_identifiers)
    """SIDs and object ids that are valid now, as folded aliases."""

    def find(self, alias: str) -> PrincipalId | Gone | None:
        """Whose alias it is; None when the directory never had it."""
        return self.names.get(fold(alias))

    def contradict(self, principal: PrincipalId, identifiers: Iterable[str]) -> bool:
        """Whether the directory has, for a principal, identifiers of one of these kinds but not these."""
        own = self.identifiers.get(principal, frozenset())
        return any(
            fold(alias) not in own and any(x.startswith(_kind(alias)) for x in own) for alias in identifiers
        )

    @staticmethod
    def of(rows: Iterable[tuple[str, PrincipalId, Micros, Micros]], now: Micros) -> KnownNames:
        """From alias, principal and dates of each time that it was given out."""
        owners: dict[str, set[PrincipalId]] = {}
        valid: set[str] = set()
        for alias, principal, begins, ends in rows:
            # Homes of the first release keep mail addresses without their kind.
            key = fold(stored(alias))
            owners.setdefault(key, set()).add(principal)
            if begins <= now < ends:
                valid.add(key)
        found: dict[str, PrincipalId | Gone] = {}
        identifiers: dict[PrincipalId, set[str]] = {}
        for key, principals in owners.items():
            if len(principals) > 1:
                found[key] = Gone.RECYCLED
            else:
                found[key] = owner = next(iter(principals)) if key in valid else Gone.ENDED
                if not isinstance(owner, Gone) and key.startswith(_IDENTIFIERS):
                    identifiers.setdefault(owner, set()).add(key)
        return KnownNames(
            MappingProxyType(found), MappingProxyType({x: frozenset(y) for x, y in identifiers.items()})
        )


NOTHING_KNOWN: Final = KnownNames()


def read_known_names(connection: sa.Connection, tenant: TenantKey, now: Micros) -> KnownNames:
    """The aliases of a tenant; those that ended long ago are among them, since they decide who inherits."""
    a, p = t.alias.c, t.principal.c
    rows = connection.execute(
        sa.select(a.alias, p.name, a.valid_from, a.valid_to)
        .join(t.principal, p.id == a.principal_id)
        .where(a.tenant_id == tenant)
    )
    return KnownNames.of(
        ((r.alias, PrincipalId(r.name), Micros(r.valid_from), Micros(r.valid_to)) for r in rows), now
    )


def parse_table(data: bytes, name: str, column: str) -> dict[str, PrincipalId]:
    """A table beside a mapping: CSV with the columns `column` and `principal`; keys are folded.

    Raises:
        ConfigError: it is malformed, or names one entry twice; names file and line.
    """
    reader = csv.reader(io.StringIO(decode(data, name), newline=""), strict=True)
    found: dict[str, PrincipalId] = {}
    try:
        if next(reader, None) != [column, "principal"]:
            raise ConfigError(f"{name}:1: the columns are {column},principal")
        for row in reader:
            if not row:
                continue
            if len(row) != _COLUMNS:
                raise ConfigError(f"{name}:{reader.line_num}: not {_COLUMNS} columns")
            key = fold(native_name(row[0]))
            if key in found:
                raise ConfigError(f"{name}:{reader.line_num}: {row[0]!r} occurs twice")
            found[key] = canonical(row[1])
    except (csv.Error, ValueError) as error:
        raise ConfigError(f"{name}:{reader.line_num}: {error}") from error
    if not found:
        raise ConfigError(f"{name}:1: no entries")
    return found


def fold(name: str) -> str:
    """How names are compared. Beyond ASCII another letter is another name: some would fold into ASCII ones."""
    return name.lower() if name.isascii() else name
