"""What people look at: our pages, rendered with the headers that every one of them carries.

The words of a refusal are in :mod:`airflow_sso.errors`, the look is in ``templates/``. What must stay
true: pages hold nothing but what this module passes, run no script, and are never cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import flask

from airflow_sso import airflow_compat
from airflow_sso.errors import AccessDenied, SsoError, TablesMissing
from airflow_sso.urls import Urls

TEMPLATES = resources.files("airflow_sso.templates")
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
    **context: object,
) -> flask.Response:
    """One of our pages as a response.

    :param form_goes_to: the one origin that a form on it may be sent to.
    """
    html = flask.render_template(
        f"airflow_sso/{name}.html",
        asset=_asset_url,
        favicon_url=airflow_compat.favicon_url(),
        support_contact=support_contact,
        **context,
    )
    response = flask.make_response(html, status)
    response.headers.update(_HEADERS)
    policy = response.headers["Content-Security-Policy"]
    response.headers["Content-Security-Policy"] = policy.replace(
        "form-action 'self'", f"form-action {form_goes_to}"
    )
    return response


def sign_out_page(
    url: str, fields: Mapping[str, str], provider_label: str, support_contact: str | None
) -> flask.Response:
    """Signed out here; one button signs out at a provider that takes a form only."""
    parts = urlsplit(url)
    return page(
        "sign_out_form",
        support_contact,
        form_goes_to=f"{parts.scheme}://{parts.netloc}",
        action_url=url,
        fields=fields,
        provider_label=provider_label,
    )


def refusal_page(
    error: SsoError,
    urls: Urls,
    support_contact: str | None,
    *,
    reference: str,
    provider: str | None = None,
    next_url: str | None = None,
    signed_in: bool = False,
) -> flask.Response:
    """The one error page: what happened, what to do, code and reference.

    :param provider: through which the person may try again; ``None`` when trying again is pointless.
    :param next_url: where the person was going.
    :param signed_in: whether this browser has a session all the same, as after the back button.
    """
    identified = isinstance(error, AccessDenied)
    other_account = urls.start(provider, next_url, switch=True) if provider and identified else None
    return page(
        "refused",
        support_contact,
        **_words(error, reference),
        username=error.username if isinstance(error, AccessDenied) else None,
        again_url=urls.start(provider, next_url) if provider else urls.login(next_url),
        again_label="Try again",
        other_account_url=other_account,
        home_url=urls.home if signed_in else None,
    )


def not_ready_page(
    error: SsoError, urls: Urls, support_contact: str | None, *, reference: str
) -> flask.Response:
    """Shown at every door while none can be opened."""
    return page(
        "not_ready",
        support_contact,
        **_words(error, reference),
        command="airflow db migrate" if isinstance(error, TablesMissing) else None,
        again_url=urls.login(),
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
