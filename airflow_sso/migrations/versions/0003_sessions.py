"""Sessions of our own, what ends them, and the local door."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One more column and the tables."""
    op.add_column("sso_login_attempt", sa.Column("started_at", sa.DateTime, nullable=True))
    op.create_table(
        "sso_epoch",
        sa.Column("user_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("revoked_at", sa.DateTime, nullable=True),
    )
    _create_sessions()
    _create_notices()
    _create_break_glass()


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _create_sessions() -> None:
    op.create_table(
        "sso_session",
        _id(),
        sa.Column("session_id", sa.String(32), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer, nullable=False, index=True),
        sa.Column("user_created_on", sa.DateTime, nullable=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("identity_key", sa.String(64), nullable=True),
        sa.Column("provider_session_key", sa.String(64), nullable=True, index=True),
        sa.Column("provider_subject_key", sa.String(64), nullable=True, index=True),
        sa.Column("sign_out_hints", sa.Text, nullable=True),
        sa.Column("airflow_session_id", sa.String(255), nullable=True),
        sa.Column("started_at", sa.DateTime, nullable=False),
        sa.Column("last_seen_at", sa.DateTime, nullable=False),
        sa.Column("ends_at", sa.DateTime, nullable=False, index=True),
        sa.Column("idle_seconds", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.DateTime, nullable=True),
        sa.Column("ended_because", sa.String(40), nullable=True),
    )
    op.create_table(
        "sso_token",
        _id(),
        sa.Column("jti", sa.String(32), nullable=False, unique=True),
        sa.Column("session_id", sa.String(32), nullable=False, index=True),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
    )
    op.create_table(
        "sso_session_path",
        _id(),
        sa.Column("session_id", sa.String(32), nullable=False),
        sa.Column("path_key", sa.String(64), nullable=False),
        sa.Column("asked_at", sa.DateTime, nullable=False, index=True),
        sa.UniqueConstraint("session_id", "path_key", name="uq_sso_session_path"),
    )


def _create_notices() -> None:
    op.create_table(
        "sso_logout_notice",
        _id(),
        sa.Column("notice_key", sa.String(64), nullable=False, unique=True),
        sa.Column("provider_session_key", sa.String(64), nullable=True, index=True),
        sa.Column("provider_subject_key", sa.String(64), nullable=True, index=True),
        sa.Column("received_at", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
        sa.Column("done_at", sa.DateTime, nullable=True),
    )


def _create_break_glass() -> None:
    op.create_table(
        "sso_break_glass",
        _id(),
        sa.Column("name_key", sa.String(64), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("user_created_on", sa.DateTime, nullable=True),
        sa.Column("password_key", sa.String(64), nullable=True),
        sa.Column("pinned_at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "sso_break_glass_link",
        _id(),
        sa.Column("link_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
    )
    op.create_table(
        "sso_throttle",
        _id(),
        sa.Column("address_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("last_failure_at", sa.DateTime, nullable=False, index=True),
    )


def downgrade() -> None:
    """Back to what 0002 made."""
    for name in (
        "sso_throttle",
        "sso_break_glass_link",
        "sso_break_glass",
        "sso_logout_notice",
        "sso_session_path",
        "sso_token",
        "sso_session",
        "sso_epoch",
    ):
        op.drop_table(name)
    with op.batch_alter_table("sso_login_attempt") as table:
        table.drop_column("started_at")
