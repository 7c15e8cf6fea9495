"""The control database of the first release.

Written out with its own names and types: a migration must build the same tables for ever, whatever becomes of
`tables.py`. Long because it is a list: one call per table.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None

_INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEVER: Final = 2**62


def upgrade() -> None:
    _tenants()
    _principals()
    _names_and_groups()
    _rights()
    _delegations()
    _labels_and_sources()
    _classes()
    _documents()
    _content()
    _reviews()
    _runs()
    op.execute("INSERT INTO counter (name, value) VALUES ('document_seq', 0)")


def _tenants() -> None:
    _table(
        "tenant",
        _id(),
        _text("name"),
        _int("directory_as_of", 0),
        sa.PrimaryKeyConstraint("id", name="pk_tenant"),
        sa.UniqueConstraint("name", name="uq_tenant_name"),
        autoincrement=True,
    )
    _table(
        "policy_version",
        _int("tenant_id"),
        _text("generation"),
        _int("n"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_policy_version"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_policy_version_tenant_id"),
    )
    _table("counter", _text("name"), _int("value"), sa.PrimaryKeyConstraint("name", name="pk_counter"))


def _principals() -> None:
    _table(
        "principal",
        _id(),
        _int("tenant_id"),
        _text("name"),
        _text("kind"),
        _text("state"),
        _int("complete", 1),
        _text("display", nullable=True),
        _text("owner", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_principal"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_principal_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_principal_tenant_id_name"),
        sa.CheckConstraint("complete IN (0, 1)", name="ck_principal_truth"),
        sa.CheckConstraint(
            "state IN ('active', 'disabled', 'deleted', 'unknown')", name="ck_principal_state"
        ),
        sa.CheckConstraint(
            "kind IN ('member', 'guest', 'service', 'agent', 'app', 'group', 'everyone')",
            name="ck_principal_kind",
        ),
        sa.CheckConstraint("kind <> 'group' OR state <> 'disabled'", name="ck_principal_group_state"),
        autoincrement=True,
    )
    uncertain = sa.text("complete = 0 OR state IN ('deleted', 'unknown')")
    op.create_index(
        "ix_principal_uncertain",
        "principal",
        ["tenant_id"],
        sqlite_where=uncertain,
        postgresql_where=uncertain,
    )


def _names_and_groups() -> None:
    _table(
        "alias",
        _id(),
        _int("tenant_id"),
        _text("alias"),
        _int("principal_id"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_alias"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_alias_tenant_id"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_alias_principal_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_alias_dates"),
        autoincrement=True,
    )
    op.create_index("ix_alias_tenant_id_alias", "alias", ["tenant_id", "alias"])
    _table(
        "membership",
        _id(),
        _int("tenant_id"),
        _int("member_id"),
        _int("group_id"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_membership_tenant_id"),
        sa.ForeignKeyConstraint(["member_id"], ["principal.id"], name="fk_membership_member_id"),
        sa.ForeignKeyConstraint(["group_id"], ["principal.id"], name="fk_membership_group_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_membership_dates"),
        sa.CheckConstraint("member_id <> group_id", name="ck_membership_no_self"),
        autoincrement=True,
    )
    op.create_index(
        "ix_membership_tenant_id_member_id_valid_to", "membership", ["tenant_id", "member_id", "valid_to"]
    )
    op.create_index("ix_membership_group_id", "membership", ["group_id"])


def _rights() -> None:
    _table(
        "clearance",
        _id(),
        _int("tenant_id"),
        _int("principal_id"),
        _text("label"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_clearance"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_clearance_tenant_id"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_clearance_principal_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_clearance_dates"),
        autoincrement=True,
    )
    op.create_index("ix_clearance_principal_id_valid_to", "clearance", ["principal_id", "valid_to"])
    _table(
        "compartment",
        _id(),
        _int("tenant_id"),
        _text("name"),
        sa.PrimaryKeyConstraint("id", name="pk_compartment"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_compartment_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_compartment_tenant_id_name"),
        autoincrement=True,
    )
    _table(
        "compartment_member",
        _id(),
        _int("tenant_id"),
        _int("principal_id"),
        _text("compartment"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_compartment_member"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_compartment_member_tenant_id"),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principal.id"], name="fk_compartment_member_principal_id"
        ),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_compartment_member_dates"),
        autoincrement=True,
    )
    op.create_index(
        "ix_compartment_member_principal_id_valid_to", "compartment_member", ["principal_id", "valid_to"]
    )


def _delegations() -> None:
    _table(
        "access_grant",
        _id(),
        _int("tenant_id"),
        _int("principal_id"),
        _text("actions"),
        _text("label"),
        _text("compartments"),
        _text("sources"),
        _text("purposes"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_access_grant"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_access_grant_tenant_id"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_access_grant_principal_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_access_grant_dates"),
        autoincrement=True,
    )
    op.create_index("ix_access_grant_principal_id_valid_to", "access_grant", ["principal_id", "valid_to"])
    _table(
        "delegation",
        _id(),
        _int("tenant_id"),
        _text("public_id"),
        _int("parent_id", nullable=True),
        _int("subject_id"),
        _int("created_by"),
        _int("agent_id"),
        _text("actions"),
        _text("label", nullable=True),
        _text("compartments", nullable=True),
        _text("sources", nullable=True),
        _text("purposes", nullable=True),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_delegation"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_delegation_tenant_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["delegation.id"], name="fk_delegation_parent_id"),
        sa.ForeignKeyConstraint(["subject_id"], ["principal.id"], name="fk_delegation_subject_id"),
        sa.ForeignKeyConstraint(["created_by"], ["principal.id"], name="fk_delegation_created_by"),
        sa.ForeignKeyConstraint(["agent_id"], ["principal.id"], name="fk_delegation_agent_id"),
        sa.UniqueConstraint("public_id", name="uq_delegation_public_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_delegation_dates"),
        autoincrement=True,
    )


def _labels_and_sources() -> None:
    _table(
        "taxonomy",
        _int("tenant_id"),
        _text("default_label"),
        _text("mix_threshold"),
        _int("version"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_taxonomy"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_taxonomy_tenant_id"),
    )
    _table(
        "label",
        _id(),
        _int("tenant_id"),
        _text("guid"),
        _text("name"),
        _int("priority"),
        _text("parent", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_label"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_label_tenant_id"),
        sa.UniqueConstraint("tenant_id", "guid", name="uq_label_tenant_id_guid"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_label_tenant_id_name"),
        autoincrement=True,
    )
    _table(
        "source",
        _id(),
        _int("tenant_id"),
        _text("name"),
        _text("kind"),
        _text("trust"),
        _text("default_label", nullable=True),
        _int("max_acl_age"),
        _text("manifest"),
        _int("acl_as_of", 0),
        sa.PrimaryKeyConstraint("id", name="pk_source"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_source_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_source_tenant_id_name"),
        sa.CheckConstraint(
            "trust IN ('verified', 'internal', 'partner', 'external')", name="ck_source_trust"
        ),
        sa.CheckConstraint("max_acl_age > 0", name="ck_source_max_acl_age"),
        autoincrement=True,
    )


def _classes() -> None:
    _table(
        "acl_lock",
        _id(),
        _int("tenant_id"),
        _blob("digest"),
        _text("body"),
        sa.PrimaryKeyConstraint("id", name="pk_acl_lock"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_acl_lock_tenant_id"),
        sa.UniqueConstraint("digest", name="uq_acl_lock_digest"),
        autoincrement=True,
    )
    _table(
        "acl_class",
        _id(),
        _int("tenant_id"),
        _blob("digest"),
        _int("n_locks"),
        _text("locks"),
        _text("label"),
        _text("compartments"),
        _text("trust"),
        _int("source_id"),
        sa.PrimaryKeyConstraint("id", name="pk_acl_class"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_acl_class_tenant_id"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_acl_class_source_id"),
        sa.UniqueConstraint("digest", name="uq_acl_class_digest"),
        sa.CheckConstraint("n_locks >= 1", name="ck_acl_class_a_lock"),
        autoincrement=True,
    )
    op.create_index("ix_acl_class_tenant_id_id", "acl_class", ["tenant_id", "id"])
    op.create_index("ix_acl_class_source_id", "acl_class", ["source_id"])


def _documents() -> None:
    _table(
        "document",
        _id(),
        _int("tenant_id"),
        _int("source_id"),
        _text("native_id"),
        _text("public_id"),
        _int("class_id", nullable=True),
        _int("state"),
        _int("version"),
        _text("title"),
        _text("mime"),
        _text("contributor"),
        _text("content_sha256"),
        _blob("permission_digest", nullable=True),
        _text("pipeline_id"),
        _text("origins"),
        sa.Column("unresolved", sa.Text(), nullable=False, server_default="[]"),
        _int("modified_at"),
        _int("acl_as_of"),
        _int("first_chunk"),
        _int("n_chunks"),
        _int("seq"),
        sa.PrimaryKeyConstraint("id", name="pk_document"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_document_tenant_id"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_document_source_id"),
        sa.ForeignKeyConstraint(["class_id"], ["acl_class.id"], name="fk_document_class_id"),
        sa.UniqueConstraint(
            "tenant_id", "source_id", "native_id", name="uq_document_tenant_id_source_id_native_id"
        ),
        sa.UniqueConstraint("public_id", name="uq_document_public_id"),
        sa.UniqueConstraint("seq", name="uq_document_seq"),
        sa.CheckConstraint("state IN (0, 1, 2, 3)", name="ck_document_state"),
        sa.CheckConstraint("class_id IS NOT NULL OR state IN (0, 3)", name="ck_document_guarded"),
        autoincrement=True,
    )
    op.create_index("ix_document_class_id", "document", ["class_id"])
    _table(
        "document_class",
        _id(),
        _int("document_id"),
        _int("class_id"),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_document_class"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_document_class_document_id"),
        sa.ForeignKeyConstraint(["class_id"], ["acl_class.id"], name="fk_document_class_class_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_document_class_dates"),
        autoincrement=True,
    )
    op.create_index("ix_document_class_document_id", "document_class", ["document_id"])


def _content() -> None:
    _table(
        "embedding_space",
        _int("tenant_id"),
        _text("engine_id"),
        _int("dimensions"),
        sa.PrimaryKeyConstraint("tenant_id", name="pk_embedding_space"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_embedding_space_tenant_id"),
    )
    _table(
        "chunk",
        _id(),
        _int("document_id"),
        _int("ord"),
        _text("public_id"),
        _int("start"),
        _int("end"),
        _text("headings"),
        _text("text"),
        sa.PrimaryKeyConstraint("id", name="pk_chunk"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_chunk_document_id"),
        sa.UniqueConstraint("public_id", name="uq_chunk_public_id"),
        autoincrement=True,
    )
    op.create_index("ix_chunk_document_id", "chunk", ["document_id"])
    _table(
        "document_vectors",
        _int("document_id"),
        _blob("vectors"),
        sa.PrimaryKeyConstraint("document_id", name="pk_document_vectors"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_document_vectors_document_id"),
    )


def _reviews() -> None:
    _table(
        "finding",
        _id(),
        _int("document_id"),
        _int("version"),
        _text("detector"),
        _text("verdict"),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column("threshold", sa.REAL(), nullable=False),
        _int("span_start", nullable=True),
        _int("span_end", nullable=True),
        _text("evidence"),
        _text("rule"),
        sa.PrimaryKeyConstraint("id", name="pk_finding"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_finding_document_id"),
        autoincrement=True,
    )
    op.create_index("ix_finding_document_id", "finding", ["document_id"])
    _table(
        "quarantine_review",
        _id(),
        _int("document_id"),
        _int("version"),
        _text("content_sha256"),
        _text("action"),
        _text("reviewer"),
        _text("note"),
        _int("at"),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine_review"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_quarantine_review_document_id"),
        autoincrement=True,
    )
    op.create_index("ix_quarantine_review_document_id", "quarantine_review", ["document_id"])


def _runs() -> None:
    _table(
        "run",
        _id(),
        _int("tenant_id"),
        _int("source_id"),
        _text("public_id"),
        _text("started_by"),
        _int("started_at"),
        _int("finished_at", 0),
        _text("status"),
        _text("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_run_tenant_id"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_run_source_id"),
        sa.UniqueConstraint("public_id", name="uq_run_public_id"),
        autoincrement=True,
    )
    _table(
        "run_item",
        _id(),
        _int("run_id"),
        _text("native_id"),
        _int("document_id", nullable=True),
        _text("outcome"),
        _text("reason"),
        _text("detail"),
        _int("version"),
        _int("class_before", nullable=True),
        _int("class_after", nullable=True),
        _int("chunks"),
        _int("parse_us"),
        _int("embed_us"),
        _int("total_us"),
        _int("at"),
        sa.PrimaryKeyConstraint("id", name="pk_run_item"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_run_item_run_id"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_run_item_document_id"),
        sa.UniqueConstraint("run_id", "native_id", name="uq_run_item_run_id_native_id"),
        autoincrement=True,
    )
    _table(
        "receipt",
        _id(),
        _int("document_id"),
        _int("at"),
        _text("places"),
        sa.PrimaryKeyConstraint("id", name="pk_receipt"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_receipt_document_id"),
        autoincrement=True,
    )


def _table(name: str, *parts: sa.schema.SchemaItem, autoincrement: bool = False) -> None:
    op.create_table(name, *parts, sqlite_strict=True, sqlite_autoincrement=autoincrement)


def _id() -> sa.Column[int]:
    return sa.Column("id", _INT, sa.Identity(always=False), nullable=False)


def _int(name: str, default: int | None = None, *, nullable: bool = False) -> sa.Column[int]:
    server_default = None if default is None else str(default)
    return sa.Column(name, _INT, nullable=nullable, autoincrement=False, server_default=server_default)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _blob(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)
