"""Back-channel logout: the token that says who has signed out here, and the call that carries it.

Honest unless a recipe is named; each recipe is one thing that a provider, or somebody who pretends to be
it, can do wrong. The token goes to a registered address only.
"""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from devidp import keys, sign, tokens
from devidp.faces import FACES, Face, SignIn
from devidp.people import Person
from devidp.settings import OTHER_CLIENT_ID
from devidp.state import State

EVENT = "http://schemas.openid.net/event/backchannel-logout"
NAMES = ("both", "sid", "sub")

Body = dict[str, Any]

#: What :func:`sign.by_hand` is told besides; "shift" is seconds added to a time, "stranger" a key inside.
RECIPES: dict[str, Body] = {
    "wrong_iss": {"claims": {"iss": "https://login.example.org"}},
    "no_iss": {"remove": ["iss"]},
    "wrong_aud": {"claims": {"aud": OTHER_CLIENT_ID}},
    "no_aud": {"remove": ["aud"]},
    "alg_none": {"key": "none"},
    "hs256": {"key": "hs256-with-public-key"},
    "ps512": {"alg": "PS512"},
    "other_key": {"key": "foreign"},
    "unknown_kid": {"key": "unknown_kid"},
    "embedded_jwk": {"key": "unknown_kid", "stranger": True},
    "jku": {"header": {"jku": "http://127.0.0.1:9/keys"}},
    "no_events": {"remove": ["events"]},
    "events_list": {"claims": {"events": [EVENT]}},
    "events_text": {"claims": {"events": {EVENT: "yes"}}},
    "other_event": {"claims": {"events": {"http://schemas.openid.net/event/other": {}}}},
    "nonce": {"claims": {"nonce": "n"}},
    "null_nonce": {"claims": {"nonce": None}},
    "no_jti": {"remove": ["jti"]},
    "long_jti": {"claims": {"jti": "j" * 1001}},
    "no_names": {"remove": ["sub", "sid"]},
    "empty_sid": {"claims": {"sid": ""}},
    "number_sub": {"claims": {"sub": 7}},
    "old_iat": {"shift": {"iat": -1200}},
    "future_iat": {"shift": {"iat": 1200}},
    "no_iat": {"remove": ["iat"]},
    "exp_past": {"shift": {"exp": -600}},
    "no_exp": {"remove": ["exp"]},
    "long_exp": {"shift": {"exp": 3600}},
    "typ_jwt": {"header": {"typ": "JWT"}},
    "no_typ": {"header": {"typ": None}},
    "typ_access_token": {"header": {"typ": "at+jwt"}},
    "several_aud": {"aud_too": OTHER_CLIENT_ID},
}


@dataclass(frozen=True)
class Notice:
    """A logout token, and whom it is about; without a sid, about all of the person's sessions."""

    token: str
    face: Face
    person: Person
    sid: str | None


def notice(state: State, body: Body) -> Notice:
    """What {face, person, sid, names, recipe, claims} ask for."""
    face, person = _whom(state, body)
    names = body.get("names", "both")
    if names not in NAMES:
        raise ValueError(f"names must be one of {', '.join(NAMES)}")
    sid = None if names == "sub" else body.get("sid") or _newest_sid(state, face, person)
    claims = _honest(state, face, person, sid)
    if names == "sid":
        del claims["sub"]
    recipe = body.get("recipe")
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"recipe must be one of {', '.join(RECIPES)}")
    token = _cooked(state, face, claims, RECIPES.get(recipe or "", {}), body.get("claims", {}))
    return Notice(token, face, person, sid)


def _cooked(state: State, face: Face, claims: Body, recipe: Body, more: Body) -> str:
    for name, seconds in recipe.get("shift", {}).items():
        claims[name] += seconds
    if "aud_too" in recipe:
        claims["aud"] = [claims["aud"], recipe["aud_too"]]
    header = {"typ": "logout+jwt", **recipe.get("header", {})}
    if recipe.get("stranger"):
        header["jwk"] = keys.stranger("foreign").public_jwk()
    rest = {name: recipe[name] for name in ("key", "alg", "remove") if name in recipe}
    claims = {**claims, **recipe.get("claims", {}), **more}
    return sign.by_hand(state, {"face": face.name, "claims": claims, "header": header, **rest})


def _whom(state: State, body: Body) -> tuple[Face, Person]:
    face, person = FACES.get(body.get("face", "")), state.people.get(body.get("person", ""))
    if face is None:
        raise ValueError(f"face must be one of {', '.join(FACES)}")
    if person is None:
        raise ValueError(f"there is nobody called {body.get('person')!r}")
    return face, person


def _newest_sid(state: State, face: Face, person: Person) -> str:
    """Of the person's sessions at this face, the one that began last."""
    found = state.sids_of(face, person)
    if not found:
        raise ValueError(f"{person.name} has no session at {face.name}; give a sid, or names=sub")
    return found[-1]


def _honest(state: State, face: Face, person: Person, sid: str | None) -> Body:
    """Back-Channel Logout 1.0, section 2.4."""
    now = int(state.now())
    about = SignIn(
        client_id=state.client.client_id,
        scope=frozenset({"openid"}),
        nonce=None,
        sid=sid or "",
        auth_time=now,
    )
    claims = {
        "iss": state.issuer(face),
        "aud": state.client.client_id,
        "iat": now,
        "exp": now + 120,
        "jti": secrets.token_urlsafe(16),
        "sub": tokens.honest_claims(state, face, person, about)["sub"],
        "events": {EVENT: {}},
    }
    return claims if sid is None else {**claims, "sid": sid}


def send(state: State, uri: str, logout_token: str) -> Body:
    """POST the token; what came back."""
    if uri not in state.client.backchannel_logout_uris:
        raise ValueError("this backchannel_logout_uri is not registered")
    request = urllib.request.Request(uri, urlencode({"logout_token": logout_token}).encode(), method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(request, timeout=60)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return {"status": answer.status, "headers": headers, "body": answer.read().decode()}
