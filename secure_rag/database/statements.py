"""Statements of the query path, built once: composing one anew costs more than SQLite needs to run it.

Parameters are named; `keys` takes a list.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from secure_rag.database import tables as t
from secure_rag.database.tables import DocumentState
from secure_rag.model.ids import PrincipalKind

_tenant: sa.BindParameter[Any] = sa.bindparam("tenant")
_now: sa.BindParameter[Any] = sa.bindparam("now")
_keys: sa.BindParameter[Any] = sa.bindparam("keys", expanding=True)


def _live(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.valid_from <= _now, _now < table.c.valid_to)


def of_tenant(tenant: object) -> sa.ColumnElement[bool]:
    """Documents of a tenant, as a condition that no index answers.

    Otherwise SQLite starts from the tenant's documents instead of from the few chunks that were asked for: 40 ms
    instead of 1 ms for 28 chunks of 100,000.
    """
    return t.document.c.tenant_id + 0 == tenant


def _closure() -> sa.Executable:
    """A principal and every group it is in, nested, at one instant. UNION (not ALL) ends cycles."""
    m = t.membership.c
    up = sa.select(sa.cast(sa.bindparam("who"), t.Int).label("id")).cte("up", recursive=True)
    group = t.principal.alias("grp")
    reached = (
        sa.select(m.group_id)
        .join(up, sa.and_(m.tenant_id == _tenant, m.member_id == up.c.id, _live(t.membership)))
        # A deleted or unknown group grants nothing, and nothing is reached through it. Nobody is a member of a person.
        .join(
            group,
            sa.and_(
                group.c.id == m.group_id, group.c.state == "active", group.c.kind == PrincipalKind.GROUP.value
            ),
        )
    )
    return sa.select(up.union(reached).c.id)


def _uncertain() -> sa.Executable:
    """Principals that the directory does not know for certain, and every group above such a group."""
    p, m = t.principal.c, t.membership.c
    # Literal, in the words of the partial index: with parameters SQLite would not see that the index answers it.
    doubtful = sa.text("(principal.complete = 0 OR principal.state IN ('deleted', 'unknown'))")
    doubt = sa.select(p.id.label("id")).where(p.tenant_id == _tenant, doubtful).cte("doubt", recursive=True)
    # A user or agent that is doubtful makes itself uncertain, not the groups it is in: those are known.
    group = t.principal.alias("grp")
    above = (
        sa.select(m.group_id)
        .join(doubt, sa.and_(m.tenant_id == _tenant, m.member_id == doubt.c.id, _live(t.membership)))
        .join(group, sa.and_(group.c.id == m.member_id, group.c.kind == "group"))
    )
    return sa.select(doubt.union(above).c.id)


def _chunk_rows() -> sa.Executable:
    """Chunks with class, version and text in one statement."""
    c, d, s, a = t.chunk.c, t.document.c, t.source.c, t.acl_class.c
    return (
        sa.select(
            c.id,
            c.public_id,
            c.headings,
            c.text,
            d.public_id.label("document_id"),
            d.class_id,
            d.version,
            d.title,
            d.contributor,
            d.content_sha256,
            d.native_id,
            d.modified_at,
            sa.case((d.acl_as_of > s.acl_as_of, d.acl_as_of), else_=s.acl_as_of).label("acl_as_of"),
            s.name.label("source"),
            a.label,
            a.trust,
        )
        .join(t.document, d.id == c.document_id)
        .join(t.source, s.id == d.source_id)
        .join(t.acl_class, a.id == d.class_id)
        .where(c.id.in_(_keys), of_tenant(_tenant), d.state == int(DocumentState.LIVE))
    )


_p, _s, _a, _d = t.principal.c, t.source.c, t.acl_class.c, t.delegation.c
_principal = sa.select(_p.id, _p.name, _p.kind, _p.state).where(_p.tenant_id == _tenant)
_classes = sa.select(t.acl_class).where(_a.tenant_id == _tenant)

PIN = sa.select(sa.func.coalesce(sa.func.max(t.tenant.c.directory_as_of), 0))
"""Pins the snapshot, and says when rights were last taken away: time must not run back behind that."""
TENANT = sa.select(t.tenant.c.id).where(t.tenant.c.name == sa.bindparam("name"))
DIRECTORY_AS_OF = sa.select(t.tenant.c.directory_as_of).where(t.tenant.c.id == _tenant)
POLICY_VERSION = sa.select(t.policy_version.c.generation, t.policy_version.c.n).where(
    t.policy_version.c.tenant_id == _tenant
)
PRINCIPAL_BY_NAME = _principal.where(_p.name == sa.bindparam("name"))
PRINCIPAL_BY_KEY = _principal.where(_p.id == sa.bindparam("key"))
CLOSURE = _closure()
UNCERTAIN = _uncertain()
TAXONOMY = sa.select(t.taxonomy).where(t.taxonomy.c.tenant_id == _tenant)
LABELS = sa.select(t.label).where(t.label.c.tenant_id == _tenant)
CLEARANCE = sa.select(t.clearance.c.label).where(
    t.clearance.c.tenant_id == _tenant, t.clearance.c.principal_id == sa.bindparam("who"), _live(t.clearance)
)
COMPARTMENTS = sa.select(t.compartment_member.c.compartment).where(
    t.compartment_member.c.tenant_id == _tenant,
    t.compartment_member.c.principal_id == sa.bindparam("who"),
    _live(t.compartment_member),
)
GRANT = sa.select(t.grant).where(
    t.grant.c.tenant_id == _tenant, t.grant.c.principal_id == sa.bindparam("who"), _live(t.grant)
)
DELEGATION_BY_ID = sa.select(t.delegation).where(
    _d.tenant_id == _tenant, _d.public_id == sa.bindparam("name")
)
DELEGATION_BY_KEY = sa.select(t.delegation).where(_d.tenant_id == _tenant, _d.id == sa.bindparam("key"))
ROLES_EVER = sa.select(t.role_assignment.c.id).where(t.role_assignment.c.tenant_id == _tenant).limit(1)
ROLES = sa.select(
    t.role_assignment.c.principal_id, t.role_assignment.c.role, t.role_assignment.c.source_id
).where(t.role_assignment.c.tenant_id == _tenant, _live(t.role_assignment))
REVOCATIONS = (
    sa.select(
        t.revocation.c.principal_id,
        t.revocation.c.source_id,
        t.revocation.c.document_id,
        t.document.c.public_id.label("document"),
    )
    .outerjoin(t.document, t.document.c.id == t.revocation.c.document_id)
    .where(t.revocation.c.tenant_id == _tenant, _live(t.revocation))
)
SOURCES = sa.select(_s.id, _s.name, _s.acl_as_of, _s.max_acl_age).where(_s.tenant_id == _tenant)
CLASS_HIGH_WATER = sa.select(sa.func.max(_a.id)).where(_a.tenant_id == _tenant)
CLASSES_AFTER = _classes.where(_a.id > sa.bindparam("key")).order_by(_a.id)
CLASSES_BY_KEY = _classes.where(_a.id.in_(_keys))
LOCKS_BY_KEY = sa.select(t.acl_lock.c.id, t.acl_lock.c.body).where(t.acl_lock.c.id.in_(_keys))
CHUNK_ROWS = _chunk_rows()
EMBEDDING_SPACE = sa.select(t.embedding_space).where(t.embedding_space.c.tenant_id == _tenant)
