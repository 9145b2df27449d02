"""SAML: answers that wait for the browser's own cookie, and assertions that were accepted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.mysql import MEDIUMTEXT

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two more columns and a table."""
    op.add_column("sso_login_attempt", sa.Column("handle_hash", sa.String(64), nullable=True))
    answer = sa.Text().with_variant(MEDIUMTEXT(), "mysql")
    op.add_column("sso_login_attempt", sa.Column("answer", answer, nullable=True))
    op.create_index("ix_sso_login_attempt_handle_hash", "sso_login_attempt", ["handle_hash"], unique=True)
    op.create_table(
        "sso_seen_assertion",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("assertion_key", sa.String(64), nullable=False, unique=True),
        sa.Column("expires_at", sa.DateTime, nullable=False, index=True),
    )


def downgrade() -> None:
    """Back to what 0001 made."""
    op.drop_table("sso_seen_assertion")
    op.drop_index("ix_sso_login_attempt_handle_hash", "sso_login_attempt")
    with op.batch_alter_table("sso_login_attempt") as table:
        table.drop_column("answer")
        table.drop_column("handle_hash")
