"""What the registry knows of one document and of principals' names: for explanations, never for decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.database.views import ReadView
from secure_rag.model.ids import ClassKey, Micros, PrincipalKey, TenantKey
from secure_rag.model.permissions import Origin, origins_from_json

_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """One document without its text. `origins` number the locks of its class."""

    document_id: str
    source: str
    native_id: str
    title: str
    state: DocumentState
    class_key: ClassKey | None
    acl_as_of: Micros
    max_acl_age: Micros
    origins: tuple[Origin, ...]


def document_facts(view: ReadView, tenant: TenantKey, name: str) -> DocumentFacts | None:
    """A document by its public identifier, or as `source/native id`."""
    d, s = t.document.c, t.source.c
    source, _, native = name.partition("/")
    statement = (
        sa.select(
            d.public_id,
            s.name.label("source"),
            d.native_id,
            d.title,
            d.state,
            d.class_id,
            d.acl_as_of,
            s.acl_as_of.label("source_as_of"),
            s.max_acl_age,
            d.origins,
        )
        .join(t.source, s.id == d.source_id)
        .where(
            d.tenant_id == tenant,
            sa.or_(d.public_id == name, sa.and_(s.name == source, d.native_id == native)),
        )
    )
    row = view._connection.execute(statement).one_or_none()
    if row is None:
        return None
    return DocumentFacts(
        row.public_id,
        row.source,
        row.native_id,
        row.title,
        DocumentState(row.state),
        None if row.class_id is None else ClassKey(row.class_id),
        Micros(max(row.acl_as_of, row.source_as_of)),
        Micros(row.max_acl_age),
        origins_from_json(row.origins),
    )


def principal_names(
    view: ReadView, tenant: TenantKey, keys: Iterable[PrincipalKey]
) -> dict[PrincipalKey, str]:
    """Names of principals of one tenant; keys of others are left out."""
    p, wanted = t.principal.c, sorted(set(keys))
    names: dict[PrincipalKey, str] = {}
    for first in range(0, len(wanted), _AT_ONCE):
        part: Sequence[PrincipalKey] = wanted[first : first + _AT_ONCE]
        statement = sa.select(p.id, p.name).where(p.tenant_id == tenant, p.id.in_(part))
        rows = view._connection.execute(statement).all()
        names.update((PrincipalKey(row.id), str(row.name)) for row in rows)
    return names
