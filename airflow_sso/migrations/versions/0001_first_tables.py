"""The first tables: accounts, usernames, sign-in attempts, decisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the four tables."""
    op.create_table(
        "sso_account",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("identity_key", sa.String(64), nullable=False, unique=True),
        sa.Column("authority", sa.String(255), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False, index=True),
        sa.Column("user_created_on", sa.DateTime, nullable=True),
        sa.Column("username", sa.Text, nullable=True),
        sa.Column("email", sa.Text, nullable=True),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("created_at", sa.DateTime, nullable=False),
        sa.Column("last_sign_in_at", sa.DateTime, nullable=True),
        sa.Column("given_roles", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
    )
    op.create_table(
        "sso_username",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name_key", sa.String(64), nullable=False, unique=True),
        sa.Column("identity_key", sa.String(64), nullable=False, index=True),
    )
    op.create_table(
        "sso_login_attempt",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("state_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("browser_hash", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("code_verifier", sa.String(128), nullable=False),
        sa.Column("next_url", sa.Text, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sso_decision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False, index=True),
        sa.Column("event", sa.String(40), nullable=False),
        sa.Column("reference", sa.String(16), nullable=False, index=True),
        sa.Column("code", sa.String(16), nullable=True),
        sa.Column("reason", sa.Text, nullable=True),
        sa.Column("user_id", sa.Integer, nullable=True),
        sa.Column("username", sa.Text, nullable=True),
        sa.Column("provider", sa.String(32), nullable=True),
        sa.Column("identity_key", sa.String(64), nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Index("ix_sso_decision_user_id_at", "user_id", "at"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("sso_decision")
    op.drop_table("sso_login_attempt")
    op.drop_table("sso_username")
    op.drop_table("sso_account")
