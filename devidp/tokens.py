"""ID tokens: the honest one of a face, then whatever the knobs do to it, then the signature.

The order is fixed and each step is one function, so that a test can combine knobs and know what it
gets: claims, variants, set, remove, padding, header, signature.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from devidp import groups, keys
from devidp.faces import Face, SignIn
from devidp.keys import SigningKey
from devidp.knobs import UNSET
from devidp.people import GUEST_IDP, Person
from devidp.settings import OTHER_CLIENT_ID, OTHER_TENANT_ID, TENANT_ID
from devidp.state import State

_GUEST_VARIANTS: dict[str, dict[str, Any]] = {
    "idp": {"idp": GUEST_IDP},
    "acct": {"acct": 1},
    "both": {"idp": GUEST_IDP, "acct": 1},
    "ext_upn": {"preferred_username": "hugo_fabrikam.example#EXT#@contoso.example", "acct": 1},
    "live": {"idp": "live.com", "acct": 1},
}


def honest_claims(
    state: State, face: Face, person: Person, sign_in: SignIn, access_token: str | None = None
) -> dict[str, Any]:
    """What the provider would say if no knob touched the token itself (guest and group knobs count)."""
    now = int(state.now())
    issued = now - face.backdates
    person = state.population.as_told_by(face.name, person)
    claims: dict[str, Any] = {
        "iss": state.issuer(face),
        "aud": sign_in.client_id,
        "iat": issued,
        "exp": now + face.lifetime,
        **face.claims(person, sign_in),
    }
    if face.backdates:
        claims["nbf"] = issued
    if sign_in.nonce is not None:
        claims["nonce"] = sign_in.nonce
    if access_token and face.sends_at_hash:
        claims["at_hash"] = keys.half_hash(access_token)
    if state.knobs.take("groups.place", face.name, face.group_place) in ("id_token", "both"):
        claims |= group_claims(state, face, person)
    _apply_guest(state, face, claims)
    return {**claims, **person.claims}


def group_claims(state: State, face: Face, person: Person) -> dict[str, Any]:
    take = state.knobs.take
    return groups.claims_for(
        face,
        state.population.as_told_by(face.name, person),
        shape=take("groups.shape", face.name),
        overage=take("groups.overage", face.name),
        style=take("groups.format", face.name),
    )


def _apply_guest(state: State, face: Face, claims: dict[str, Any]) -> None:
    variant = state.knobs.take("guest", face.name)
    if variant == "none":
        claims.pop("idp", None)
        claims.pop("acct", None)
    elif variant is not None:
        claims |= _GUEST_VARIANTS[variant]


def id_token(
    state: State, face: Face, person: Person, sign_in: SignIn, *, access_token: str, code: str | None
) -> Any:
    """The id_token member of a token answer; UNSET when it is to be left out."""
    take = state.knobs.take
    if take("id_token.omit", face.name):
        return UNSET
    raw = take("id_token.raw", face.name, UNSET)
    if raw is not UNSET:
        return raw
    claims = honest_claims(state, face, person, sign_in, access_token)
    _vary_binding(state, face, claims, access_token, code)
    _vary_audience_and_issuer(state, face, claims)
    for name, seconds in take("id_token.shift", face.name, {}).items():
        claims[name] = claims.get(name, int(state.now())) + seconds
    length = take("id_token.sub_length", face.name)
    if length is not None:
        claims["sub"] = (claims["sub"] * (length // len(claims["sub"]) + 1))[:length]
    typ = _vary_type(state, face, claims)
    claims |= take("id_token.set", face.name, {})
    for name in take("id_token.remove", face.name, []):
        claims.pop(name, None)
    return _signed(state, face, claims, typ)


def _vary_binding(
    state: State, face: Face, claims: dict[str, Any], access_token: str, code: str | None
) -> None:
    """nonce, at_hash and c_hash: what ties the token to this browser, this answer and this code."""
    nonce = state.knobs.take("id_token.nonce", face.name)
    if nonce == "wrong":
        claims["nonce"] = secrets.token_urlsafe(24)
    elif nonce in ("missing", "unsupported"):
        claims.pop("nonce", None)
    if nonce in ("unsupported", "unsupported_with_nonce"):
        claims["nonce_supported"] = False
    at_hash = state.knobs.take("id_token.at_hash", face.name)
    if at_hash == "missing":
        claims.pop("at_hash", None)
    elif at_hash is not None:
        claims["at_hash"] = keys.half_hash(access_token if at_hash == "right" else "another token")
    c_hash = state.knobs.take("id_token.c_hash", face.name)
    if c_hash is not None:
        claims["c_hash"] = keys.half_hash((code or "") if c_hash == "right" else "another code")


def _vary_audience_and_issuer(state: State, face: Face, claims: dict[str, Any]) -> None:
    us, other = claims["aud"], OTHER_CLIENT_ID
    audiences: dict[str, dict[str, Any]] = {
        "other": {"aud": other},
        "list": {"aud": [us]},
        "two_without_azp": {"aud": [us, other]},
        "two_with_azp": {"aud": [us, other], "azp": us},
        "two_wrong_azp": {"aud": [us, other], "azp": other},
        "other_with_azp": {"aud": [other], "azp": us},
        "empty_list": {"aud": []},
    }
    aud = state.knobs.take("id_token.aud", face.name)
    if aud == "missing":
        del claims["aud"]
    elif aud is not None:
        claims |= audiences[aud]
    issuer = claims["iss"]
    other_face = "/generic" if face.issuer != "/generic" else "/pf"
    issuers = {
        "other_tenant": {"iss": f"{state.base}/{OTHER_TENANT_ID}/v2.0", "tid": OTHER_TENANT_ID},
        "common": {"iss": f"{state.base}/common/v2.0"},
        "template": {"iss": f"{state.base}/{{tenantid}}/v2.0"},
        "v1": {"iss": f"https://sts.windows.net/{TENANT_ID}/", "ver": "1.0"},
        "trailing_slash": {"iss": issuer + "/"},
        "other_host": {"iss": issuer.replace(state.base, "https://login.microsoftonline.example")},
        "other_face": {"iss": state.base + other_face},
    }
    variant = state.knobs.take("id_token.iss", face.name)
    if variant == "missing":
        del claims["iss"]
    elif variant is not None:
        claims |= issuers[variant]


def _vary_type(state: State, face: Face, claims: dict[str, Any]) -> str:
    """Tokens that this provider might also sign, and that are no ID tokens (row O16)."""
    variant = state.knobs.take("id_token.type", face.name)
    if variant == "access_token":
        claims |= {
            "client_id": claims.get("aud"),
            "scope": "openid profile",
            "jti": secrets.token_urlsafe(16),
        }
        return "at+jwt"
    if variant == "logout_token":
        claims.pop("nonce", None)
        event = "http://schemas.openid.net/event/backchannel-logout"
        claims |= {"events": {event: {}}, "jti": secrets.token_urlsafe(16)}
        return "logout+jwt"
    return "JWT"


def _signing(state: State, face: Face, alg: str) -> tuple[SigningKey, str]:
    """The key to sign with, and the kid to write."""
    ring = state.keyrings[face.name]
    variant = state.knobs.take("id_token.key", face.name)
    key_alg = "RS256" if alg in ("none", "HS256") else alg
    if variant is None:
        key = ring.for_alg(key_alg)
        return key, key.kid
    if variant == "foreign":
        return keys.stranger("foreign", key_alg), ring.current.kid
    key = (
        keys.stranger("foreign_tenant") if variant == "foreign_tenant" else keys.stranger("foreign", key_alg)
    )
    return key, key.kid


def _signed(state: State, face: Face, claims: dict[str, Any], typ: str) -> str:
    take = state.knobs.take
    alg = take("id_token.alg", face.name, "RS256")
    key, kid = _signing(state, face, alg)
    header = {"typ": typ, "alg": alg, "kid": kid}
    if take("id_token.x5c_header", face.name):
        header["x5c"] = [base64.b64encode(keys.certificate_der(key)).decode()]
    header |= take("id_token.header_set", face.name, {})
    for name in take("id_token.header_remove", face.name, []):
        header.pop(name, None)
    minimum = take("id_token.min_bytes", face.name, 0)
    if minimum:
        claims["padding"] = secrets.token_urlsafe(max(0, minimum - len(keys.encode_members(claims))))
    return keys.compact(
        keys.encode_members(header, take("id_token.duplicate_header_keys", face.name)),
        keys.encode_members(claims, take("id_token.duplicate_keys", face.name)),
        alg,
        key,
    )
