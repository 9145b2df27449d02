"""Airflow's own tokens, minted for a session and never outliving it.

What must stay true: a token is minted under the account's lock, so that an ending either finds it on
the session's list or keeps it from being minted; a break-glass session makes none for the API.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import insert

from airflow_sso import airflow_compat, database, models
from airflow_sso.accounts import register
from airflow_sso.accounts.register import Credential, CredentialRefused
from airflow_sso.models import tokens


def mint(credential: Credential, seconds: int, sign: Callable[[int], str], *, for_api: bool) -> str:
    """A token of the session that presented ``credential``.

    :param seconds: how long it may live; never longer than the session.
    :param sign: makes the token, given its lifetime in seconds.
    :param for_api: whether somebody asked for a token, rather than a browser being given its cookie.
    :raises CredentialRefused: when the session has ended, or may make no such token.
    """
    with database.transaction() as connection:
        register.lock(connection, credential.user_id)
        standing = register.standing(connection, credential)
        if for_api and standing.is_break_glass:
            raise CredentialRefused("a break-glass session makes no tokens for the API")
        left = int((standing.ends_at - models.now()).total_seconds())
        if left < 1:
            raise CredentialRefused("the session has reached its end")
        token = sign(min(seconds, left))
        jti, expires_at = airflow_compat.token_id(token)
        connection.execute(
            insert(tokens).values(jti=jti, session_id=credential.session_id, expires_at=expires_at)
        )
    return token
