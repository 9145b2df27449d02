"""What a refusal looks like, in the words and shapes of each face.

A refusal is raised by name; the table says which OAuth error and which AADSTS code it is. Texts are
short and name no secret. HTTP statuses follow RFC 6749 5.2 and Entra's recorded answers (fact A18).
"""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reason:
    error: str
    aadsts: int
    text: str
    status: int = 400

    def status_of(self, error: str) -> int:
        """RFC 6749 5.2: failed client authentication is a 401, everything else here a 400."""
        return 401 if error == "invalid_client" else self.status


REASONS = {
    "not_post": Reason("invalid_request", 900561, "The token endpoint accepts POST requests only.", 405),
    "not_form": Reason("invalid_request", 900144, "The body must be application/x-www-form-urlencoded."),
    "repeated": Reason("invalid_request", 90014, "A parameter is given more than once."),
    "in_query": Reason("invalid_request", 900144, "Parameters must be in the body, not in the URL."),
    "missing": Reason("invalid_request", 900144, "A required parameter is missing."),
    "grant_type": Reason("unsupported_grant_type", 70003, "The grant type is not supported."),
    "unknown_client": Reason("invalid_client", 700016, "The application was not found in the directory."),
    "no_secret": Reason(
        "invalid_client", 7000218, "The request must contain client_assertion or client_secret."
    ),
    "wrong_secret": Reason("invalid_client", 7000215, "Invalid client secret provided."),
    "bad_assertion": Reason("invalid_client", 700027, "The client assertion failed its checks."),
    "two_methods": Reason("invalid_request", 900144, "More than one way of client authentication was used."),
    "unknown_code": Reason("invalid_grant", 70000, "The code is not valid."),
    "reused_code": Reason("invalid_grant", 54005, "The code was already redeemed; ask for a new one."),
    "expired_code": Reason("invalid_grant", 70008, "The code has expired."),
    "redirect_differs": Reason(
        "invalid_grant", 500112, "redirect_uri is not the one of the authorization request."
    ),
    "pkce_mismatch": Reason("invalid_grant", 501481, "The code_verifier does not match the code_challenge."),
    "pkce_verifier_missing": Reason("invalid_grant", 501481, "The code_verifier is missing or malformed."),
    "dead_grant": Reason("invalid_grant", 700082, "The refresh token has expired or was revoked."),
    "disabled": Reason("invalid_grant", 50057, "The user account is disabled."),
    "redirect_unknown": Reason(
        "invalid_request", 50011, "The redirect URI does not match those of the application."
    ),
    "response_type": Reason("unsupported_response_type", 700054, "Only response_type=code is enabled."),
    "response_mode": Reason("invalid_request", 90014, "Only response_mode=query is supported."),
    "scope": Reason("invalid_scope", 70011, "The scope must contain openid."),
    "app_scope": Reason(
        "invalid_scope", 1002012, "The scope of client credentials must be a resource and /.default."
    ),
    "pkce_missing": Reason("invalid_request", 9002325, "PKCE is required: code_challenge is missing."),
    "pkce_plain": Reason("invalid_request", 9002325, "PKCE is required with code_challenge_method=S256."),
    "pkce_malformed": Reason("invalid_request", 9002325, "code_challenge is not the base64url of a SHA-256."),
    "request_object": Reason("request_not_supported", 90014, "Request objects are not supported."),
    "max_age": Reason("invalid_request", 90014, "max_age is not a number."),
    "declined": Reason("access_denied", 65004, "The user declined to consent to access the app."),
    "no_session": Reason(
        "interaction_required", 50058, "A silent sign-in was asked for, but nobody is signed in."
    ),
    "unknown_person": Reason("access_denied", 50034, "The user account does not exist."),
}


class Refusal(Exception):
    """Raised anywhere inside an endpoint; the endpoint's wrapper turns it into an answer."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.reason = REASONS[name]


def _entra_text(reason: Reason, now: float) -> tuple[str, dict[str, Any]]:
    stamp = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
    trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
    text = (
        f"AADSTS{reason.aadsts}: {reason.text}\r\nTrace ID: {trace}\r\n"
        f"Correlation ID: {correlation}\r\nTimestamp: {stamp}"
    )
    details = {
        "error_codes": [reason.aadsts],
        "timestamp": stamp,
        "trace_id": trace,
        "correlation_id": correlation,
    }
    return text, details


def entra_body(reason: Reason, base: str, now: float) -> dict[str, Any]:
    text, details = _entra_text(reason, now)
    uri = f"{base}/error?code={reason.aadsts}"
    # Entra alone says unauthorized_client, with 400, for a client it does not know.
    error = "unauthorized_client" if reason.aadsts == 700016 else reason.error
    return {"error": error, "error_description": text, **details, "error_uri": uri}


def plain_body(reason: Reason, base: str, now: float) -> dict[str, Any]:  # noqa: ARG001 -- one signature for all
    return {"error": reason.error, "error_description": reason.text}


def pingone_body(reason: Reason, base: str, now: float) -> dict[str, Any]:
    return {**plain_body(reason, base, now), "correlation_id": str(uuid.uuid4())}


def pingfederate_body(reason: Reason, base: str, now: float) -> dict[str, Any]:
    body = plain_body(reason, base, now)
    if reason.error == "invalid_client":
        body["error_description"] = "Invalid client or client credentials."
    return body
