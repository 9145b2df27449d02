"""Hand-made tokens for tests: any claims, any header, any key, signed as asked.

`person` starts from the honest ID token of that person; otherwise the token has the claims sent and
no others. Nothing here is checked for sense, only for type.
"""

from __future__ import annotations

from typing import Any

from devidp import keys, tokens
from devidp.faces import FACES, SignIn
from devidp.state import State

KEYS = ("current", "foreign", "unknown_kid", "foreign_tenant", "hs256-with-public-key", "none")


def by_hand(state: State, body: dict[str, Any]) -> str:
    """A compact JWS from {claims, header, alg, key, face, person, remove, duplicate_keys}."""
    claims = _object(body, "claims")
    header = _object(body, "header")
    face = FACES.get(body.get("face", "entra"))
    if face is None:
        raise ValueError(f"face must be one of {', '.join(FACES)}")
    which = body.get("key", "current")
    if which not in KEYS:
        raise ValueError(f"key must be one of {', '.join(KEYS)}")
    alg = {"none": "none", "hs256-with-public-key": "HS256"}.get(which) or body.get("alg", "RS256")
    if alg not in keys.ALGORITHMS:
        raise ValueError(f"alg must be one of {', '.join(keys.ALGORITHMS)}")
    if "person" in body:
        claims = {**_honest(state, body["person"], face), **claims}
    for name in body.get("remove", []):
        claims.pop(name, None)
    key_alg = "RS256" if alg in ("none", "HS256") else alg
    ring = state.keyrings[face.name]
    key = ring.for_alg(key_alg)
    kid = key.kid
    if which in ("foreign", "unknown_kid"):
        key = keys.stranger("foreign", key_alg)
        kid = kid if which == "foreign" else key.kid
    elif which == "foreign_tenant":
        key = keys.stranger("foreign_tenant")
        kid = key.kid
    # A header member that is sent as null is left out.
    whole = {"typ": "JWT", "alg": alg, "kid": kid, **header}
    whole = {name: value for name, value in whole.items() if value is not None}
    payload = keys.encode_members(claims, _object(body, "duplicate_keys"))
    return keys.compact(keys.encode_members(whole), payload, alg, key)


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object")
    return value


def _honest(state: State, name: Any, face: Any) -> dict[str, Any]:
    person = state.people.get(name)
    if person is None:
        raise ValueError(f"there is nobody called {name!r}")
    sign_in = SignIn(
        client_id=state.client.client_id,
        scope=frozenset({"openid", "profile", "email"}),
        nonce=None,
        sid="00000000-0000-4000-8000-00000000c0de",
        auth_time=int(state.now()),
    )
    return tokens.honest_claims(state, face, person, sign_in)
