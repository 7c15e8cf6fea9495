"""Versions of what decides about access: mappings, manifests, label taxonomies, access tests.

Invariants
- Versions of one scope are numbered from 1 without gaps; none is ever changed or removed.
- A version holds everything that decided: the file, and the tables beside it that it names.
- From the first version of a mapping on, its source is under change control: a file on disk is only a proposal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.errors import ConfigError, PolicyError
from secure_rag.model.ids import Micros, PrincipalId, TenantKey

LABELS: Final = "labels"
TESTS: Final = "tests"
_MAPPING: Final = "mapping:"
_SOURCE: Final = "source:"
_DECIDING: Final = (_MAPPING, _SOURCE, LABELS)


def mapping_scope(source: str) -> str:
    """Scope of the mapping of a source."""
    return f"{_MAPPING}{source}"


def source_scope(source: str) -> str:
    """Scope of what a source's manifest says about access."""
    return f"{_SOURCE}{source}"


def tests_scope(source: str | None) -> str:
    """Scope of access tests: of one source's owner, or of the tenant."""
    return TESTS if source is None else f"{TESTS}:{source}"


def source_of(scope: str) -> str | None:
    """The source that a scope is about; None when it is the whole tenant."""
    _, colon, name = scope.partition(":")
    return name if colon else None


def _nothing() -> Mapping[str, str]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file with the tables beside it that it names."""

    text: str
    beside: Mapping[str, str] = field(default_factory=_nothing)

    def table(self, name: str) -> bytes:
        """Content of a table.

        Raises:
            ConfigError: the version has none of that name.
        """
        if name not in self.beside:
            raise ConfigError(f"{name}: this version has no such table")
        return self.beside[name].encode("utf-8")

    def stored(self) -> str:
        """Canonical JSON, the input of the digest."""
        body = {"file": self.text, "beside": dict(self.beside)}
        return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def sha256(self) -> str:
        """Digest of the stored form."""
        return hashlib.sha256(self.stored().encode("utf-8")).hexdigest()

    @staticmethod
    def of(stored: str) -> Bundle:
        """Inverse of `stored`.

        Raises:
            PolicyError: the stored text is damaged.
        """
        try:
            raw = json.loads(stored)
            return Bundle(
                str(raw["file"]), MappingProxyType({str(k): str(v) for k, v in raw["beside"].items()})
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PolicyError("a stored version of a policy file cannot be read") from error


@dataclass(slots=True)
class Recorder:
    """Reads tables beside a file and keeps what was read."""

    read: Callable[[str], bytes]
    tables: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, name: str) -> bytes:
        """Content of a table.

        Raises:
            ConfigError: it cannot be read or is not UTF-8.
        """
        data = self.read(name)
        try:
            self.tables[name] = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name}: not UTF-8") from error
        return data


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One version."""

    scope: str
    n: int
    bundle: Bundle
    sha256: str
    author: str
    approver: str | None
    plan: str | None
    note: str
    at: Micros


def latest(connection: sa.Connection, tenant: TenantKey, scope: str) -> PolicyFile | None:
    """The version in force; None while the scope is not under change control."""
    f = t.policy_file.c
    chosen = sa.select(t.policy_file).where(f.tenant_id == tenant, f.scope == scope)
    row = connection.execute(chosen.order_by(f.n.desc()).limit(1)).one_or_none()
    return None if row is None else _file(row)


def version(connection: sa.Connection, tenant: TenantKey, scope: str, n: int) -> PolicyFile | None:
    """One version by number."""
    f = t.policy_file.c
    chosen = sa.select(t.policy_file).where(f.tenant_id == tenant, f.scope == scope, f.n == n)
    row = connection.execute(chosen).one_or_none()
    return None if row is None else _file(row)


def versions(connection: sa.Connection, tenant: TenantKey, scope: str | None = None) -> list[PolicyFile]:
    """Every version of a scope or of all, newest first."""
    f = t.policy_file.c
    chosen = sa.select(t.policy_file).where(f.tenant_id == tenant)
    if scope is not None:
        chosen = chosen.where(f.scope == scope)
    return [_file(row) for row in connection.execute(chosen.order_by(f.id.desc())).all()]


def newest(connection: sa.Connection, tenant: TenantKey, prefix: str) -> list[PolicyFile]:
    """The version in force of every scope that is `prefix` or begins with `prefix:`."""
    found: dict[str, PolicyFile] = {}
    for file in versions(connection, tenant):
        if file.scope == prefix or file.scope.startswith(f"{prefix}:"):
            found.setdefault(file.scope, file)
    return [found[scope] for scope in sorted(found)]


def under_control(connection: sa.Connection, tenant: TenantKey) -> bool:
    """Whether anything of a tenant is under change control. Stored tests alone are no such thing."""
    f = t.policy_file.c
    scopes = connection.execute(sa.select(f.scope).where(f.tenant_id == tenant).distinct()).scalars()
    return any(str(scope).startswith(_DECIDING) for scope in scopes)


def store(
    connection: sa.Connection,
    tenant: TenantKey,
    scope: str,
    bundle: Bundle,
    *,
    author: PrincipalId,
    now: Micros,
    approver: str | None = None,
    plan: str | None = None,
    note: str = "",
) -> int:
    """Store the next version and return its number; two writers at once are kept apart by UNIQUE."""
    f = t.policy_file.c
    last = connection.execute(
        sa.select(sa.func.max(f.n)).where(f.tenant_id == tenant, f.scope == scope)
    ).scalar()
    n = int(last or 0) + 1
    connection.execute(
        sa.insert(t.policy_file).values(
            tenant_id=tenant,
            scope=scope,
            n=n,
            content=bundle.stored(),
            sha256=bundle.sha256,
            author=author,
            approver=approver,
            plan=plan,
            note=note,
            at=now,
        )
    )
    return n


def _file(row: sa.Row[Any]) -> PolicyFile:
    bundle = Bundle.of(row.content)
    if bundle.sha256 != row.sha256:
        raise PolicyError(f"version {row.n} of {row.scope} is damaged: its digest is another one")
    return PolicyFile(
        row.scope, row.n, bundle, row.sha256, row.author, row.approver, row.plan, row.note, Micros(row.at)
    )
