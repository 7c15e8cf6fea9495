"""Tables of the control database.

SQLite tables are STRICT: without it a numpy integer would be stored as a blob and silently drop a grant.
STRICT knows INTEGER, TEXT, BLOB and REAL only, so instants are integer microseconds, truth values are 0 or 1
and lists are canonical JSON in TEXT.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import sqlalchemy as sa

from secure_rag.model.ids import NEVER

_NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
meta = sa.MetaData(naming_convention=_NAMES)

Int = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Text = sa.Text()
Blob = sa.LargeBinary()


class DocumentState(IntEnum):
    """Where a document stands. Only `LIVE` is ever searched or returned."""

    DELETED = 0
    LIVE = 1
    QUARANTINED = 2
    WITHHELD = 3
    """Its last ingest failed, or its permissions could not be read."""


def _table(name: str, *columns: sa.schema.SchemaItem, **options: Any) -> sa.Table:  # noqa: ANN401 -- SQLAlchemy's own options
    return sa.Table(name, meta, *columns, sqlite_strict=True, **options)


def _key() -> sa.Column[int]:
    return sa.Column("id", Int, sa.Identity(always=False), primary_key=True)


def _tenant() -> sa.Column[int]:
    return sa.Column("tenant_id", Int, sa.ForeignKey("tenant.id"), nullable=False)


def _int(name: str, default: int | None = None) -> sa.Column[int]:
    return sa.Column(name, Int, nullable=False, server_default=None if default is None else str(default))


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, Text, nullable=nullable)


def _valid() -> tuple[sa.schema.SchemaItem, ...]:
    return (
        _int("valid_from"),
        _int("valid_to", NEVER),
        sa.CheckConstraint("valid_from <= valid_to", name="dates"),
    )


# AUTOINCREMENT: a deleted id must never come back with another meaning.
_NO_REUSE = {"sqlite_autoincrement": True}

tenant = _table(
    "tenant",
    _key(),
    _text("name"),
    # When the directory was last imported, or a delegation revoked since; 0 after a restore: nobody has rights until
    # it is imported again.
    _int("directory_as_of", 0),
    sa.UniqueConstraint("name"),
    **_NO_REUSE,
)
policy_version = _table(
    "policy_version",
    sa.Column("tenant_id", Int, sa.ForeignKey("tenant.id"), primary_key=True, autoincrement=False),
    _text("generation"),
    _int("n"),
)
counter = _table("counter", sa.Column("name", Text, primary_key=True), _int("value"))

principal = _table(
    "principal",
    _key(),
    _tenant(),
    _text("name"),
    _text("kind"),
    _text("state"),
    _int("complete", 1),
    _text("display", nullable=True),
    _text("owner", nullable=True),
    sa.UniqueConstraint("tenant_id", "name"),
    sa.CheckConstraint("complete IN (0, 1)", name="truth"),
    sa.CheckConstraint("state IN ('active', 'disabled', 'deleted', 'unknown')", name="state"),
    sa.CheckConstraint(
        "kind IN ('member', 'guest', 'service', 'agent', 'app', 'group', 'everyone')", name="kind"
    ),
    # A group is in the directory or it is not: nothing is reached through a disabled one, yet it would not be doubtful.
    sa.CheckConstraint("kind <> 'group' OR state <> 'disabled'", name="group_state"),
    sa.Index(
        "ix_principal_uncertain",
        "tenant_id",
        sqlite_where=sa.text("complete = 0 OR state IN ('deleted', 'unknown')"),
        postgresql_where=sa.text("complete = 0 OR state IN ('deleted', 'unknown')"),
    ),
    **_NO_REUSE,
)
alias = _table(
    "alias",
    _key(),
    _tenant(),
    _text("alias"),
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    *_valid(),
    sa.Index(None, "tenant_id", "alias"),
    **_NO_REUSE,
)
membership = _table(
    "membership",
    _key(),
    _tenant(),
    sa.Column("member_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    sa.Column("group_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    *_valid(),
    sa.CheckConstraint("member_id <> group_id", name="no_self"),
    sa.Index(None, "tenant_id", "member_id", "valid_to"),
    sa.Index(None, "group_id"),
    **_NO_REUSE,
)
clearance = _table(
    "clearance",
    _key(),
    _tenant(),
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    _text("label"),
    *_valid(),
    sa.Index(None, "principal_id", "valid_to"),
    **_NO_REUSE,
)
compartment = _table(
    "compartment", _key(), _tenant(), _text("name"), sa.UniqueConstraint("tenant_id", "name"), **_NO_REUSE
)
compartment_member = _table(
    "compartment_member",
    _key(),
    _tenant(),
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    _text("compartment"),
    *_valid(),
    sa.Index(None, "principal_id", "valid_to"),
    **_NO_REUSE,
)
grant = _table(
    "access_grant",
    _key(),
    _tenant(),
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    _text("actions"),
    _text("label"),
    _text("compartments"),
    _text("sources"),
    _text("purposes"),
    *_valid(),
    sa.Index(None, "principal_id", "valid_to"),
    **_NO_REUSE,
)
delegation = _table(
    "delegation",
    _key(),
    _tenant(),
    _text("public_id"),
    sa.Column("parent_id", Int, sa.ForeignKey("delegation.id"), nullable=True),
    sa.Column("subject_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    sa.Column("created_by", Int, sa.ForeignKey("principal.id"), nullable=False),
    sa.Column("agent_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    _text("actions"),
    _text("label", nullable=True),
    _text("compartments", nullable=True),
    _text("sources", nullable=True),
    _text("purposes", nullable=True),
    *_valid(),
    sa.UniqueConstraint("public_id"),
    **_NO_REUSE,
)

taxonomy = _table(
    "taxonomy",
    sa.Column("tenant_id", Int, sa.ForeignKey("tenant.id"), primary_key=True, autoincrement=False),
    _text("default_label"),
    _text("mix_threshold"),
    _int("version"),
)
label = _table(
    "label",
    _key(),
    _tenant(),
    _text("guid"),
    _text("name"),
    _int("priority"),
    _text("parent", nullable=True),
    sa.UniqueConstraint("tenant_id", "guid"),
    sa.UniqueConstraint("tenant_id", "name"),
    **_NO_REUSE,
)
source = _table(
    "source",
    _key(),
    _tenant(),
    _text("name"),
    _text("kind"),
    _text("trust"),
    _text("default_label", nullable=True),
    _int("max_acl_age"),
    _text("manifest"),
    _int("acl_as_of", 0),
    sa.UniqueConstraint("tenant_id", "name"),
    sa.CheckConstraint("trust IN ('verified', 'internal', 'partner', 'external')", name="trust"),
    sa.CheckConstraint("max_acl_age > 0", name="max_acl_age"),
    **_NO_REUSE,
)

acl_lock = _table(
    "acl_lock",
    _key(),
    _tenant(),
    sa.Column("digest", Blob, nullable=False, unique=True),
    _text("body"),
    **_NO_REUSE,
)
acl_class = _table(
    "acl_class",
    _key(),
    _tenant(),
    sa.Column("digest", Blob, nullable=False, unique=True),
    _int("n_locks"),
    _text("locks"),
    _text("label"),
    _text("compartments"),
    _text("trust"),
    sa.Column("source_id", Int, sa.ForeignKey("source.id"), nullable=False),
    sa.CheckConstraint("n_locks >= 1", name="a_lock"),
    sa.Index(None, "tenant_id", "id"),
    sa.Index(None, "source_id"),
    **_NO_REUSE,
)
embedding_space = _table(
    "embedding_space",
    sa.Column("tenant_id", Int, sa.ForeignKey("tenant.id"), primary_key=True, autoincrement=False),
    _text("engine_id"),
    _int("dimensions"),
)
document = _table(
    "document",
    _key(),
    _tenant(),
    sa.Column("source_id", Int, sa.ForeignKey("source.id"), nullable=False),
    _text("native_id"),
    _text("public_id"),
    sa.Column("class_id", Int, sa.ForeignKey("acl_class.id"), nullable=True),
    _int("state"),
    _int("version"),
    _text("title"),
    _text("mime"),
    _text("contributor"),
    _text("content_sha256"),
    sa.Column("permission_digest", Blob, nullable=True),
    _text("pipeline_id"),
    _text("origins"),
    sa.Column("unresolved", Text, nullable=False, server_default="[]"),
    _int("modified_at"),
    _int("acl_as_of"),
    _int("first_chunk"),
    _int("n_chunks"),
    _int("seq"),
    # Tells without reading the content whether the item at the source is still the one that was read; empty is unknown.
    sa.Column("signature", Text, nullable=False, server_default=""),
    sa.UniqueConstraint("tenant_id", "source_id", "native_id"),
    sa.UniqueConstraint("public_id"),
    sa.UniqueConstraint("seq"),
    sa.CheckConstraint("state IN (0, 1, 2, 3)", name="state"),
    # What can be returned has a class; nothing is guarded by absence.
    sa.CheckConstraint("class_id IS NOT NULL OR state IN (0, 3)", name="guarded"),
    sa.Index(None, "class_id"),
    **_NO_REUSE,
)
document_class = _table(
    "document_class",
    _key(),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=False),
    sa.Column("class_id", Int, sa.ForeignKey("acl_class.id"), nullable=False),
    *_valid(),
    sa.Index(None, "document_id"),
    **_NO_REUSE,
)
chunk = _table(
    "chunk",
    _key(),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=False),
    _int("ord"),
    _text("public_id"),
    _int("start"),
    _int("end"),
    _text("headings"),
    _text("text"),
    sa.UniqueConstraint("public_id"),
    sa.Index(None, "document_id"),
    **_NO_REUSE,
)
document_vectors = _table(
    "document_vectors",
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), primary_key=True, autoincrement=False),
    sa.Column("vectors", Blob, nullable=False),
)
finding = _table(
    "finding",
    _key(),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=False),
    _int("version"),
    _text("detector"),
    _text("verdict"),
    sa.Column("score", sa.REAL, nullable=False),
    sa.Column("threshold", sa.REAL, nullable=False),
    sa.Column("span_start", Int, nullable=True),
    sa.Column("span_end", Int, nullable=True),
    _text("evidence"),
    _text("rule"),
    sa.Index(None, "document_id"),
    **_NO_REUSE,
)
quarantine_review = _table(
    "quarantine_review",
    _key(),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=False),
    _int("version"),
    _text("content_sha256"),
    _text("action"),
    _text("reviewer"),
    _text("note"),
    _int("at"),
    sa.Index(None, "document_id"),
    **_NO_REUSE,
)
run = _table(
    "run",
    _key(),
    _tenant(),
    sa.Column("source_id", Int, sa.ForeignKey("source.id"), nullable=False),
    _text("public_id"),
    _text("started_by"),
    _int("started_at"),
    _int("finished_at", 0),
    _text("status"),
    _text("detail"),
    # `content` reads documents and their permissions, `permissions` reads permissions only, and so does `drift`.
    sa.Column("kind", Text, nullable=False, server_default="content"),
    sa.UniqueConstraint("public_id"),
    **_NO_REUSE,
)
run_item = _table(
    "run_item",
    _key(),
    sa.Column("run_id", Int, sa.ForeignKey("run.id"), nullable=False),
    _text("native_id"),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=True),
    _text("outcome"),
    _text("reason"),
    _text("detail"),
    _int("version"),
    sa.Column("class_before", Int, nullable=True),
    sa.Column("class_after", Int, nullable=True),
    _int("chunks"),
    _int("parse_us"),
    _int("embed_us"),
    _int("total_us"),
    _int("at"),
    sa.UniqueConstraint("run_id", "native_id"),
    **_NO_REUSE,
)
receipt = _table(
    "receipt",
    _key(),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=False),
    _int("at"),
    _text("places"),
    **_NO_REUSE,
)

role_assignment = _table(
    "role_assignment",
    _key(),
    _tenant(),
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=False),
    _text("role"),
    # Only for this source; NULL is every source of the tenant.
    sa.Column("source_id", Int, sa.ForeignKey("source.id"), nullable=True),
    *_valid(),
    sa.CheckConstraint(
        "role IN ('data_owner', 'auditor', 'ingestion_engineer', 'agent_registrar', 'security_officer')",
        name="role",
    ),
    sa.Index(None, "tenant_id", "principal_id", "valid_to"),
    **_NO_REUSE,
)
revocation = _table(
    "revocation",
    _key(),
    _tenant(),
    _text("public_id"),
    # Who is cut off; NULL is everybody. From what; both NULL is everything.
    sa.Column("principal_id", Int, sa.ForeignKey("principal.id"), nullable=True),
    sa.Column("source_id", Int, sa.ForeignKey("source.id"), nullable=True),
    sa.Column("document_id", Int, sa.ForeignKey("document.id"), nullable=True),
    _text("revoked_by"),
    _text("reason"),
    # A principal, or `sync` when the source or the directory had taken the right away itself.
    _text("ended_by", nullable=True),
    *_valid(),
    sa.UniqueConstraint("public_id"),
    sa.CheckConstraint(
        "principal_id IS NOT NULL OR source_id IS NOT NULL OR document_id IS NOT NULL", name="something"
    ),
    sa.CheckConstraint("source_id IS NULL OR document_id IS NULL", name="one_target"),
    sa.Index(None, "tenant_id", "valid_to"),
    **_NO_REUSE,
)
policy_file = _table(
    "policy_file",
    _key(),
    _tenant(),
    # `mapping:SOURCE`, `source:SOURCE` or `labels`.
    _text("scope"),
    _int("n"),
    _text("content"),
    _text("sha256"),
    _text("author"),
    _text("approver", nullable=True),
    _text("plan", nullable=True),
    _text("note"),
    _int("at"),
    sa.UniqueConstraint("tenant_id", "scope", "n"),
    **_NO_REUSE,
)
access_plan = _table(
    "access_plan",
    _key(),
    _tenant(),
    _text("public_id"),
    _text("scope"),
    # Version that the plan changes; applied to another one it is void.
    _int("base"),
    _text("content"),
    _text("digest"),
    _text("summary"),
    # Documents times label rank that somebody gains.
    _int("widening"),
    _text("author"),
    _int("created_at"),
    _int("expires_at"),
    _int("applied_at", 0),
    sa.UniqueConstraint("public_id"),
    **_NO_REUSE,
)
plan_approval = _table(
    "plan_approval",
    _key(),
    sa.Column("plan_id", Int, sa.ForeignKey("access_plan.id"), nullable=False),
    _text("approver"),
    # What was approved: a plan whose digest is another one is not approved.
    _text("digest"),
    _int("at"),
    sa.UniqueConstraint("plan_id", "approver"),
    **_NO_REUSE,
)

AUTHORITY = (
    principal,
    membership,
    clearance,
    compartment,
    compartment_member,
    grant,
    delegation,
    taxonomy,
    label,
    source,
    role_assignment,
    revocation,
)
"""Every insert, update and delete here moves the tenant's policy version."""
