"""What a directory said, who says that an account is shut, and the work of keeping up with it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_OF_ACCOUNTS = ("shown", "observed_at", "read_again", "gone_since")


def upgrade() -> None:
    """Columns of the accounts, and the tables."""
    op.add_column("sso_account", sa.Column("shown", sa.Text, nullable=True))
    op.add_column("sso_account", sa.Column("observed_at", sa.DateTime, nullable=True))
    op.add_column("sso_account", sa.Column("read_again", sa.String(16), nullable=True))
    op.add_column("sso_account", sa.Column("gone_since", sa.DateTime, nullable=True))
    op.create_index("ix_sso_account_authority", "sso_account", ["authority"])
    _create_shutting()
    _create_reading()


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _create_shutting() -> None:
    op.create_table(
        "sso_shut_account",
        _id(),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("user_created_on", sa.DateTime, nullable=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(250), nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.UniqueConstraint("user_id", "source", name="uq_sso_shut_account"),
    )
    op.create_table(
        "sso_removal",
        _id(),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False, index=True),
    )


def _create_reading() -> None:
    op.create_table(
        "sso_lease",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "sso_directory",
        _id(),
        sa.Column("authority", sa.String(255), nullable=False, unique=True),
        sa.Column("cursor", sa.Text, nullable=True),
        sa.Column("read_at", sa.DateTime, nullable=True),
        sa.Column("whole_read_at", sa.DateTime, nullable=True),
        sa.Column("population", sa.Integer, nullable=True),
        sa.Column("tried_at", sa.DateTime, nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
    )
    op.create_table(
        "sso_quarantine",
        _id(),
        sa.Column("plan_id", sa.String(16), nullable=False, unique=True),
        sa.Column("authority", sa.String(255), nullable=False, index=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("removals", sa.Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
        sa.Column("made_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=True),
    )
    op.create_table(
        "sso_refresh_token",
        _id(),
        sa.Column("identity_key", sa.String(64), nullable=False, unique=True),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("token", sa.Text, nullable=False),
        sa.Column("asked_at", sa.DateTime, nullable=False),
    )


def downgrade() -> None:
    """Back to what 0003 made."""
    for name in (
        "sso_refresh_token",
        "sso_quarantine",
        "sso_directory",
        "sso_lease",
        "sso_removal",
        "sso_shut_account",
    ):
        op.drop_table(name)
    op.drop_index("ix_sso_account_authority", "sso_account")
    with op.batch_alter_table("sso_account") as table:
        for name in _OF_ACCOUNTS:
            table.drop_column(name)
