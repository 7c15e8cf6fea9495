"""Roles of the management plane, revocations, versions of policy files, and plans to change them."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"

_INT: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NEVER: Final = 2**62
_ROLES: Final = (
    "role IN ('data_owner', 'auditor', 'ingestion_engineer', 'agent_registrar', 'security_officer')"
)


def upgrade() -> None:
    op.add_column("run", sa.Column("kind", sa.Text(), nullable=False, server_default="content"))
    op.add_column("document", sa.Column("signature", sa.Text(), nullable=False, server_default=""))
    _roles()
    _revocations()
    _policy_files()
    _plans()


def _roles() -> None:
    _table(
        "role_assignment",
        _int("id"),
        _int("tenant_id"),
        _int("principal_id"),
        _text("role"),
        _int("source_id", nullable=True),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_role_assignment"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_role_assignment_tenant_id"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_role_assignment_principal_id"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_role_assignment_source_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_role_assignment_dates"),
        sa.CheckConstraint(_ROLES, name="ck_role_assignment_role"),
    )
    columns = ["tenant_id", "principal_id", "valid_to"]
    op.create_index("ix_role_assignment_tenant_id_principal_id_valid_to", "role_assignment", columns)


def _revocations() -> None:
    _table(
        "revocation",
        _int("id"),
        _int("tenant_id"),
        _text("public_id"),
        _int("principal_id", nullable=True),
        _int("source_id", nullable=True),
        _int("document_id", nullable=True),
        _text("revoked_by"),
        _text("reason"),
        _text("ended_by", nullable=True),
        _int("valid_from"),
        _int("valid_to", _NEVER),
        sa.PrimaryKeyConstraint("id", name="pk_revocation"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_revocation_tenant_id"),
        sa.ForeignKeyConstraint(["principal_id"], ["principal.id"], name="fk_revocation_principal_id"),
        sa.ForeignKeyConstraint(["source_id"], ["source.id"], name="fk_revocation_source_id"),
        sa.ForeignKeyConstraint(["document_id"], ["document.id"], name="fk_revocation_document_id"),
        sa.CheckConstraint("valid_from <= valid_to", name="ck_revocation_dates"),
        sa.UniqueConstraint("public_id", name="uq_revocation_public_id"),
        sa.CheckConstraint(
            "principal_id IS NOT NULL OR source_id IS NOT NULL OR document_id IS NOT NULL",
            name="ck_revocation_something",
        ),
        sa.CheckConstraint("source_id IS NULL OR document_id IS NULL", name="ck_revocation_one_target"),
    )
    op.create_index("ix_revocation_tenant_id_valid_to", "revocation", ["tenant_id", "valid_to"])


def _policy_files() -> None:
    _table(
        "policy_file",
        _int("id"),
        _int("tenant_id"),
        _text("scope"),
        _int("n"),
        _text("content"),
        _text("sha256"),
        _text("author"),
        _text("approver", nullable=True),
        _text("plan", nullable=True),
        _text("note"),
        _int("at"),
        sa.PrimaryKeyConstraint("id", name="pk_policy_file"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_policy_file_tenant_id"),
        sa.UniqueConstraint("tenant_id", "scope", "n", name="uq_policy_file_tenant_id_scope_n"),
    )


def _plans() -> None:
    _table(
        "access_plan",
        _int("id"),
        _int("tenant_id"),
        _text("public_id"),
        _text("scope"),
        _int("base"),
        _text("content"),
        _text("digest"),
        _text("summary"),
        _int("widening"),
        _text("author"),
        _int("created_at"),
        _int("expires_at"),
        _int("applied_at", 0),
        sa.PrimaryKeyConstraint("id", name="pk_access_plan"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_access_plan_tenant_id"),
        sa.UniqueConstraint("public_id", name="uq_access_plan_public_id"),
    )
    _table(
        "plan_approval",
        _int("id"),
        _int("plan_id"),
        _text("approver"),
        _text("digest"),
        _int("at"),
        sa.PrimaryKeyConstraint("id", name="pk_plan_approval"),
        sa.ForeignKeyConstraint(["plan_id"], ["access_plan.id"], name="fk_plan_approval_plan_id"),
        sa.UniqueConstraint("plan_id", "approver", name="uq_plan_approval_plan_id_approver"),
    )


def _table(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, sqlite_strict=True, sqlite_autoincrement=True)


def _int(name: str, default: int | None = None, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, _INT, nullable=nullable, server_default=None if default is None else str(default))


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)
