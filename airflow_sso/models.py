"""The tables that are ours: accounts, sign-in attempts, sessions and what ended them, decisions.

They live in Airflow's metadata database under a metadata of their own, so that neither Airflow's nor
Flask-AppBuilder's migrations ever see them. What must stay true: :mod:`airflow_sso.migrations` makes
exactly these tables, and the code writes SQLAlchemy 2 style that also runs on 1.4.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

from sqlalchemy import (
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.engine import Dialect


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python; stored without a zone, so that every database compares it alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.astimezone(timezone.utc).replace(tzinfo=None) if value else None

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=timezone.utc) if value else None


metadata = MetaData()

#: One row a person and authority. ``identity_key`` stands for (authority, subject), whose own
#: lengths no database would index whole.
accounts = Table(
    "sso_account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity_key", String(64), nullable=False, unique=True),
    Column("authority", String(255), nullable=False),
    Column("subject", Text, nullable=False),
    # No foreign key: ab_user is in another metadata, and a deleted user's link must say so itself.
    Column("user_id", Integer, nullable=False, index=True),
    # With the id it names one user for ever: a deleted row's id may be given to someone else.
    Column("user_created_on", DateTime, nullable=True),
    Column("username", Text, nullable=True),
    Column("email", Text, nullable=True),
    Column("provider", String(32), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_sign_in_at", UtcDateTime, nullable=True),
    # JSON: the roles that the mapping gave last, to be told from roles given by hand, each with the
    # rules that gave it and since when; a plain list where an older version wrote it.
    Column("given_roles", Text, nullable=False),
    # JSON: what the mapping read about the person, each fact with its time and source.
    Column("facts", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
    # JSON: what ab_user shows of the person, so that another hand's changes are told from ours.
    Column("shown", Text, nullable=True),
    # When what is known of the person was found out: anything older is not believed over it.
    Column("observed_at", UtcDateTime, nullable=True),
    # Why the directory is to be asked about this one by their own id: new, gone, unknown, stale.
    Column("read_again", String(16), nullable=True),
    # When the directory was first seen without this person; counts only when it is seen again.
    Column("gone_since", UtcDateTime, nullable=True),
    Index("ix_sso_account_authority", "authority"),
)

#: Who says that an account is shut, each with a reason; one is enough, and only it takes its word back.
shut_accounts = Table(
    "sso_shut_account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, nullable=False),
    Column("user_created_on", DateTime, nullable=True),
    # directory, push or operator.
    Column("source", String(16), nullable=False),
    Column("reason", String(250), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "source", name="uq_sso_shut_account"),
)

#: Whose access was taken, and when: what the limits of a day are counted from.
removals = Table(
    "sso_removal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer, nullable=False),
    Column("source", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False, index=True),
)

#: One row a job of which only one may run anywhere. Times are the database's own, in seconds.
leases = Table(
    "sso_lease",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(100), nullable=False),
    # Rises with each new holder; what carries an older one writes nothing.
    Column("fence", Integer, nullable=False),
    Column("expires_at", Integer, nullable=False),
)

#: One row a directory: how far it was read, and how the last reading went.
directories = Table(
    "sso_directory",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("authority", String(255), nullable=False, unique=True),
    Column("cursor", Text, nullable=True),
    Column("read_at", UtcDateTime, nullable=True),
    Column("whole_read_at", UtcDateTime, nullable=True),
    Column("population", Integer, nullable=True),
    Column("tried_at", UtcDateTime, nullable=True),
    Column("outcome", String(16), nullable=True),
    Column("detail", Text, nullable=True),
)

#: Plans that were too dangerous to carry out unasked.
quarantine = Table(
    "sso_quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("plan_id", String(16), nullable=False, unique=True),
    Column("authority", String(255), nullable=False, index=True),
    # waiting, approved, carried_out, superseded.
    Column("state", String(16), nullable=False),
    # JSON: why it waits, and whose access it would take.
    Column("reasons", Text, nullable=False),
    Column("removals", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("approved_by", Text, nullable=True),
)

#: Every version of the role mapping that was in force, oldest first; the last one counts everywhere.
mappings = Table(
    "sso_mapping",
    metadata,
    Column("id", Integer, primary_key=True),
    # Rises by one; unique, so that of two who accept at the same moment one has to look again.
    Column("generation", Integer, nullable=False, unique=True),
    # SHA-256 of the file's bytes: how a process tells that it holds a superseded one.
    Column("hash", String(64), nullable=False, index=True),
    Column("text", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
    # Who put it in force: "file", or the operator who activated it.
    Column("accepted_by", String(100), nullable=False),
)

#: Roles that the mapping file makes under ``roles:``. ``released_at`` is set when it names one no longer:
#: nobody loses it by that alone, and it goes when nobody holds it.
owned_roles = Table(
    "sso_owned_role",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("released_at", UtcDateTime, nullable=True),
)

#: For the probe, encrypted under keys of the configuration: a person's refresh token, and what asking
#: with it told last, which stays when the token is dead.
refresh_tokens = Table(
    "sso_refresh_token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("identity_key", String(64), nullable=False, unique=True),
    Column("provider", String(32), nullable=False),
    Column("token", Text, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
)

#: Every username that a linked account has ever shown; none is given to another person later, so
#: that an old audit row never names the wrong one. ``name_key`` is the lower-cased name's SHA-256.
usernames = Table(
    "sso_username",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name_key", String(64), nullable=False, unique=True),
    Column("identity_key", String(64), nullable=False, index=True),
)

#: A sign-in that has been started and not finished. What ends in ``_hash`` is SHA-256, so that reading
#: this table is not enough to finish somebody's sign-in.
login_attempts = Table(
    "sso_login_attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("state_hash", String(64), nullable=False, unique=True),
    Column("browser_hash", String(64), nullable=False),
    Column("provider", String(32), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("code_verifier", String(128), nullable=False),
    Column("next_url", Text, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    # A SAML response that came by a cross-site POST waits here for the browser's own cookie.
    Column("handle_hash", String(64), nullable=True),
    Column("answer", Text().with_variant(MEDIUMTEXT(), "mysql"), nullable=True),
    # A sign-in that began before its person's access was ended opens nothing.
    Column("started_at", UtcDateTime, nullable=True),
    Index("ix_sso_login_attempt_handle_hash", "handle_hash", unique=True),
    sqlite_autoincrement=True,
)

#: Every assertion that was accepted, until it expires: none opens the door twice, at any replica.
seen_assertions = Table(
    "sso_seen_assertion",
    metadata,
    Column("id", Integer, primary_key=True),
    # SHA-256 of the issuer and the assertion's ID.
    Column("assertion_key", String(64), nullable=False, unique=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

#: How often an account's access was ended as a whole. Whoever signs somebody in, mints a token or ends
#: access holds this row's lock, so that none of them overtakes another.
epochs = Table(
    "sso_epoch",
    metadata,
    Column("user_id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("revoked_at", UtcDateTime, nullable=True),
)

#: The register of sessions, and the truth about them: a credential that names no row here, or one that
#: has ended, opens nothing, whatever Airflow's own tables say.
sessions = Table(
    "sso_session",
    metadata,
    Column("id", Integer, primary_key=True),
    # Random; what every credential of the session carries.
    Column("session_id", String(32), nullable=False, unique=True),
    Column("user_id", Integer, nullable=False, index=True),
    # A deleted user's id may be given to somebody else, who must not find this session open.
    Column("user_created_on", DateTime, nullable=True),
    Column("epoch", Integer, nullable=False),
    # "local" is break-glass, which no provider may be called.
    Column("provider", String(32), nullable=False),
    Column("identity_key", String(64), nullable=True),
    # SHA-256 of how the provider's own notices name this session, and the person.
    Column("provider_session_key", String(64), nullable=True, index=True),
    Column("provider_subject_key", String(64), nullable=True, index=True),
    # Encrypted, and kept only where signing out leads to the provider.
    Column("sign_out_hints", Text, nullable=True),
    Column("airflow_session_id", String(255), nullable=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False, index=True),
    Column("idle_seconds", Integer, nullable=False),
    Column("ended_at", UtcDateTime, nullable=True),
    Column("ended_because", String(40), nullable=True),
)

#: Airflow's own tokens that a session minted, until they expire.
tokens = Table(
    "sso_token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("jti", String(32), nullable=False, unique=True),
    Column("session_id", String(32), nullable=False, index=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

#: Which paths a session has asked for lately, so that every replica tells polling from activity.
session_paths = Table(
    "sso_session_path",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_id", String(32), nullable=False),
    Column("path_key", String(64), nullable=False),
    Column("asked_at", UtcDateTime, nullable=False, index=True),
    UniqueConstraint("session_id", "path_key", name="uq_sso_session_path"),
)

#: Verified notices of a provider that a session, or a person's every session, has ended there; kept
#: longer than an attempt lives, because a notice may overtake the sign-in that it is about.
logout_notices = Table(
    "sso_logout_notice",
    metadata,
    Column("id", Integer, primary_key=True),
    # SHA-256 of provider, the notice's own id, and which of its sessions this row is about.
    Column("notice_key", String(64), nullable=False, unique=True),
    Column("provider_session_key", String(64), nullable=True, index=True),
    Column("provider_subject_key", String(64), nullable=True, index=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    # Empty until the sessions have ended: the provider may then send the notice again.
    Column("done_at", UtcDateTime, nullable=True),
)

#: Which row of ``ab_user`` a name under ``break_glass`` stood for when it was first used.
break_glass_pins = Table(
    "sso_break_glass",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name_key", String(64), nullable=False, unique=True),
    Column("user_id", Integer, nullable=False),
    Column("user_created_on", DateTime, nullable=True),
    # SHA-256 of the password's hash: whoever may edit users must not give themselves this way in.
    Column("password_key", String(64), nullable=True),
    Column("pinned_at", UtcDateTime, nullable=False),
)

#: One-use links to a break-glass account, printed for whoever has the shell.
break_glass_links = Table(
    "sso_break_glass_link",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("link_hash", String(64), nullable=False, unique=True),
    Column("user_id", Integer, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

#: Wrong passwords at the local door, by the address they came from.
throttles = Table(
    "sso_throttle",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("address_hash", String(64), nullable=False, unique=True),
    Column("failures", Integer, nullable=False),
    Column("last_failure_at", UtcDateTime, nullable=False, index=True),
)

#: Append-only: every decision about a person, with its reason and the username of the day.
decisions = Table(
    "sso_decision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime, nullable=False, index=True),
    Column("event", String(40), nullable=False),
    Column("reference", String(16), nullable=False, index=True),
    Column("code", String(16), nullable=True),
    Column("reason", Text, nullable=True),
    Column("user_id", Integer, nullable=True),
    Column("username", Text, nullable=True),
    Column("provider", String(32), nullable=True),
    Column("identity_key", String(64), nullable=True),
    Column("detail", Text, nullable=False),
    Index("ix_sso_decision_user_id_at", "user_id", "at"),
)


def identity_key(authority: str, subject: str) -> str:
    """The fixed-length key of an account: one (authority, subject), one key."""
    return hashlib.sha256(f"{authority}\n{subject}".encode()).hexdigest()


def provider_key(provider: str, value: str) -> str:
    """The fixed-length key of what a provider calls a session or a person in its notices."""
    return hashlib.sha256(f"{provider}\n{value}".encode()).hexdigest()


def assertion_key(issuer: str, assertion_id: str) -> str:
    """The fixed-length key of an assertion, whose ID is unique to its issuer (Core, section 1.3.4)."""
    return hashlib.sha256(f"{issuer}\n{assertion_id}".encode()).hexdigest()


def name_key(username: str) -> str:
    """The fixed-length key of a username, without regard to case."""
    return hashlib.sha256(username.casefold().encode()).hexdigest()


def now() -> datetime:
    """This moment, aware, to the second's fraction that every database keeps."""
    return datetime.now(timezone.utc)
