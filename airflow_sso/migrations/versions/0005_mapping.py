"""Which role mapping is in force, and which roles it owns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The tables; and room for the facts of somebody in thousands of groups, where TEXT is 64 kB."""
    if op.get_bind().dialect.name == "mysql":
        op.alter_column("sso_account", "facts", type_=MEDIUMTEXT(), existing_nullable=False)
    op.create_table(
        "sso_mapping",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("generation", sa.Integer, nullable=False, unique=True),
        sa.Column("hash", sa.String(64), nullable=False, index=True),
        sa.Column("text", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("accepted_at", sa.DateTime, nullable=False),
        sa.Column("accepted_by", sa.String(100), nullable=False),
    )
    op.create_table(
        "sso_owned_role",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("released_at", sa.DateTime, nullable=True),
    )


def downgrade() -> None:
    """Back to what 0004 made."""
    op.drop_table("sso_owned_role")
    op.drop_table("sso_mapping")
