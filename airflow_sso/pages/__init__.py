"""What people look at: our pages, rendered with the headers that every one of them carries.

The words of a refusal are in :mod:`airflow_sso.errors`, the look is in ``templates/``. What must stay
true: pages hold nothing but what this module passes, run no script, and are never cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

import flask

from airflow_sso import airflow_compat, database
from airflow_sso.errors import AccessDenied, SsoError, TablesMissing
from airflow_sso.urls import Urls

TEMPLATES = resources.files("airflow_sso.templates")
_UNAVAILABLE = 503
_ASSETS = {"airflow_sso.css": "text/css; charset=utf-8"}
_HEADERS = {
    "Cache-Control": "no-store",  # CVE-2026-27205: a shared cache would mix people up
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def template_folder() -> str:
    """Where Flask finds ``airflow_sso/*.html``, in a wheel and in an editable install alike."""
    return str(TEMPLATES)


def page(
    name: str,
    support_contact: str | None,
    *,
    status: int = 200,
    form_goes_to: str = "'self'",
    is_framed: bool = False,
    **context: object,
) -> flask.Response:
    """One of our pages as a response.

    :param form_goes_to: where a form on it may be sent to, and on to from there.
    :param is_framed: whether Airflow's own interface shows it in a frame; no other site ever may.
    """
    html = flask.render_template(
        f"airflow_sso/{name}.html",
        asset=_asset_url,
        favicon_url=airflow_compat.favicon_url(),
        way_back_url=airflow_compat.way_back_url() if is_framed else None,
        support_contact=support_contact,
        **context,
    )
    response = flask.make_response(html, status)
    response.headers.update(_HEADERS)
    policy = response.headers["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = policy.replace(
        "form-action 'self'", f"form-action {form_goes_to}"
    )
    if is_framed:
        policy = response.headers["Content-Security-Policy"]
        response.headers["Content-Security-Policy"] = policy.replace(
            "frame-ancestors 'none'", "frame-ancestors 'self'"
        )
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def sign_out_page(
    url: str,
    fields: Mapping[str, str],
    provider_label: str,
    support_contact: str | None,
    *,
    step: Literal["ask", "answer", "deny"] = "ask",
) -> flask.Response:
    """One button takes a logout message to a provider that takes a form only.

    :param step: ``ask`` it to sign out there, after signing out here; ``answer`` it, or ``deny`` it,
        because it has asked.
    """
    parts = urlsplit(url)
    return page(
        "sign_out_form",
        support_contact,
        # Browsers apply this to every redirect behind the form too, and the provider sends the browser on:
        # back to us, or to the next application that it signs out of.
        form_goes_to=f"'self' {parts.scheme}://{parts.netloc} https:",
        action_url=url,
        fields=fields,
        provider_label=provider_label,
        step=step,
    )


def notice_refused_page(
    error: SsoError, urls: Urls, support_contact: str | None, *, reference: str
) -> flask.Response:
    """To a browser that carried a provider's logout request which was not obeyed."""
    message = "Airflow could not verify a sign-out request that came from your identity provider."
    if error.status == _UNAVAILABLE:  # it may well have been right
        message = "Airflow could not carry out a sign-out request of your identity provider just now."
    words = {
        **_words(error, reference),
        "headline": "You are not signed out of Airflow",
        "message": message,
        "remedy": "To sign out of Airflow, choose Logout in its menu.",
    }
    return page("refused", support_contact, **words, again_url=urls.home, again_label="Go to Airflow")


def refusal_page(
    error: SsoError,
    urls: Urls,
    support_contact: str | None,
    *,
    reference: str,
    provider: str | None = None,
    next_url: str | None = None,
    signed_in: bool = False,
    again_url: str | None = None,
    local_url: str | None = None,
) -> flask.Response:
    """The one error page: what happened, what to do, code and reference.

    :param provider: through which the person may try again; ``None`` when trying again is pointless.
    :param next_url: where the person was going.
    :param signed_in: whether this browser has a session all the same, as after the back button.
    :param again_url: where to try again, if that is not simply the provider.
    :param local_url: where break-glass accounts sign in, when this is the moment for one.
    """
    other_account = None
    if provider and isinstance(error, AccessDenied) and not again_url:
        other_account = urls.start(provider, next_url, switch=True)
    return page(
        "refused",
        support_contact,
        **_words(error, reference),
        username=error.username if isinstance(error, AccessDenied) else None,
        again_url=again_url or (urls.start(provider, next_url) if provider else urls.login(next_url)),
        again_label="Try again",
        other_account_url=other_account,
        home_url=urls.home if signed_in else None,
        local_url=local_url,
    )


def local_page(
    urls: Urls,
    support_contact: str | None,
    *,
    state: str,
    next_url: str,
    error: SsoError | None = None,
    reference: str = "",
) -> flask.Response:
    """The form for a break-glass account's name and password, neither of which is ever shown again.

    :param state: of the attempt that the form belongs to.
    :param error: what was wrong with the try before this one.
    """
    words = _words(error, reference) if error else {"code": None}
    return page("local", support_contact, **words, state=state, other_url=urls.login(next_url))


def local_link_page(support_contact: str | None, *, state: str, ticket: str, username: str) -> flask.Response:
    """One button that uses a one-use link up; looking at the page does not."""
    response = page("local_link", support_contact, state=state, ticket=ticket, username=username)
    # Its address is a secret still, and servers write down from where they are asked for a stylesheet.
    response.headers["Referrer-Policy"] = "strict-origin"
    return response


def not_ready_page(
    error: SsoError,
    urls: Urls,
    support_contact: str | None,
    *,
    reference: str,
    local_url: str | None = None,
) -> flask.Response:
    """Shown at every door while none can be opened.

    :param local_url: where break-glass accounts sign in all the same.
    """
    return page(
        "not_ready",
        support_contact,
        **_words(error, reference),
        command=database.MIGRATE_COMMAND if error.code == TablesMissing.code else None,
        again_url=urls.login(),
        local_url=local_url,
    )


def _words(error: SsoError, reference: str) -> dict[str, Any]:
    """What every page about an error says of it."""
    return {
        "status": error.status,
        "headline": error.headline,
        "message": error.public_message,
        "remedy": error.remedy,
        "code": error.code,
        "reference": reference,
    }


def _asset_url(name: str) -> str:
    """Relative to this server: under another host name than ``external_url`` pages have their look too."""
    return flask.url_for("SsoAuthView.static_file", name=name)


def asset(name: str) -> flask.Response:
    """One of our static files; only names of the list, so no path ever reaches the file system."""
    if name not in _ASSETS:
        flask.abort(404)
    content = TEMPLATES.joinpath("airflow_sso", "static", PurePosixPath(name).name).read_bytes()
    response = flask.make_response(content)
    response.headers["Content-Type"] = _ASSETS[name]
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
