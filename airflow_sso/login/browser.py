"""Our own cookies: one binds sign-in attempts to a browser, two remember that something happened.

Airflow's cookies are left as they are. What must stay true: the binding cookie is a random value
that means nothing by itself, no cookie of ours holds anything about a person, and none of them
reaches 4 KB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flask
from werkzeug.exceptions import RequestEntityTooLarge

from airflow_sso import airflow_compat
from airflow_sso.errors import AttemptLost, NotOurAttempt, SignatureInvalid
from airflow_sso.login import attempt
from airflow_sso.urls import Urls

_BINDING = "airflow_sso_attempt"
_BEEN_HERE = "airflow_sso_returning"
_RESTARTED = "airflow_sso_restarted"
_A_YEAR = 365 * 24 * 3600
_A_MINUTE = 60


def _binding_name(urls: Urls) -> str:
    """With ``__Host-`` no sibling domain can plant the cookie (RFC 6265bis, section 4.1.3).

    The prefix asks for https and for the path ``/``, so a sub-path gets the weaker one.
    """
    if not urls.is_https:
        return _BINDING
    return ("__Host-" if urls.cookie_path == "/" else "__Secure-") + _BINDING


def browser_id(request: flask.Request, urls: Urls) -> str:
    """The id that this browser already has, so that several tabs share it, or a new one."""
    known = bound_id(request, urls)
    return known if known and attempt.is_browser_id(known) else attempt.new_browser_id()


def bound_id(request: flask.Request, urls: Urls) -> str | None:
    """The id that the browser sent, unchecked."""
    return request.cookies.get(_binding_name(urls))


def bind(response: Any, value: str, urls: Urls) -> None:
    """Give the browser its id, for as long as an attempt lasts."""
    _set(response, _binding_name(urls), value, int(attempt.LIFETIME.total_seconds()), urls)


def remember_sign_in(response: Any, urls: Urls) -> None:
    """Under Airflow's own manager a sign-out ends at the sign-in page, which would sign in again.

    This contentless cookie tells a browser that has just signed out from one that comes anew.
    """
    if not airflow_compat.sees_every_request():
        _set(response, _BEEN_HERE, "1", _A_YEAR, urls)


def has_signed_in_before(request: flask.Request) -> bool:
    return _BEEN_HERE in request.cookies


def forget_sign_in(response: Any, urls: Urls) -> None:
    """After the calm page the next visit goes straight in again."""
    _delete(response, _BEEN_HERE, urls)


def require_first_restart(request: flask.Request) -> None:
    """Guard against a provider that answers each of our requests with an unsolicited response.

    :raises NotOurAttempt: at the second such response within a minute, instead of going round.
    """
    if _RESTARTED in request.cookies:
        raise NotOurAttempt("the provider answers our requests as if nobody had asked (no InResponseTo)")


def note_restart(response: Any, urls: Urls) -> None:
    """Remember for a minute that an unsolicited response was discarded."""
    _set(response, _RESTARTED, "1", _A_MINUTE, urls)


def forget_restart(request: flask.Request, response: Any, urls: Urls) -> None:
    """The sign-in after it has succeeded; the next tile may be clicked."""
    if _RESTARTED in request.cookies:
        _delete(response, _RESTARTED, urls)


def single_values(request: flask.Request) -> Mapping[str, str]:
    """The query's parameters, each of which may stand once (RFC 6749, section 3.1).

    :raises AttemptLost: when one stands twice: whoever reads the first and whoever reads the last
        would see two different answers.
    """
    if any(len(values) > 1 for _, values in request.args.lists()):
        raise AttemptLost("a parameter of the callback stands twice")
    return request.args.to_dict()


def posted(request: flask.Request, name: str, *, most: int) -> str:
    """A field of the posted form, which may stand once; empty when it is not there.

    :param most: bytes of the whole form.
    :raises SignatureInvalid: when the form is larger than any honest one; it is not read then.
    """
    try:
        airflow_compat.limit_body(request, most)
        values = request.form.getlist(name)
    except RequestEntityTooLarge:
        raise SignatureInvalid(f"the form is larger than {most} bytes") from None
    if len(values) > 1:
        raise SignatureInvalid(f"{name} stands twice in the form")
    return values[0] if values else ""


def keep_out_of_access_log(request: flask.Request, name: str) -> None:
    """A secret parameter of the query, and the query with it, once it has been read.

    The api-server of Airflow 3 leaves it out by its name. gunicorn, which serves 2.11, writes what stands in
    these places when the request is over.
    """
    hidden = f"{name}=%2A"
    for place in ("RAW_URI", "REQUEST_URI"):
        if place in request.environ:
            request.environ[place] = f"{request.environ[place].partition('?')[0]}?{hidden}"
    request.environ["QUERY_STRING"] = hidden


def uncached(response: Any) -> Any:
    """Keep an answer out of every cache, the browser's history included."""
    response.headers["Cache-Control"] = "no-store"
    return response


def _set(response: Any, name: str, value: str, seconds: int, urls: Urls) -> None:
    response.set_cookie(
        name,
        value,
        max_age=seconds,
        path=urls.cookie_path,
        secure=urls.is_https,
        httponly=True,
        samesite="Lax",
    )


def _delete(response: Any, name: str, urls: Urls) -> None:
    response.delete_cookie(name, path=urls.cookie_path, secure=urls.is_https, httponly=True, samesite="Lax")
